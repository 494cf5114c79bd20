"""The folder of photos that people send. Each is written to a hidden file, and named once it is whole.

Names come from strangers: no part of one leads out of the folder or through a link, and no file is ever
replaced.
"""

import asyncio
import errno
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from tagger.errors import DISK_FULL_ERRNOS
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.temporary_files import TemporaryFile, create_locked, remove_leftovers, write_whole
from tagger.photos.containers import has_image
from tagger.photos.files import OpenFolder, flush_to_disk, open_folder
from tagger.photos.folders import PathFilter
from tagger.photos.formats import detect_format
from tagger.photos.names import is_photo_name
from tagger.texts.text_format import INVISIBLE, gettext, has_controls
from tagger.texts.text_format import size as size_text

MOST_FOLDERS = 8
# Of a part of a path: a number may follow.
MOST_NAME_BYTES = 200
SAME_NAMES = 1000
MEASURED_FOR_S = 60.0
# What a file or folder counts at least: disks give space in blocks.
LEAST_BYTES = 4096
# How much of a file is checked for an image.
_HEAD_BYTES = 2**20


@dataclass(frozen=True)
class ReceivedPhoto:
    """A photo in the folder. `is_new`: it was not there before."""

    path: str
    is_new: bool


class UploadFolder:
    """Puts photos into a folder while all in it takes at most `quota_bytes`. Created once per server."""

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self.folder = folder
        self._quota_bytes = quota_bytes
        self._taken_bytes: int | None = None
        self._measured_at_s = 0.0
        self._is_full = False
        self._arriving = 0
        self._measuring = asyncio.Lock()

    async def receive(self, path: str, parts: AsyncIterator[bytes]) -> ReceivedPhoto:
        """Store a photo below the folder, with a number if its name is taken; what is there only once.

        Raises:
            HTTPException: its name or content is none of a photo, scans leave its folder out, there is no
                space, or the folder is away.
        """
        names = _names_of(path)
        try:
            await run_in_threadpool(_require_scanned, self.folder, names)
            await self._measure()
            self._arriving += 1
            try:
                return await self._store(names, parts)
            finally:
                self._arriving -= 1
        except (OSError, WriteRefused, WriteFailed) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
                text = gettext(
                    "The disk is full, so the photo was not stored. Free some space, then send it again."
                )
                raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, text) from error
            text = gettext(
                "The photo cannot be stored. Check the folder for photos, and its disk, on the server."
            )
            raise HTTPException(HTTPStatus.CONFLICT, text) from error

    async def _measure(self) -> None:
        """Find out how much the files in the folder take, and remove what servers left that were killed.

        Each minute, since other processes store photos too, and after a refused photo before each, until
        somebody has moved files away.
        """
        async with self._measuring:
            is_old = self._is_full or time.monotonic() > self._measured_at_s + MEASURED_FOR_S
            if self._taken_bytes is None or (is_old and not self._arriving):
                await run_in_threadpool(remove_leftovers, self.folder)
                measured_bytes = await run_in_threadpool(_size_of, self.folder)
                self._is_full &= measured_bytes >= (self._taken_bytes or 0)
                self._taken_bytes = measured_bytes
                self._measured_at_s = time.monotonic()

    async def _store(self, names: Sequence[str], parts: AsyncIterator[bytes]) -> ReceivedPhoto:
        with await run_in_threadpool(open_folder, self.folder) as folder:
            temporary = await run_in_threadpool(create_locked, folder, uuid.uuid4().hex)
            try:
                return await self._write(temporary, names, parts)
            finally:
                temporary.remove()

    async def _write(
        self, temporary: TemporaryFile, names: Sequence[str], parts: AsyncIterator[bytes]
    ) -> ReceivedPhoto:
        size_bytes = taken_bytes = 0
        is_stored = False
        try:
            async for part in parts:
                size_bytes += len(part)
                more_bytes = max(size_bytes, LEAST_BYTES) - taken_bytes
                self._take(more_bytes)
                taken_bytes += more_bytes
                await run_in_threadpool(write_whole, temporary.descriptor, part)
            received, new_folders = await run_in_threadpool(_place, temporary, names, self.folder)
            is_stored = received.is_new
            self._taken_bytes = (self._taken_bytes or 0) + new_folders * LEAST_BYTES
            return received
        finally:
            if not is_stored:
                self._take(-taken_bytes)

    def _take(self, size_bytes: int) -> None:
        taken_bytes = (self._taken_bytes or 0) + size_bytes
        if size_bytes > 0 and taken_bytes > self._quota_bytes:
            self._is_full = True
            text = gettext(
                "The folder for photos is full: it may take %(quota)s. Its owner can allow more with "
                "TAGGER_WEB_UPLOAD_QUOTA_BYTES.",
                quota=size_text(self._quota_bytes),
            )
            raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, text)
        self._taken_bytes = taken_bytes


