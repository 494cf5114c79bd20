"""Where words go: results to stdout, everything else to stderr; how loud; how a failure ends the command."""

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
class Loudness:
    """-q counts down, -v up: 0 says what a person needs, below only errors, 2 shows tracebacks."""

    level: int = 0


loudness = Loudness()


def say(text: str) -> None:
    """A message for the person at the terminal."""
    if loudness.level >= 0:
        typer.echo(text, err=True)


def warn(text: str) -> None:
    """Something the person should know though the command goes on; not silenced by -q."""
    typer.echo(f"warning: {text}", err=True)


def fail(error: TaggerError) -> NoReturn:
    """End the command as one that could not be done."""
    if loudness.level >= 2:
        traceback.print_exception(error)
    typer.echo(f"error: {error}", err=True)
    sys.exit(NOT_DONE)
