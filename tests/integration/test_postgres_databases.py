"""A PostgreSQL database that a test reuses is like a new one."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rig.postgres_databases import PostgresDatabases
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database, open_database
from tagger.database.tables import ledgers, metadata


@contextmanager
def reused(databases: PostgresDatabases) -> Iterator[Database]:
    database = open_database(databases.reused())
    try:
        yield database
    finally:
        database.close()


def test_a_reused_database_has_no_rows_and_is_another_ledger(postgres_databases: PostgresDatabases) -> None:
    with reused(postgres_databases) as first:
        assert LedgerBuilder(first).job(3) == 1
        with reused(postgres_databases) as second:
            assert LedgerBuilder(second).job(2) == 1
            assert second.ledger_id != first.ledger_id
            with pytest.raises(OperationalError), first.read():
                pass  # its name is gone
        with reused(postgres_databases) as third, third.read() as connection:
            tables = [table for table in metadata.sorted_tables if table is not ledgers]
            rows = {
                table.name: connection.scalar(select(func.count()).select_from(table)) for table in tables
            }
        assert {name for name, count in rows.items() if count} == set()


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE photos ADD COLUMN colour TEXT",
        "UPDATE alembic_version SET version_num = 'later'",
        "ANALYZE ledgers",
    ],
)
def test_a_database_with_another_catalog_is_replaced(
    postgres_databases: PostgresDatabases, statement: str
) -> None:
    with reused(postgres_databases) as first, first.write() as connection:
        before = connection.scalar(text("SELECT oid FROM pg_database WHERE datname = current_database()"))
        connection.execute(text(statement))
    with reused(postgres_databases) as second, second.read() as connection:
        after = connection.scalar(text("SELECT oid FROM pg_database WHERE datname = current_database()"))
    assert after != before
