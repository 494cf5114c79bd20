"""What an exported database looks like: a header, a line per row, an end that proves that nothing is missing.

Says how values stand in JSON, and which tables and columns are carried. Knows nothing of reading or writing them.
"""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, LargeBinary, Table

from tagger.tables import UtcDateTime, chunks, metadata, workers

FORMAT = 1
TITLE = "landmark-tagger database"

Value = Callable[[Any], Any]

NOT_CARRIED: Mapping[str, tuple[str, ...]] = {
    chunks.name: ("token", "claimed_at", "lease_until", "worker", "sent_at")
}
"""Who holds what and which messages are under way is true of one place only: elsewhere, chunks wait to be sent."""


def carried_tables() -> list[Table]:
    """The tables, each after those that it refers to."""
    return [table for table in metadata.sorted_tables if table is not workers]


def carried_columns(table: Table) -> list[Column[Any]]:
    left_out = NOT_CARRIED.get(table.name, ())
    return [column for column in table.columns if column.name not in left_out]


def line_of(document: object) -> bytes:
    """A line of the file."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def to_json(column: Column[Any]) -> Value | None:
    """What makes a value of the column fit for JSON; None: it is."""
    if isinstance(column.type, LargeBinary):
        return lambda value: None if value is None else base64.b64encode(value).decode()
    if isinstance(column.type, DateTime | UtcDateTime):
        return lambda value: None if value is None else value.isoformat()
    return None


def from_json(column: Column[Any]) -> Value | None:
    """The way back. What it is given may be anything; it raises ValueError or TypeError where that is no such value."""
    if isinstance(column.type, LargeBinary):
        return lambda value: None if value is None else base64.b64decode(value, validate=True)
    if isinstance(column.type, UtcDateTime):
        return lambda value: None if value is None else datetime.fromisoformat(value).astimezone(UTC)
    if isinstance(column.type, DateTime):
        return lambda value: None if value is None else datetime.fromisoformat(value)
    return None
