"""Messages to the terminal, progress with its rate and remaining time, and the exit codes of commands.

Results go to stdout, messages to stderr.
"""

import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import compress
from typing import NoReturn, Self

import typer

from tagger.cli.output.formats import printable_lines, write_json, write_table
from tagger.errors import InputInvalid, TaggerError

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
    """Print the result of a command, as JSON or in words."""
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
        has_values = [any(cell not in (None, "") for cell in column) for column in zip(*rows, strict=True)]
        columns = list(compress(columns, has_values))
        rows = [list(compress(row, has_values)) for row in rows]
    write_table(columns, rows)
    if not documents:
        info(none_text)


def info(text: str) -> None:
    """Print a message, unless -q is set."""
    if verbosity >= 0:
        _write(text)


def result(text: str) -> None:
    """Print the result of a job, also with -q."""
    _write(text)


def warning(text: str) -> None:
    """Print a warning, also with -q."""
    _write(f"warning: {text}")


def fail(error: TaggerError) -> NoReturn:
    """Print the error and exit: with code 2 if a value on the command line cannot be."""
    if verbosity >= 2:
        traceback.print_exception(error)
    _write(f"error: {error}")
    sys.exit(WRONG_USAGE if isinstance(error, InputInvalid) else NOT_DONE)


def _write(text: str) -> None:
    """Print a message, if anybody reads it. Names in it could have control sequences for the terminal."""
    with suppress(BrokenPipeError):
        typer.echo(printable_lines(text), err=True)


class ProgressLine:
    """A progress bar on stderr. It is not shown if stderr is not a terminal, or with -q."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._is_shown = sys.stderr.isatty() and verbosity >= 0
        if self._is_shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task(description, total=None, rate="")

    def __enter__(self) -> Self:
        if self._is_shown:
            self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._is_shown:
            self._progress.stop()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Hide the line while other text is printed."""
        if self._is_shown:
            self._progress.stop()
        yield
        if self._is_shown:
            self._progress.start()

    def show(
        self, done: int, total: int | None = None, photos_per_second: float | None = None, state: str = ""
    ) -> None:
        """Update the line; `total` is None if it is not known. `state` follows the description."""
        if self._is_shown:
            rate = f"{photos_per_second:.1f} photos/s" if photos_per_second else ""
            description = f"{self._description} {state}".rstrip()
            self._progress.update(self._task, description=description, completed=done, total=total, rate=rate)

    def show_step(self, text: str, done: int, total: int | None = None) -> None:
        """Show another step, with its own numbers."""
        self._description = text
        self.show(done, total)
