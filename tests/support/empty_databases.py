"""SQLite databases with the current schema: copies of one that each process creates once, in 40 ms."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tagger.database import engine
from tagger.database.connection import Database, open_database


def leave_commits_unflushed() -> None:
    """Let SQLite leave this process's commits to the system's cache: the test machine keeps its power."""
    engine.SQLITE_PRAGMAS = (*engine.SQLITE_PRAGMAS, "synchronous=OFF")


def create_sqlite_database(file: Path) -> str:
    """Create an empty database with the current schema; return its URL. Each one is a ledger of its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_template())
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("UPDATE ledgers SET ledger_id = ?", (str(uuid4()),))
    return f"sqlite:///{file}"


@contextmanager
def empty_database(folder: Path) -> Iterator[Database]:
    """A new database in this folder, opened."""
    with closing(open_database(create_sqlite_database(folder / "tagger.sqlite"))) as database:
        yield database


@cache
def _template() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "template.sqlite"
        open_database(f"sqlite:///{file}").close()
        assert not file.with_name("template.sqlite-wal").exists()
        return file.read_bytes()
