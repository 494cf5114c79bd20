"""PostgreSQL databases for tests. Creating and dropping one takes longer than many tests, so one can be reused.

Each has empty tables, ids that begin at 1, and a ledger with an identifier of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, create_engine, make_url

from tagger.database.schema import upgrade_database
from tagger.database.tables import ledgers, metadata

TEMPLATE = "tagger_template"
MOST_BYTES = 4 * 2**20
"""A larger database is replaced: deleted rows take space until a vacuum, which slows down queries."""

_OTHER_SESSIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"""
_STATE = """
    SELECT (SELECT sum(pg_total_relation_size(oid)) FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace),
           (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute),
           (SELECT count(*) FROM pg_statistic), (SELECT string_agg(version_num, ' ') FROM alembic_version)"""
_TABLES_WITH_INSERTS = "SELECT relname::text FROM pg_stat_user_tables WHERE n_tup_ins > 0"
"""Since the last reset. A session adds its numbers before it leaves pg_stat_activity."""
_FIRST_IDS = """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences
    WHERE last_value IS NOT NULL"""
_NEW_LEDGER = "UPDATE ledgers SET ledger_id = %s, last_tick_at = NULL"


@contextmanager
def autocommitted(url: str) -> Iterator[Connection]:
    """A connection to PostgreSQL on which each statement is a transaction, as some commands need."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


class PostgresDatabases:
    """Databases on the server with this URL of its maintenance database."""

    def __init__(self, maintenance_url: str) -> None:
        self._maintenance_url = maintenance_url
        self._catalog: object = None
        """The size of a migrated database's catalog; tests that change the schema or analyse tables change it."""
        self._reused: str | None = None

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of an empty database, which is dropped at the end."""
        name = self._create("template1")
        try:
            yield self._url(name)
        finally:
            self._drop(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a new migrated database, which is dropped at the end."""
        name = self._create_migrated()
        try:
            yield self._url(name)
        finally:
            self._drop(name)

    def reused(self) -> str:
        """The URL of a migrated database without rows; the one that the previous call returned is gone.

        It has a new name, which keeps out connections of an earlier test.
        """
        previous, self._reused = self._reused, None
        if previous is not None:
            name = self._rename(previous)
            if self._erase(name):
                self._reused = name
            else:
                self._drop(name)
        self._reused = self._reused or self._create_migrated()
        return self._url(self._reused)

    def _rename(self, name: str) -> str:
        new = _new_name()
        with self._connect() as connection:
            connection.execute(_OTHER_SESSIONS, (name,))
            connection.execute(
                SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(name), Identifier(new))
            )
        return new

    def _erase(self, name: str) -> bool:
        """Delete all rows and return True; return False where the database would still differ from a new one."""
        with self._connect(name) as connection:
            size, *catalog = connection.execute(_STATE).fetchone() or ()
            if size > MOST_BYTES or catalog != self._catalog:
                return False
            # Without foreign keys: the order of the tables does not matter.
            connection.execute("SET session_replication_role = replica")
            filled = {row[0] for row in connection.execute(_TABLES_WITH_INSERTS)} & metadata.tables.keys()
            for table in filled - {ledgers.name}:
                connection.execute(SQL("DELETE FROM {}").format(Identifier(table)))
            connection.execute("SELECT pg_stat_reset()")
            connection.execute(_FIRST_IDS)
            connection.execute(_NEW_LEDGER, (str(uuid4()),))
        return True

    def _create_migrated(self) -> str:
        if self._catalog is None:
            self._execute("CREATE DATABASE {}", TEMPLATE)
            upgrade_database(self._url(TEMPLATE))
            with self._connect(TEMPLATE) as connection:
                _, *self._catalog = connection.execute(_STATE).fetchone() or ()
        name = self._create(TEMPLATE)
        with self._connect(name) as connection:
            connection.execute(_NEW_LEDGER, (str(uuid4()),))
        return name

    def _create(self, template: str) -> str:
        name = _new_name()
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return name

    def _drop(self, name: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: LiteralString, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(SQL(statement).format(*map(Identifier, names)))

    def _connect(self, name: str | None = None) -> psycopg.Connection:
        url = make_url(self._maintenance_url)
        url = url if name is None else url.set(database=name)
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)

    def _url(self, name: str) -> str:
        url = make_url(self._maintenance_url).set(database=name, drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)


def _new_name() -> str:
    return f"tagger_{uuid4().hex}"
