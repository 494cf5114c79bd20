"""The statements that a test executes, and their plans."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from tagger.database.connection import Database


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
