"""A photo's own file, opened for showing: found through its number and its root, never through a path that somebody sends.

A root that is away and a file that is gone are answers, not errors of the program.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import select

from tagger.database import Database
from tagger.errors import PhotoNumberNotKnown
from tagger.mounts import Mount, look_into
from tagger.photos.reading import os_text, stored_time_ns
from tagger.roots import Places, list_roots
from tagger.tables import contents, photos

BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class StoredPhoto:
    """Where a photo is, and what the database knows of its file. `digest`: of its picture, where a model has looked."""

    id: int
    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    digest: str | None


class NotShown(Exception):
    """A photo that cannot be shown now: why, and what a person can do."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.text = text


@dataclass(frozen=True)
class OpenFile:
    """An open file and its size and time; whoever has it closes it."""

    file: BinaryIO
    size_bytes: int
    mtime_ns: int

    def blocks(self) -> Iterator[bytes]:
        """As many bytes as it had when it was opened; it is closed then."""
        left = self.size_bytes
        with self.file as file:
            while block := file.read(min(BLOCK_BYTES, left)):
                left -= len(block)
                yield block


def stored_photo(database: Database, photo_id: int, places: Places) -> StoredPhoto:
    """Raises:
    PhotoNumberNotKnown: there is none with that number.
    """
    with database.read() as connection:
        row = connection.execute(
            select(photos, contents.c.digest)
            .select_from(photos.outerjoin(contents, contents.c.id == photos.c.content_id))
            .where(photos.c.id == photo_id)
        ).one_or_none()
        if row is None:
            raise PhotoNumberNotKnown(photo=photo_id)
        root = next(root for root in list_roots(connection, places) if root.id == row.root_id)
    return StoredPhoto(
        id=row.id,
        root=root.folder,
        path=root.path_of(row.path, row.path_bytes),
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        digest=row.digest,
    )


def open_stored(photo: StoredPhoto) -> OpenFile:
    """Open a photo's file as the scan found it.

    What lies outside the photo's root (its place was taken by a link) is shown only while it is the very file that was scanned.

    Raises:
        NotShown: the root is away, the file is gone, cannot be read, or is none that was scanned.
    """
    if look_into(photo.root) is not Mount.FILLED:
        text = f"The folder {photo.root} is away. Mount the disk or share it is on, then look again."
        raise NotShown(404, "away", text)
    try:
        file = _opened(photo.path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotShown(
            404, "gone", "There is no such file any more. If it was moved, tag the folder it is in now."
        ) from None
    except (OSError, ValueError) as error:
        text = os_text("The file", error) if isinstance(error, OSError) else "The file has no usable name."
        raise NotShown(404, "unreadable", text) from None
    if not _is_as_scanned(photo, file):
        file.file.close()
        raise NotShown(
            404, "unreadable", "In its place is a link to a file that nobody tagged. Tag it again."
        )
    return file


def _opened(path: Path) -> OpenFile:
    # A pipe must not hold up the server until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    known = os.fstat(descriptor)
    if not stat.S_ISREG(known.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return OpenFile(open(descriptor, "rb", buffering=0), known.st_size, stored_time_ns(known))  # noqa: PTH123 - it is open already


def _is_as_scanned(photo: StoredPhoto, file: OpenFile) -> bool:
    if (file.size_bytes, file.mtime_ns) == (photo.size_bytes, photo.mtime_ns):
        return True  # a link too, if the scan recorded one
    try:
        real = photo.path.resolve(strict=True)
        same = os.path.samestat(real.stat(), os.fstat(file.file.fileno()))
        return same and real.is_relative_to(photo.root.resolve())
    except (OSError, RuntimeError):
        return False
