"""Opening a stored photo's file or object for display, and ZIP archives of photos, as a stream of any length.

The path comes from the database, never from a request.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from itertools import chain
from typing import BinaryIO
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from tagger.database.connection import Database
from tagger.errors import (
    BucketUnavailable,
    FailureKind,
    PathNotFound,
    PhotoFailed,
    PhotoFailure,
    PhotoIdNotFound,
    PicklableError,
)
from tagger.photos.buckets import ObjectSource, find_object
from tagger.photos.files import (
    MountState,
    PhotoVersion,
    check_mount,
    open_photo,
    os_error_text,
    stored_time_ns,
)
from tagger.photos.paths import ObjectPath
from tagger.query.tagged_photos import StoredPhoto, stored_photo
from tagger.roots.roots import RootPaths

BLOCK_BYTES = 2**18
# An object is read into memory; larger ones are not displayed.
MOST_OBJECT_BYTES = 64 * 2**20


class PhotoUnavailable(PicklableError):
    """The photo cannot be displayed now: the HTTP status, a kind, and an English text with what to do."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.text = text


@dataclass(frozen=True)
class OpenFile:
    """An open file, its size and time. The caller closes it."""

    file: BinaryIO
    size_bytes: int
    mtime_ns: int

    def blocks(self) -> Iterator[bytes]:
        """Yield `size_bytes` of content, then close the file."""
        remaining_bytes = self.size_bytes
        with self.file as file:
            while block := file.read(min(BLOCK_BYTES, remaining_bytes)):
                remaining_bytes -= len(block)
                yield block


def open_stored(photo: StoredPhoto) -> OpenFile:
    """Open the file that the scan found.

    A link that has replaced a folder is not followed. One that leads out of the root is followed only as by
    `open_photo`, to the very file that was scanned.

    Raises:
        PhotoUnavailable: the root is not mounted, or the file is gone, unreadable or another one.
    """
    if isinstance(photo.path, ObjectPath):
        with _object_errors():
            source = ObjectSource(photo.path.parent, patient=False)
            read = source.read(photo.path.name, max_bytes=MOST_OBJECT_BYTES)
        return OpenFile(BytesIO(read.data), read.size_bytes, read.mtime_ns)
    if check_mount(photo.root).state is not MountState.FILLED:
        text = f"The folder {photo.root} is not available. Mount the disk or share it is on and try again."
        raise PhotoUnavailable(404, "unavailable", text)
    try:
        file = _open(photo)
    except (FileNotFoundError, NotADirectoryError):
        text = "The file no longer exists. If it was moved, tag the folder it is in now."
        raise PhotoUnavailable(404, "gone", text) from None
    except (OSError, ValueError) as error:
        text = (
            os_error_text("The file", error)
            if isinstance(error, OSError)
            else "The file's name is not valid."
        )
        raise PhotoUnavailable(404, "unreadable", text) from None
    if not _is_as_scanned(photo, file):
        file.file.close()
        text = "The file was replaced by a link to a file that was not tagged. Tag it again."
        raise PhotoUnavailable(404, "unreadable", text)
    return file


def stored_version(photo: StoredPhoto) -> PhotoVersion:
    """The current version of the photo's file or object.

    Raises:
        PhotoUnavailable: as `open_stored`.
    """
    if isinstance(photo.path, ObjectPath):
        with _object_errors():
            return find_object(photo.path, patient=False).version
    file = open_stored(photo)
    file.file.close()
    return PhotoVersion(file.size_bytes, file.mtime_ns)


def unavailable(failure: PhotoFailure) -> PhotoUnavailable:
    """The answer for a photo that could not be read or decoded."""
    is_readable = failure.kind not in {FailureKind.GONE, FailureKind.UNREADABLE, FailureKind.UNREACHABLE}
    return PhotoUnavailable(422 if is_readable else 404, failure.kind, failure.text)


@contextmanager
def _object_errors() -> Iterator[None]:
    try:
        yield
    except PathNotFound:
        text = "The object no longer exists. If it was moved, tag the prefix it is in now."
        raise PhotoUnavailable(404, "gone", text) from None
    except BucketUnavailable as error:
        raise PhotoUnavailable(404, "unavailable", str(error)) from None
    except PhotoFailed as failed:
        raise unavailable(failed.failure) from None


def _open(photo: StoredPhoto) -> OpenFile:
    descriptor = open_photo(photo.path, photo.root)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(photo.path)
    file = open(descriptor, "rb", buffering=0)  # noqa: PTH123, SIM115
    return OpenFile(file, status.st_size, stored_time_ns(status))


