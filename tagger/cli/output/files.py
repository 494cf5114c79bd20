"""Files that commands write and read, and `-` for standard input and output.

An output file appears complete or not at all, and replaces an existing file only with --force.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, cast

from tagger.cli.help import flag
from tagger.errors import AlreadyExists
from tagger.photos.files import open_regular
from tagger.photos.folders import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = Path("-")
GZIP_LEVEL = 5
GZIP_BUFFER_BYTES = 1 << 17
GZIP_FREE_BYTES = 1 << 28
MOST_GROWTH = 200
"""A list of verdicts grows about 20 times when it is decompressed. Beyond GZIP_FREE_BYTES, a file that grows more is refused."""
_OPENED_BY_SHELL = re.compile(r"/dev/stdin|/(dev|proc/self)/fd/\d+")
"""`/dev/fd/63` is what bash and zsh give a command for `<(…)`."""
_GZIP_MAGIC = b"\x1f\x8b"

Force = Annotated[bool, flag("--force", "Replace an existing file.")]


@contextmanager
def open_output(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Open a file for writing, or stdout for `-`. The file appears at the end, if no error occurs; .gz compresses it.

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
        with part.open("xb") as file, _compressed(file, path) as inner:
            yield inner
        _check_absent(path, force=force)
        replace_file(path, by=part)
    finally:
        part.unlink(missing_ok=True)


def _check_absent(path: Path, *, force: bool) -> None:
    if os.path.lexists(path) and not force:
        raise AlreadyExists(what=f"The file {path}", remedy="Choose another name, or replace it with --force")


@contextmanager
def _compressed(file: BinaryIO, path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield file
        return
    # Without name and time in the header, the same content gives the same file.
    with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
        yield cast("IO[bytes]", packed)


@contextmanager
def open_seekable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, or a temporary copy of a stream, to read it several times. gzip is decompressed."""
    with _opened(path) as file, tempfile.TemporaryFile() as copy:
        if path != STREAM and file.seekable():
            yield _decompressed(file)
            return
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield _decompressed(cast("io.BufferedReader", copy))


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, stdin for `-`, or what the shell has opened for the command. Any other pipe could be waited for without end."""
    if path == STREAM:
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    with path.open("rb") if _OPENED_BY_SHELL.fullmatch(str(path)) else open_regular(path) as file:
        yield file


def _decompressed(file: io.BufferedReader) -> IO[bytes]:
    if file.peek(2)[:2] != _GZIP_MAGIC:
        return file
    return io.BufferedReader(_BoundedGzip(file), GZIP_BUFFER_BYTES)


class _BoundedGzip(io.RawIOBase):
    """Decompresses gzip, and refuses content that is far larger than its file: gzip stores a thousand bytes in one."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._compressed = _CountingReader(file)
        self._gzip = gzip.GzipFile(fileobj=cast("IO[bytes]", self._compressed))
        self._read_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Decompress the next part.

        Raises:
            OSError, EOFError, zlib.error: the file is damaged, truncated, or grows too much.
        """
        data = self._gzip.read(len(buffer))
        buffer[: len(data)] = data
        self._read_bytes += len(data)
        if self._read_bytes > GZIP_FREE_BYTES + MOST_GROWTH * self._compressed.read_bytes:
            raise gzip.BadGzipFile(f"its content is more than {MOST_GROWTH} times as large as the file")
        return len(data)


class _CountingReader:
    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.read_bytes = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.read_bytes += len(data)
        return data


def display_name(path: Path) -> str:
    """The name of the file in messages."""
    return "stdin" if path == STREAM else str(path)
