"""Output formats: JSON, a JSON document per line, CSV, paths, GeoJSON, and tables for the terminal.

Everything is streamed. File names are written unchanged to programs, and with escaped control characters to a terminal.
"""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Format(StrEnum):
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    PATHS = "paths"
    GEOJSON = "geojson"
    TABLE = "table"


TABLE_PART = 200
"""Rows for which the widths of a table's columns are computed at a time."""


class Counter:
    """Iterates over `items` once, and counts them."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self.count += 1
            yield item


def write_documents(
    columns: Sequence[str], documents: Iterable[dict[str, Any]], output_format: Format
) -> int:
    """Write documents with these keys; returns their number."""
    from tagger.query.documents import csv_parts, json_line_parts

    counter = Counter(documents)
    rows = ([document[column] for column in columns] for document in counter)
    match output_format:
        case Format.JSON:
            write_json_list(counter)
        case Format.NDJSON:
            write_parts(json_line_parts(counter))
        case Format.CSV:
            write_parts(csv_parts(columns, rows))
        case Format.TABLE:
            write_table(columns, rows)
        case Format.PATHS | Format.GEOJSON:
            raise ValueError(f"these documents cannot be written as {output_format}")
    return counter.count


def write_json(document: object) -> None:
    """Write one indented JSON document."""
    import json

    from tagger.query.documents import json_default

    write_parts([json.dumps(document, indent=2, default=json_default).encode() + b"\n"])


def write_json_list(documents: Iterable[object]) -> None:
    """Write one JSON list, with an element on each line."""
    from tagger.query.documents import json_list_parts

    write_parts(json_list_parts(documents))


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, flexible: int | None = None
) -> None:
    """Write a table as wide as the terminal, in which column `flexible` gets the most room; without a terminal, cells separated by tabs."""
    shown = ([printable(_cell(value)) for value in row] for row in rows)
    if not sys.stdout.isatty():
        write_parts("\t".join(row).encode() + b"\n" for row in shown)
        return
    from rich.console import Console

    console = Console(highlight=False)
    title = True
    while part := list(islice(shown, TABLE_PART)):
        console.print(_rich_table(columns, part, flexible, title=title))
        title = False


def printable(text: str) -> str:
    """Escape control characters, and bytes that are not UTF-8, as in the notes of jobs."""
    if text.isprintable():
        return text
    from tagger.photos import printable_path

    return printable_path(text)


def write_parts(parts: Iterable[bytes]) -> None:
    """Write bytes to stdout: file names may not be valid in the encoding of the terminal."""
    sys.stdout.flush()
    out: BinaryIO = sys.stdout.buffer
    out.writelines(parts)
    out.flush()


def _rich_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], flexible: int | None, *, title: bool
) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if title else None, show_header=title, expand=True, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, overflow="fold", ratio=3 if position == flexible else 1)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat(" ", "seconds") if isinstance(value, datetime) else str(value)
