"""Reading a file before it is replaced, and checking later that it is still the same."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused, translated_os_errors
from tagger.photos.files import PhotoVersion, stored_time_ns
from tagger.photos.folders import OpenFolder, open_folder


@dataclass(frozen=True)
class Original:
    """A file as it was read before a write; `data` and `status` are None if it did not exist.

    No link to a folder is followed below `root`. With None, the file's own folder is the root.
    """

    path: Path
    data: bytes | None
    status: os.stat_result | None
    root: Path | None = None

    @property
    def version(self) -> PhotoVersion | None:
        """The version that was read."""
        return PhotoVersion(self.status.st_size, stored_time_ns(self.status)) if self.status else None


def read_for_writing(path: Path, *, max_bytes: int, root: Path | None = None) -> Original:
    """Read a file that will be replaced, or find that it does not exist yet.

    Raises:
        WriteRefused: the file is a link, or in a folder that is one below `root`, has several hard links, is not a regular
            file, is write-protected (even if this user is root), is too large, or changed while it was read.
        WriteFailed: the file cannot be read.
    """
    with translated_os_errors(path):
        try:
            folder = open_folder(path.parent, root)
        except FileNotFoundError:
            return Original(path, None, None, root)
        with folder:
            try:
                status = folder.status(path.name)
            except FileNotFoundError:
                return Original(path, None, None, root)
            _check_writable(folder, path.name, status, max_bytes)
            descriptor = folder.open(path.name, _READ)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
                before = os.fstat(descriptor)
                _check_writable(folder, path.name, before, max_bytes)
                data = file.read(before.st_size + 1)
                after = os.fstat(descriptor)
    if _identity(before) != _identity(after) or len(data) != before.st_size:
        raise busy(path.name)
    return Original(path, data, before, root)


@contextmanager
def open_unchanged(folder: OpenFolder, name: str, expected: os.stat_result | None) -> Iterator[int | None]:
    """Open a file of the folder if its status is still `expected`.

    Yields the descriptor, or None if the file does not exist and did not exist before.

    Raises:
        WriteRefused: the file has changed.
        WriteFailed: the file is gone.
    """
    descriptor = None
    with suppress(FileNotFoundError):
        descriptor = folder.open(name, _READ)
    try:
        if descriptor is not None:
            _check_same(name, expected, descriptor)
        elif expected is not None:
            raise WriteFailed("gone", f"{name!r} no longer exists. Scan the folder again.")
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def busy(name: str) -> WriteRefused:
    """The refusal for a file that another program is using."""
    return WriteRefused(
        RefusalKind.BUSY,
        f"{name!r} is being written by another program. Try again when it has finished.",
    )


_READ = os.O_RDONLY | os.O_NONBLOCK
_ANY_WRITER = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def _check_writable(folder: OpenFolder, name: str, status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise WriteRefused(RefusalKind.LINK, f"{name!r} is a link. Name the file that it points to.")
    if not stat.S_ISREG(status.st_mode):
        raise WriteRefused(RefusalKind.FORMAT, f"{name!r} is not a file. Rename or remove it.")
    if status.st_nlink > 1:
        raise WriteRefused(
            RefusalKind.LINK,
            f"The file {name!r} has {status.st_nlink} hard links, which a write would separate. "
            "To write into it, replace it by a copy.",
        )
    # Root may write every file, but write protection is respected for root, too.
    if not status.st_mode & _ANY_WRITER or not folder.may_write(name):
        raise WriteRefused(
            RefusalKind.READ_ONLY,
            f"{name!r} is write-protected. Give this user write permission.",
        )
    if status.st_size > max_bytes:
        raise WriteRefused(
            RefusalKind.TOO_LARGE,
            f"{name!r} has {status.st_size} bytes, more than the limit of {max_bytes}. "
            "Save it smaller, or raise the limit (of photos: TAGGER_MAX_BYTES) if this machine has the memory for it.",
        )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is replaced, written, or given other permissions or attributes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _check_same(name: str, expected: os.stat_result | None, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if expected is None or _identity(status) != _identity(expected):
        raise WriteRefused(
            RefusalKind.CHANGED,
            f"{name!r} has changed since it was read. Tag it again, then write.",
        )
