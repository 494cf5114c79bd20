"""What commands print: results to stdout, messages to stderr, progress with its rate; and the exit codes.

Output formats are JSON, a JSON document per line, CSV, paths, GeoJSON, and tables for the terminal. All is
streamed. File names are written unchanged to programs, with escaped controls to a terminal.
"""

from __future__ import annotations

import codecs
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import StrEnum
from itertools import chain, compress, islice
from typing import Any, NoReturn, Self
from zoneinfo import ZoneInfo

import typer

from tagger.errors import InputInvalid, TaggerError
from tagger.texts.text_format import number_text, percent


class Format(StrEnum):
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    CSV_BOM = "csv-bom"
    PATHS = "paths"
    GEOJSON = "geojson"
    TABLE = "table"


# Rows of a table that are printed at a time. The first ones decide how wide its columns are.
TABLE_PART = 200
COLUMN_GAP = 2


class Score(float):
    """A number from 0 to 1 in a table: a percentage on a terminal, a number for programs."""


class Counter:
    """Iterates over `items` once, and counts them, and those that are `matching` a condition."""

    def __init__(
        self,
        items: Iterable[Any],
        condition: Callable[[Any], bool] = lambda _item: False,
    ) -> None:
        self._items = items
        self._condition = condition
        self.count = self.matching = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            self.count += 1
            self.matching += self._condition(item)
            yield item


def write_documents(
    columns: Sequence[str], documents: Iterable[object], output_format: Format
) -> int:
    """Write documents; returns their number. `columns` are the fields that a table and CSV have."""
    from tagger.query.photo_json import csv_parts, json_line_parts

    counter = Counter(documents)
    rows = ([getattr(document, column) for column in columns] for document in counter)
    match output_format:
        case Format.JSON:
            write_json_list(counter)
        case Format.NDJSON:
            write_parts(json_line_parts(counter))
        case Format.CSV | Format.CSV_BOM:
            write_csv(csv_parts(columns, rows), output_format)
        case Format.TABLE:
            write_table(columns, rows)
    return counter.count


def write_csv(parts: Iterable[bytes], output_format: Format) -> None:
    """Write CSV in UTF-8. Excel takes it for another encoding unless a byte order mark comes first."""
    write_parts(
        chain([codecs.BOM_UTF8], parts) if output_format is Format.CSV_BOM else parts
    )


def write_json(document: object) -> None:
    from tagger.texts import json_bytes

    write_parts([json_bytes(document, indent=2) + b"\n"])


def write_json_list(documents: Iterable[object]) -> None:
    from tagger.query.photo_json import json_list_parts

    write_parts(json_list_parts(documents))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table that fits the terminal; without a terminal, cells separated by tabs.

    Where a name would be broken, each row is written as lines, which can be copied.
    """
    is_terminal = sys.stdout.isatty()
    shown = (
        [printable(_cell(value, is_terminal=is_terminal)) for value in row]
        for row in rows
    )
    if not is_terminal:
        first = list(islice(shown, 1))
        headings = [columns] if first else []
        lines = chain(headings, first, shown)
        write_parts("\t".join(line).encode() + b"\n" for line in lines)
        return
    from rich.console import Console

    console = Console(highlight=False)
    widths: list[int] = []
    while part := list(islice(shown, TABLE_PART)):
        title = not widths
        widths = widths or _column_widths([columns, *part], console.width)
        if sum(widths) + (len(widths) - 1) * COLUMN_GAP > console.width:
            # The cells of a row that are not empty, each after the name of its column.
            for row in part:
                cells = zip(columns, row, strict=True)
                named = (f"{column}: {cell}" for column, cell in cells if cell)
                record = "\n".join(line.removeprefix(": ") for line in named)
                write_parts([f"{record}\n\n".encode()])
        else:
            console.print(_rich_table(columns, part, widths, title=title))


def local_time(moment: datetime, zone: str | None = None) -> str:
    """`2026-05-01 14:30 CEST`, in the time zone of this machine, or another one."""
    return f"{moment.astimezone(None if zone is None else ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def count_of(number: int, noun: str) -> str:
    """`1 photo`, `2 photos`."""
    return f"{number_text(number)} {noun}{'' if number == 1 else 's'}"


def first_names(names: Sequence[str], most: int = 5) -> str:
    """`a.jpg, b.jpg, …`."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def printable(text: str) -> str:
    """Escape control characters, and bytes that are not UTF-8, as in the notes of jobs."""
    if text.isprintable():
        return text
    from tagger.photos.paths import printable_path

    return printable_path(text)


def printable_lines(text: str) -> str:
    """Escape each line as `printable` does."""
    return "\n".join(printable(line) for line in text.split("\n"))


def write_parts(parts: Iterable[bytes]) -> None:
    """Write bytes to stdout: file names may not be valid in the encoding of the terminal."""
    if sys.stdout.isatty():
        # Escape what could change the terminal: file names may contain control sequences.
        texts = (part.decode(errors="surrogateescape") for part in parts)
        parts = (printable_lines(text.replace("\r\n", "\n")).encode() for text in texts)
    sys.stdout.flush()
    sys.stdout.buffer.writelines(parts)
    sys.stdout.buffer.flush()


