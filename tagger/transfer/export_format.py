"""The format of an exported database: a header, one line per row, and an end with counts and a checksum.

Defines the exported tables and columns, and how values are converted to JSON and back.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, DateTime, LargeBinary, Table

from tagger.database.tables import (
    UtcDateTime,
    access_names,
    access_tokens,
    audit_log,
    backend_selections,
    changed_blocks,
    chunks,
    jobs,
    landmark_block_counts,
    landmark_totals,
    ledgers,
    metadata,
    month_block_counts,
    month_totals,
    page_sessions,
    share_photos,
    shares,
    sign_in_attempts,
    users,
    webhook_messages,
    workers,
)

FORMAT = 1
TITLE = "landmark-tagger database"

Converter = Callable[[Any], Any]

LOCAL_TABLES = (
    workers,
    backend_selections,
    access_names,
    access_tokens,
    users,
    page_sessions,
    sign_in_attempts,
    shares,
    share_photos,
    audit_log,
    webhook_messages,
    changed_blocks,
    landmark_block_counts,
    landmark_totals,
    month_block_counts,
    month_totals,
)
"""Tables that are not exported: an imported file grants no access, does not tell who did what here, and sends nothing. Selected
backends hold on one kind of machine. Kept counts follow from the rows."""

LOCAL_COLUMNS: Mapping[str, tuple[str, ...]] = {
    chunks.name: ("token", "claimed_at", "lease_until", "worker"),
    jobs.name: ("author",),
    ledgers.name: ("last_tick_at",),
}
"""Columns that are not exported. Claims, ticks and authors belong to one database."""


def exported_tables() -> list[Table]:
    """The tables, each after those that its foreign keys refer to."""
    return [table for table in metadata.sorted_tables if table not in LOCAL_TABLES]


def exported_columns(table: Table) -> list[Column[Any]]:
    local = LOCAL_COLUMNS.get(table.name, ())
    return [column for column in table.columns if column.name not in local]


def row_counts_text(counts: Mapping[str, int]) -> str:
    """The tables that have rows, in words: `1 root, 2 job items`."""
    nouns = ((count, name.replace("_", " ").removesuffix("s")) for name, count in counts.items() if count)
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in nouns)


def encode_line(document: object) -> bytes:
    """A document as one line of the file."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def to_json(column: Column[Any]) -> Converter | None:
    """The conversion of the column's values to JSON. None: JSON has their type."""
    if isinstance(column.type, LargeBinary):
        return lambda value: None if value is None else base64.b64encode(value).decode()
    if isinstance(column.type, DateTime | UtcDateTime):
        return lambda value: None if value is None else value.isoformat()
    return None
