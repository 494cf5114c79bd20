"""Files that commands write and read, and `-` for standard input and output.

An output file appears complete or not at all, and replaces an existing file only with --force.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, cast

from tagger.cli.help import flag
from tagger.errors import AlreadyExists
from tagger.photos.files import open_regular
from tagger.photos.folders import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = Path("-")
_OPENED_BY_SHELL = re.compile(r"/dev/stdin|/(dev|proc/self)/fd/\d+")
"""`/dev/fd/63` is what bash and zsh give a command for `<(…)`."""

Force = Annotated[bool, flag("--force", "Replace an existing file.")]


@contextmanager
def open_output(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file for writing, or stdout for `-`. The file appears at the end, if no error occurs.

    Raises:
        AlreadyExists: the file exists, and `force` is not set.
    """
    if path == STREAM:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    _check_absent(path, force=force)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
        _check_absent(path, force=force)
        replace_file(path, by=part)
    finally:
        part.unlink(missing_ok=True)


def _check_absent(path: Path, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise AlreadyExists(what=f"The file {path}", remedy="Choose another name, or replace it with --force")


@contextmanager
def open_input(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, stdin for `-`, or what the shell has opened. One could wait for other pipes for ever."""
    if path == STREAM:
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    with path.open("rb") if _OPENED_BY_SHELL.fullmatch(str(path)) else open_regular(path) as file:
        yield file


def display_name(path: Path) -> str:
    """The name of the file in messages."""
    return "stdin" if path == STREAM else str(path)
