"""How answers come to stdout: JSON, a line of JSON each, CSV, paths, GeoJSON, or a table for people.

Everything streams: nothing is kept of what was written. What people's files are called is written as it is where
programs read it (see documents), and made harmless where a terminal shows it.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from tagger.documents import (
    LANDMARK_COLUMNS,
    csv_parts,
    json_line_parts,
    json_list_parts,
    landmark_document,
    landmark_feature_parts,
    photo_csv_parts,
    photo_document,
    photo_feature_parts,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tagger.ledger.progress import FailingPhoto
    from tagger.query import LandmarkCount, TaggedPhoto


class Format(StrEnum):
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    PATHS = "paths"
    GEOJSON = "geojson"
    TABLE = "table"


FAILURE_COLUMNS = ("path", "kind", "text", "attempts", "job")
TABLE_PART = 200
"""Rows of a table laid out at a time."""


def write_photos(photos: Iterable[TaggedPhoto], written_as: Format, *, end: bytes = b"\n") -> int:
    """Write photos to stdout as they come; returns how many there were. `end` ends each path."""
    counted = _Counted(photos)
    match written_as:
        case Format.JSON:
            write_json_list(photo_document(photo) for photo in counted)
        case Format.NDJSON:
            _write_parts(json_line_parts(photo_document(photo) for photo in counted))
        case Format.CSV:
            _write_parts(photo_csv_parts(counted))
        case Format.PATHS:
            _write_parts(os.fsencode(photo.path) + end for photo in counted)
        case Format.GEOJSON:
            _write_parts(photo_feature_parts(counted))
        case Format.TABLE:
            lines = (line for photo in counted for line in _table_lines(photo))
            write_table(("Photo", "Landmark", "Score", "Country"), lines, flexible=0)
    return counted.count


def write_landmarks(counts: Iterable[LandmarkCount], written_as: Format) -> int:
    """Write landmarks with their numbers of photos to stdout; returns how many there were."""
    counted = _Counted(landmark_document(count) for count in counts)
    match written_as:
        case Format.JSON:
            write_json_list(counted)
        case Format.NDJSON:
            _write_parts(json_line_parts(counted))
        case Format.CSV:
            _write_parts(csv_parts(LANDMARK_COLUMNS, (list(document.values()) for document in counted)))
        case Format.PATHS:
            raise ValueError("landmarks have no paths")
        case Format.GEOJSON:
            _write_parts(landmark_feature_parts(counted))
        case Format.TABLE:
            rows = ([d["landmark"], d["name"], d["country"], d["photos"]] for d in counted)
            write_table(("Landmark", "Name", "Country", "Photos"), rows, flexible=1)
    return counted.count


def write_failures(
    failing: Iterable[tuple[Path, FailingPhoto]], written_as: Format, *, end: bytes = b"\n"
) -> int:
    """Write failing photos with their paths to stdout as they come; returns how many there were."""
    counted = _Counted(
        {
            "path": str(path),
            "kind": photo.kind,
            "text": photo.text,
            "attempts": photo.attempts,
            "job": photo.job,
        }
        for path, photo in failing
    )
    match written_as:
        case Format.JSON:
            write_json_list(counted)
        case Format.NDJSON:
            _write_parts(json_line_parts(counted))
        case Format.CSV:
            _write_parts(csv_parts(FAILURE_COLUMNS, (list(document.values()) for document in counted)))
        case Format.PATHS:
            _write_parts(os.fsencode(document["path"]) + end for document in counted)
        case Format.GEOJSON:
            raise ValueError("failures have no place on a map")
        case Format.TABLE:
            if sys.stdout.isatty():  # two long columns do not fit a terminal; a line each does
                rows = (
                    [f"{d['path']}: {d['kind']}: {d['text']} (tried {d['attempts']}x, job {d['job']})"]
                    for d in counted
                )
                _write_parts(printable(line).encode() + b"\n" for (line,) in rows)
            else:
                write_table(FAILURE_COLUMNS, ([d[column] for column in FAILURE_COLUMNS] for d in counted))
    return counted.count


def write_documents(columns: Sequence[str], documents: Iterable[dict[str, Any]], written_as: Format) -> int:
    """Write documents that all have these keys to stdout as they come; returns how many there were."""
    counted = _Counted(documents)
    rows = ([document[column] for column in columns] for document in counted)
    match written_as:
        case Format.JSON:
            write_json_list(counted)
        case Format.NDJSON:
            _write_parts(json_line_parts(counted))
        case Format.CSV:
            _write_parts(csv_parts(columns, rows))
        case Format.TABLE:
            write_table(columns, rows)
        case Format.PATHS | Format.GEOJSON:
            raise ValueError("these have neither paths nor a place")
    return counted.count


def write_json(document: object) -> None:
    """One JSON document on stdout, for a person too."""
    _write_parts([json.dumps(document, indent=2, default=plain).encode() + b"\n"])


def write_json_list(documents: Iterable[object]) -> None:
    """One JSON list on stdout, an element a line, written as they come."""
    _write_parts(json_list_parts(documents))


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, flexible: int | None = None
) -> None:
    """A table as wide as the terminal, `flexible` being the column that wraps; without a terminal, cells between tabs."""
    shown = ([printable(_cell(value)) for value in row] for row in rows)
    if not sys.stdout.isatty():
        _write_parts("\t".join(row).encode() + b"\n" for row in shown)
        return
    from rich.console import Console

    console = Console(highlight=False)
    title = True
    while part := list(islice(shown, TABLE_PART)):
        console.print(_laid_out(columns, part, flexible, title=title))
        title = False


def printable(text: str) -> str:
    """The text with what a terminal would obey, and bytes that are no text, spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class _Counted:
    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self.count += 1
            yield item


def _write_parts(parts: Iterable[bytes]) -> None:
    """Bytes, not text: file names are bytes, and a terminal's encoding must not decide whether they can be written."""
    sys.stdout.flush()
    out: BinaryIO = sys.stdout.buffer
    out.writelines(parts)
    out.flush()


def _table_lines(photo: TaggedPhoto) -> Iterator[list[object]]:
    if not photo.tags:
        yield [photo.path, photo.outcome or "not looked at", None, None]
    for tag in photo.tags:
        score = "" if tag.score is None else f"{tag.score:.0%}"
        word = tag.verdict or ("" if tag.accepted else "not accepted")
        yield [photo.path, tag.name, f"{score} {word}".strip(), tag.country]


def _laid_out(
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
