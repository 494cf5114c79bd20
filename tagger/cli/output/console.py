"""Messages to the terminal, and the exit codes of commands. Results go to stdout, messages to stderr."""

import os
import sys
import traceback
from dataclasses import dataclass
from typing import NoReturn

import typer

from tagger.cli.output.formats import printable_lines
from tagger.errors import TaggerError

DONE = 0
NOT_DONE = 1
SOME_PHOTOS_FAILED = 3


@dataclass
class Verbosity:
    """0 by default. -q sets -1, which hides messages other than warnings and errors; -vv sets 2, which shows tracebacks."""

    level: int = 0


verbosity = Verbosity()


def drop_unwritable_results() -> None:
    """Drop what stdout does not take: the interpreter would try again at its end, and print a second error."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def info(text: str) -> None:
    """Print a message, unless -q is set."""
    if verbosity.level >= 0:
        _write(text)


def warning(text: str) -> None:
    """Print a warning, also with -q."""
    _write(f"warning: {text}")


def fail(error: TaggerError) -> NoReturn:
    """Print the error and exit with code 1."""
    if verbosity.level >= 2:
        traceback.print_exception(error)
    _write(f"error: {error}")
    sys.exit(NOT_DONE)


def _write(text: str) -> None:
    """Messages name files, whose names could contain control sequences that change the terminal."""
    typer.echo(printable_lines(text), err=True)
