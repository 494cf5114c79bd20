"""Files that commands write and read whole: never half written, never replaced unasked; - is stdin and stdout."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, BinaryIO, cast

import typer

from tagger.errors import FileThere

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

STREAM = Path("-")
GZIP_LEVEL = 5
_GZIP = b"\x1f\x8b"

Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]


@contextmanager
def written_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """What is written appears at `path` as a whole when all went well; compressed where its name ends with .gz.

    Raises:
        FileThere: there is a file, and it is not to be replaced.
    """
    if path == STREAM:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    _refuse_a_file(path, force=force)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            with _compressed(file, path) as inner:
                yield inner
            file.flush()
            os.fsync(file.fileno())
        _refuse_a_file(path, force=force)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _refuse_a_file(path: Path, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise FileThere(path=path)


@contextmanager
def _compressed(file: BinaryIO, path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield file
        return
    # No name and no time in it: the same content gives the same file.
    with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
        yield cast("IO[bytes]", packed)


@contextmanager
def read_once(path: Path) -> Iterator[IO[bytes]]:
    """A file or stdin, to be read from its start to its end; unpacked where it is compressed."""
    if path == STREAM:
        yield _unpacked(cast("io.BufferedReader", sys.stdin.buffer))
        return
    with path.open("rb") as file:
        yield _unpacked(file)


@contextmanager
def read_twice(path: Path) -> Iterator[IO[bytes]]:
    """A file to be read from its start, and once more; unpacked where it is compressed. stdin is kept in a file meanwhile."""
    with tempfile.TemporaryFile() if path == STREAM else path.open("rb") as file:
        if path == STREAM:
            for part in iter(lambda: sys.stdin.buffer.read(1 << 20), b""):
                file.write(part)
            file.seek(0)
        yield _unpacked(cast("io.BufferedReader", file))


def _unpacked(file: io.BufferedReader) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if file.peek(2)[:2] == _GZIP else file


def shown_name(path: Path) -> str:
    """The file as messages name it."""
    return "stdin" if path == STREAM else str(path)
