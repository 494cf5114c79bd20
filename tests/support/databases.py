"""Databases without rows, and the statements and plans that a test asks of one."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sqlalchemy import Engine, Row, event, select
from sqlalchemy.util import LRUCache

from tagger.database import engine
from tagger.database.connection import AuditAction, Database, open_database
from tagger.database.tables import audit_log


def leave_commits_unflushed() -> None:
    """Let SQLite leave this process's commits to the system's cache: the test machine keeps its power."""
    engine.SQLITE_PRAGMAS = (*engine.SQLITE_PRAGMAS, "synchronous=OFF")


def share_compiled_statements() -> None:
    """Let the databases of a kind compile each statement once in this process, and not once each."""
    cache = LRUCache(10_000)
    create = engine.create_engine

    def create_engine(*arguments: Any, **options: Any) -> Engine:
        created = create(*arguments, **options)
        kind = type(created.dialect)
        kind.__eq__ = lambda self, other: type(self) is type(other)
        kind.__hash__ = lambda self: hash(type(self))
        created._compiled_cache = cache
        return created

    engine.create_engine = create_engine


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
    with closing(open_database(create_sqlite_database(folder / "tagger.sqlite"))) as database:
        yield database


@cache
def _template() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "template.sqlite"
        open_database(f"sqlite:///{file}").close()
        assert not file.with_name("template.sqlite-wal").exists()
        return file.read_bytes()


def execute(database: Database, *statement: Any) -> None:
    """Execute one statement, with its rows, in a transaction of its own."""
    with database.write() as connection:
        connection.execute(*statement)


def read_rows(database: Database, query: Any) -> Sequence[Row[Any]]:
    with database.read() as connection:
        return connection.execute(query).all()


def read_row(database: Database, query: Any) -> Row[Any]:
    with database.read() as connection:
        return connection.execute(query).one()


def read_scalars(database: Database, query: Any) -> list[Any]:
    with database.read() as connection:
        return list(connection.scalars(query))


def read_scalar(database: Database, query: Any) -> Any:
    with database.read() as connection:
        return connection.scalar(query)


@contextmanager
def statements(database: Database, text: str) -> Iterator[list[tuple[str, Any]]]:
    """Record the statements inside the context that contain this text, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if text in statement:
            seen.append((statement, parameters))

    with _watched(database, record):
        yield seen


@contextmanager
def query_plans(database: Database, *texts: str) -> Iterator[list[str]]:
    """Record the plan of each statement inside the context that contains all of these texts.

    PostgreSQL plans with indexes also where a whole table is read faster, as the tables here are small.
    """
    plans: list[str] = []

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if not all(each in statement for each in texts):
            return
        if not database.is_sqlite:
            cursor.execute("SET LOCAL enable_seqscan = off")
        words = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        cursor.execute(f"{words} {statement}", parameters)
        plans.append("\n".join(str(row) for row in cursor.fetchall()))

    with _watched(database, explain):
        yield plans


@contextmanager
def _watched(database: Database, watch: Callable[..., None]) -> Iterator[None]:
    event.listen(database._engine, "before_cursor_execute", watch)
    try:
        yield
    finally:
        event.remove(database._engine, "before_cursor_execute", watch)


def audit_entries(database: Database, *actions: AuditAction) -> Sequence[Row[Any]]:
    """The entries of these actions (none: of all), newest first."""
    query = select(audit_log).order_by(audit_log.c.id.desc())
    if actions:
        query = query.where(audit_log.c.action.in_(actions))
    with database.read() as connection:
        return connection.execute(query).all()
