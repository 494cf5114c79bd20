"""The format of an exported database: a header, one line per row, and an end with counts and a checksum.

Defines the exported tables and columns, and how values are converted to JSON and back.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, DateTime, LargeBinary, Table

from tagger.database.tables import UtcDateTime, metadata

FORMAT = 1
TITLE = "landmark-tagger database"

Converter = Callable[[Any], Any]


def exported_tables() -> list[Table]:
    """The tables, each after those that its foreign keys refer to."""
    return [table for table in metadata.sorted_tables if _is_exported(table)]


def exported_columns(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if _is_exported(column)]


def _is_exported(item: Table | Column[Any]) -> bool:
    """Whether it moves with a database, which its `info` says.

    An imported file grants no access, does not tell who did what here, and sends nothing. Claims, ticks and selected
    backends belong to one place, and kept counts follow from the rows.
    """
    return bool(item.info.get("exported", True))


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
