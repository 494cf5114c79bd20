"""Messages to the terminal, and the exit codes of commands. Results go to stdout, messages to stderr."""

import sys
import traceback
from dataclasses import dataclass
from typing import NoReturn

import typer

from tagger.errors import TaggerError

DONE = 0
NOT_DONE = 1
SOME_PHOTOS_FAILED = 3
INTERRUPTED = 130


@dataclass
class Verbosity:
    """0 by default. -q sets -1, which hides messages other than warnings and errors; -vv sets 2, which shows tracebacks."""

    level: int = 0


verbosity = Verbosity()


def info(text: str) -> None:
    """Print a message, unless -q is set."""
    if verbosity.level >= 0:
        typer.echo(text, err=True)


def warning(text: str) -> None:
    """Print a warning, also with -q."""
    typer.echo(f"warning: {text}", err=True)


def fail(error: TaggerError) -> NoReturn:
    """Print the error and exit with code 1."""
    if verbosity.level >= 2:
        traceback.print_exception(error)
    typer.echo(f"error: {error}", err=True)
    sys.exit(NOT_DONE)