def _names_of(path: str) -> Sequence[str]:
    """The folders and the name in a path.

    Raises:
        HTTPException: it is no name of a photo below a folder.
    """
    names = PurePosixPath(path.replace("\\", "/")).parts
    is_plain = all(
        not has_controls(name)
        and not INVISIBLE.search(name)
        and not name.startswith((".", "/", "~"))
        and len(name.encode(errors="replace")) <= MOST_NAME_BYTES
        for name in names
    )
    if not names or len(names) > MOST_FOLDERS + 1 or not is_plain:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, _unusable_name())
    if not is_photo_name(names[-1]):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _no_photo())
    return names


def _unusable_name() -> str:
    return gettext("The name of the file cannot be used here. Rename it, then send it again.")


def _no_photo() -> str:
    return gettext("This file is no photo that can be read here, so it was not stored.")


def _require_scanned(root: Path, names: Sequence[str]) -> None:
    """Raises:
    HTTPException: scans do not enter a folder on the path, such as one with thumbnails of other programs.
    """
    closed = PathFilter(str(root), os.path.lexists).closed_folder("/".join(names[:-1]))
    if closed is not None:
        text = gettext(
            "Scans leave out the folder “%(name)s”, as it belongs to another program or has a file like "
            ".nomedia, so the photo was not stored. Rename the folder, then send it again.",
            name=closed,
        )
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)


def _require_image(descriptor: int) -> None:
    head = os.pread(descriptor, _HEAD_BYTES, 0)
    if detect_format(head) is None:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _no_photo())
    if not has_image(head, os.fstat(descriptor).st_size):
        text = gettext(
            "This file begins like a photo, but has no image in it, so it was not stored. Copy it again from "
            "where it came from."
        )
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text)


def _place(temporary: TemporaryFile, names: Sequence[str], root: Path) -> tuple[ReceivedPhoto, int]:
    """Give a whole photo its name. Returns how many folders were created, too."""
    _require_image(temporary.descriptor)
    os.fchmod(temporary.descriptor, 0o644)
    flush_to_disk(temporary.descriptor)
    path = root
    new_folders = 0
    for name in names[:-1]:
        with open_folder(path, root) as outer:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=outer.descriptor)
                new_folders += 1
            if not stat.S_ISDIR(os.stat(name, dir_fd=outer.descriptor, follow_symlinks=False).st_mode):
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, _unusable_name())
        path /= name
    with open_folder(path, root) as folder:
        name, is_new = _name_in(folder, names[-1], temporary)
        folder.flush()
    return ReceivedPhoto("/".join((*names[:-1], name)), is_new), new_folders


def _name_in(folder: OpenFolder, name: str, temporary: TemporaryFile) -> tuple[str, bool]:
    """Name the file as its sender does, with a number if another file has the name; or find it there."""
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    for number in range(1, SAME_NAMES):
        numbered = name if number == 1 else f"{stem}-{number}{extension}"
        try:
            _rename_to_new(temporary, folder, numbered)
        except FileExistsError:
            if _is_same(folder, numbered, temporary.descriptor):
                return numbered, False
            continue
        return numbered, True
    raise HTTPException(HTTPStatus.CONFLICT, _unusable_name())


def _rename_to_new(temporary: TemporaryFile, folder: OpenFolder, name: str) -> None:
    """Raises:
    FileExistsError: another file has the name.
    """
    start, end = temporary.folder.descriptor, folder.descriptor
    try:
        os.link(temporary.name, name, src_dir_fd=start, dst_dir_fd=end, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        try:
            os.replace(temporary.name, name, src_dir_fd=start, dst_dir_fd=end)
        except OSError:
            folder.unlink(name)
            raise


# What disks without links answer, such as FAT: a server killed at this moment leaves an empty file
# there.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def _is_same(folder: OpenFolder, name: str, descriptor: int) -> bool:
    try:
        other = folder.open(name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # a link, or unreadable
        return False
    try:
        status = os.fstat(other)
        if not stat.S_ISREG(status.st_mode) or status.st_size != os.fstat(descriptor).st_size:
            return False
        step = 2**20
        return all(
            os.pread(other, step, at) == os.pread(descriptor, step, at)
            for at in range(0, status.st_size, step)
        )
    finally:
        os.close(other)


def _size_of(folder: Path) -> int:
    """What all files and folders below a folder take; links count as such."""
    taken_bytes = 0
    for where, folders, names in os.walk(folder):
        taken_bytes += len(folders) * LEAST_BYTES
        for name in names:
            with suppress(FileNotFoundError):  # somebody moves files away
                status = os.lstat(os.path.join(where, name))  # noqa: PTH118 - names may not be text
                taken_bytes += max(status.st_size, LEAST_BYTES)
    return taken_bytes
