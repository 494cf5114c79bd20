"""Opening a stored photo's file for display. The path comes from the database, never from a request."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tagger.photos.files import os_error_text, stored_time_ns
from tagger.photos.folders import open_photo
from tagger.photos.mounts import MountState, check_mount
from tagger.query.stored_photos import StoredPhoto

BLOCK_BYTES = 2**18


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
