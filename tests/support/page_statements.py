"""The statements with which a page of photos is read, to look at their plans."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from tagger.database.connection import Database


@contextmanager
def page_statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Record the statements that select photos inside the context, each with its parameters."""
    statements: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "photos.path" in statement:
            statements.append((statement, parameters))

    event.listen(database._engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(database._engine, "before_cursor_execute", record)