def _column_widths(rows: Sequence[Sequence[str]], terminal_width: int) -> list[int]:
    # As wide as the longest cell; the widest are narrowed until the table fits, at most to a name.
    from rich.cells import cell_len

    columns = list(zip(*rows, strict=True))
    widths = [max(1, *map(cell_len, column)) for column in columns]
    names = [
        max(1, *(cell_len(name) for cell in column for name in _names(cell)))
        for column in columns
    ]
    room = terminal_width - (len(widths) - 1) * COLUMN_GAP
    while sum(widths) > room:
        spare = [
            width if width > least else 0
            for width, least in zip(widths, names, strict=True)
        ]
        if not any(spare):
            break
        widths[spare.index(max(spare))] -= 1
    return widths


def _names(cell: str) -> list[str]:
    return re.findall("[^ /]*[ /]|[^ /]+", cell)


def _broken(cell: str, width: int) -> str:
    from rich.cells import cell_len

    lines = [""]
    for name in _names(cell):
        if lines[-1] and cell_len(lines[-1] + name.rstrip(" ")) > width:
            lines.append("")
        lines[-1] += name
    return "\n".join(lines)


def _rich_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    title: bool,
) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # The gap is a column's padding and the box's divider, a space.
    table = Table(
        box=box.SIMPLE_HEAD,
        show_header=title,
        show_edge=False,
        pad_edge=False,
        padding=(0, COLUMN_GAP - 1, 0, 0),
    )
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", width=width)
    for row in rows:
        table.add_row(
            *(
                Text(_broken(cell, width))
                for cell, width in zip(row, widths, strict=True)
            )
        )
    return table


def _cell(value: object, *, is_terminal: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, Score):
        return percent(value) if is_terminal else f"{value:.4f}"
    return (
        value.isoformat(" ", "seconds") if isinstance(value, datetime) else str(value)
    )


DONE = 0
NOT_DONE = 1
WRONG_USAGE = 2
SOME_PHOTOS_FAILED = 3

# The first word of the running command, like `tag`.
command = ""
# -q sets -1, which leaves warnings, errors and the results of jobs; -vv sets 2, which shows
# tracebacks.
verbosity = 0


def write_result(document: object, text: str, *, json: bool) -> None:
    if json:
        write_json(document)
    else:
        typer.echo(printable_lines(text))


def write_list(
    documents: Sequence[object],
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    none_text: str,
    *,
    json: bool,
) -> None:
    """Print a list, as JSON or as a table; `none_text` says what to do if it is empty.

    On a terminal, columns without any value are left out.
    """
    if json:
        write_json(documents)
        return
    if sys.stdout.isatty():
        rows = list(rows)
        has_values = [
            any(cell not in (None, "") for cell in column)
            for column in zip(*rows, strict=True)
        ]
        columns = list(compress(columns, has_values))
        rows = [list(compress(row, has_values)) for row in rows]
    write_table(columns, rows)
    if not documents:
        info(none_text)


def info(*texts: str) -> None:
    """Print messages, unless -q is set."""
    if verbosity >= 0:
        for text in texts:
            result(text)


def result(text: str) -> None:
    """Print the result of a job on stderr, also with -q, if anybody reads it.

    Names in it could have control sequences for the terminal.
    """
    with suppress(BrokenPipeError):
        typer.echo(printable_lines(text), err=True)


def warning(text: str) -> None:
    """Print a warning, also with -q."""
    result(f"warning: {text}")


def fail(error: TaggerError) -> NoReturn:
    """Print the error and exit: with code 2 if a value on the command line cannot be."""
    if verbosity >= 2:
        traceback.print_exception(error)
    result(f"error: {error}")
    sys.exit(WRONG_USAGE if isinstance(error, InputInvalid) else NOT_DONE)


class ProgressLine:
    """A progress bar on stderr. It is not shown if stderr is not a terminal, or with -q."""

    def __init__(self, description: str) -> None:
        self._description = description
        self.is_shown = sys.stderr.isatty() and verbosity >= 0
        if self.is_shown:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(
                *columns, console=Console(stderr=True), transient=True
            )
            self._task = self._progress.add_task(description, total=None, rate="")

    def __enter__(self) -> Self:
        if self.is_shown:
            self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.is_shown:
            self._progress.stop()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        if self.is_shown:
            self._progress.stop()
        yield
        if self.is_shown:
            self._progress.start()

    def show(
        self,
        done: int,
        total: int | None = None,
        photos_per_second: float | None = None,
        state: str = "",
    ) -> None:
        """Update the line; `total` is None if it is not known. `state` follows the description."""
        if self.is_shown:
            rate = f"{photos_per_second:.1f} photos/s" if photos_per_second else ""
            description = f"{self._description} {state}".rstrip()
            self._progress.update(
                self._task,
                description=description,
                completed=done,
                total=total,
                rate=rate,
            )

    def show_step(self, text: str, done: int, total: int | None = None) -> None:
        self._description = text
        self.show(done, total)