def _is_as_scanned(photo: StoredPhoto, file: OpenFile) -> bool:
    if (file.size_bytes, file.mtime_ns) == (photo.size_bytes, photo.mtime_ns):
        return True  # also a link, if the scan recorded it
    try:
        real = photo.path.resolve(strict=True)
        same = os.path.samestat(real.stat(), os.fstat(file.file.fileno()))
        return same and real.is_relative_to(photo.root.resolve())
    except (OSError, RuntimeError):
        return False


# The entry that lists photos whose files are not there, or not complete.
MISSING = "missing.txt"
# What programs take for a folder or a drive when they extract, and what would start a line of
# `MISSING`.
_UNSAFE = re.compile(r"[\\:\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)
# The last time that an entry of a ZIP archive can have.
_LAST_TIME = (2107, 12, 31, 23, 59, 58)
# A time after the last one, in a year that `datetime` knows.
_LATER_S = 2**33


def archive_parts(photos: Iterable[StoredPhoto]) -> Iterator[bytes]:
    """Yield the archive of the photos' own files."""
    archive = Archive()
    for photo in photos:
        file: OpenFile | PhotoUnavailable
        try:
            file = open_stored(photo)
        except PhotoUnavailable as error:
            file = error
        yield from archive.add(photo.id, photo.path.name, file)
    yield archive.end()


class Archive:
    """A ZIP archive in parts, uncompressed. Of its files, only names and places are kept.

    Each file has its name; if that is taken, it is in a folder of the photo's number.
    """

    def __init__(self) -> None:
        self._sink = _Sink()
        self._zip = ZipFile(self._sink, "w", ZIP_STORED)
        self._used, self._missing = set[str](), list[str]()

    def add(self, photo_id: int, name: str, file: OpenFile | PhotoUnavailable) -> Iterator[bytes]:
        """Yield a photo's file, and close it.

        A file that there is not, or only in part, is listed in `MISSING`, and others can follow.
        """
        name = _UNSAFE.sub("_", name.encode(errors="replace").decode())
        if name.lower() in self._used:  # some systems ignore the case
            name = f"{photo_id}/{name}"
        self._used.add(name.lower())
        try:
            if isinstance(file, PhotoUnavailable):
                raise file
            with file.file:
                entry = ZipInfo(name, _entry_time(file.mtime_ns))
                yield from _file_parts(file, entry, self._zip, self._sink)
        except (PhotoUnavailable, _FileIncomplete) as error:
            self._missing.append(f"{name}: {error}\n")

    def end(self) -> bytes:
        """The last part, with the list of all files."""
        if self._missing:
            self._zip.writestr(MISSING, "".join(self._missing))
        self._zip.close()
        return self._sink.take()


class _FileIncomplete(Exception):
    """A file could not be read to its end; the text says why."""


def _file_parts(file: OpenFile, entry: ZipInfo, archive: ZipFile, sink: "_Sink") -> Iterator[bytes]:
    """Write a file as an entry, and yield what is written; no entry if not even its first block can be read.

    Raises:
        _FileIncomplete: the file could not be read, or ended before its size.
    """
    written_bytes, problem = 0, "The file became shorter while it was read."
    try:
        blocks = file.blocks()
        first = next(blocks, b"")
        with archive.open(entry, "w", force_zip64=True) as target:
            for block in chain([first], blocks):
                written_bytes += target.write(block)
                yield sink.take()
    except OSError as error:
        problem = os_error_text("The file", error)
    if written_bytes < file.size_bytes:
        raise _FileIncomplete(f"{problem} The archive has {written_bytes} of its {file.size_bytes} bytes.")


class _Sink:
    """A file that keeps what is written until it is taken. It cannot seek, so sizes follow each entry."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _entry_time(mtime_ns: int) -> tuple[int, int, int, int, int, int]:
    """The time in the time zone of this machine, or the nearest one that an entry can have."""
    time = datetime.fromtimestamp(min(max(mtime_ns // 10**9, 0), _LATER_S), UTC).astimezone()
    parts = (time.year, time.month, time.day, time.hour, time.minute, time.second)
    return min(max(parts, _FIRST_TIME), _LAST_TIME)


def archived_photos(
    database: Database, photo_ids: Iterable[int], root_paths: RootPaths
) -> Iterator[StoredPhoto]:
    """Yield the photos, each read from the database when its turn comes."""
    for photo_id in photo_ids:
        with suppress(PhotoIdNotFound):  # it was removed from the database
            yield stored_photo(database, photo_id, root_paths)
