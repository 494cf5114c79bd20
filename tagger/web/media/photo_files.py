"""Opening a stored photo's file or object for display. The path comes from the database, never from a request."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from tagger.errors import BucketUnavailable, FailureKind, PathNotFound, PhotoFailed, PhotoFailure
from tagger.library.query.stored_photos import StoredPhoto
from tagger.photos.files import PhotoVersion, os_error_text, stored_time_ns
from tagger.photos.folders import MountState, check_mount, open_photo
from tagger.photos.objects import ObjectSource, find_object
from tagger.photos.paths import ObjectPath

BLOCK_BYTES = 2**18
MOST_OBJECT_BYTES = 64 * 2**20
"""An object is read into memory; larger ones are not displayed."""


class PhotoUnavailable(Exception):
    """The photo cannot be displayed now: the HTTP status, a kind, and a text that says what to do."""

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

    A link that has replaced a folder is not followed. One that leads out of the root is followed only as by `open_photo`, to
    the very file that was scanned.

    Raises:
        PhotoUnavailable: the root is not mounted, or the file is gone, unreadable or another one.
    """
    if isinstance(photo.path, ObjectPath):
        return _open_object(photo.path)
    if check_mount(photo.root) is not MountState.FILLED:
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


def _open_object(path: ObjectPath) -> OpenFile:
    with _object_errors():
        photo = ObjectSource(path.parent, patient=False).read(path.name, max_bytes=MOST_OBJECT_BYTES)
    return OpenFile(BytesIO(photo.data), photo.size_bytes, photo.mtime_ns)


def unavailable(failure: PhotoFailure) -> PhotoUnavailable:
    """The answer for a photo that could not be read or decoded."""
    is_readable = failure.kind not in {FailureKind.GONE, FailureKind.UNREADABLE}
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
    return OpenFile(open(descriptor, "rb", buffering=0), status.st_size, stored_time_ns(status))  # noqa: PTH123 - it is open already


def _is_as_scanned(photo: StoredPhoto, file: OpenFile) -> bool:
    if (file.size_bytes, file.mtime_ns) == (photo.size_bytes, photo.mtime_ns):
        return True  # also a link, if the scan recorded it
    try:
        real = photo.path.resolve(strict=True)
        same = os.path.samestat(real.stat(), os.fstat(file.file.fileno()))
        return same and real.is_relative_to(photo.root.resolve())
    except (OSError, RuntimeError):
        return False
