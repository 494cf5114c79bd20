"""The plans of the statements that a test executes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from tagger.database.connection import Database


@contextmanager
def query_plans(database: Database, *texts: str) -> Iterator[list[str]]:
    """Record the plan of each statement inside the context that contains all of these texts.

    PostgreSQL plans with indexes also where a whole table would be read faster, as the tables of tests are small.
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

    event.listen(database._engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        event.remove(database._engine, "before_cursor_execute", explain)
