"""SQLite databases with the current schema, from one that each test process migrates once.

Migrating a new file takes more than 100 ms of processor time; copying the file takes one, and running the statements that made it
a few.
"""

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from sqlalchemy import Connection

from tagger.database import schema
from tagger.database.engine import create_database_engine

migrate = schema._migrate
_NEW_LEDGER = "UPDATE ledgers SET ledger_id = ?"


def create_sqlite_database(file: Path) -> str:
    """Create an empty database with the current schema; return its URL. Each one is a ledger of its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_template()[0])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_NEW_LEDGER, (str(uuid4()),))
    return f"sqlite:///{file}"


def share_migrated_schema() -> None:
    """Let this process create the schema of new SQLite databases with the statements of one that it has migrated."""
    schema._migrate = _migrate


def _migrate(connection: Connection, revision: str) -> None:
    """As in `tagger.database.schema`, in the same transaction."""
    is_new = (
        connection.dialect.name == "sqlite"
        and not connection.exec_driver_sql("SELECT 1 FROM sqlite_master").all()
    )
    if not is_new or revision != "head":
        migrate(connection, revision)
        return
    for statement in _template()[1]:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(_NEW_LEDGER, (str(uuid4()),))


@cache
def _template() -> tuple[bytes, tuple[str, ...]]:
    """A migrated file, and all statements that make its schema and first rows."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "template.sqlite"
        engine = create_database_engine(f"sqlite:///{file}")
        with engine.connect() as connection, connection.begin():
            migrate(connection, "head")
        engine.dispose()
        assert not file.with_name("template.sqlite-wal").exists()
        content = file.read_bytes()
        with closing(sqlite3.connect(file)) as copied:
            statements = tuple(
                each for each in copied.iterdump() if each not in {"BEGIN TRANSACTION;", "COMMIT;"}
            )
        return content, statements
