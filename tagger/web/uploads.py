"""Uploads within their limits, and the folder of photos that people send.

Each photo is written to a hidden file, and named once it is whole. Names come from strangers: no part of one
leads out of the folder or through a link, and no file is ever replaced.
"""

import asyncio
import errno
import os
import re
import stat
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from tagger.errors import DISK_FULL_ERRNOS
from tagger.metadata import WriteFailed, WriteRefused
from tagger.metadata.photo_files import (
    TemporaryFile,
    create_locked,
    remove_leftovers,
    write_whole,
)
from tagger.metadata.stated_facts import stated_in_takeout, stated_in_xmp
from tagger.photos.files import OpenFolder, flush_to_disk, open_folder
from tagger.photos.folders import PathFilter
from tagger.photos.formats import detect_format, has_image
from tagger.photos.names import SIDECAR_EXTENSION, is_photo_name
from tagger.photos.side_files import SIDECAR_MAX_BYTES, is_side_file_name, side_files_of
from tagger.texts.text_format import (
    INVISIBLE,
    N_,
    gettext,
    has_controls,
    size as size_text,
)

# The limit of a body that is no upload: JSON, and forms.
SMALL_BYTES = 2**20
# What multipart adds to a photo.
FRAMING_BYTES = 64 * 2**10


def limit_body(receive: Receive, most_bytes: int) -> Receive:
    """Return a `receive` that raises `HTTPException` at the limit: some bodies have no length."""
    received_bytes = 0

    async def receive_within_limit() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > most_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large_text(most_bytes)
            )
        return message

    return receive_within_limit


def too_large_text(limit_bytes: int) -> str:
    texts = (
        N_("The request is larger than the %(limit)s bytes allowed here. Send less."),
        N_(
            "The request is larger than the %(limit)s bytes allowed here. Send less; TAGGER_WEB_UPLOAD_BYTES "
            "allows larger photos."
        ),
    )
    return gettext(texts[limit_bytes >= SMALL_BYTES], limit=limit_bytes)


# Smaller photos are not written to disk.
SPOOL_BYTES = 2**20
UNNAMED = "-"
MAX_NAME_LENGTH = 255
DISK_FULL = N_(
    "The disk of this server's temporary folder is full, so the photo was not accepted. Free some space, or "
    "restart `tagger serve` with TMPDIR set to a folder on another disk; then send the photo again."
)
RETRY_AFTER_S = 10
_NO_SPACE_ERRNOS = DISK_FULL_ERRNOS | {errno.EFBIG}


@dataclass(frozen=True)
class UploadedFile:
    name: str
    data: bytes


class UploadReader:
    """Reads uploads. They take space as they arrive, and memory while they are processed.

    Uploads are refused while there is not enough space, and wait while there is not enough memory.
    """

    def __init__(self, memory_bytes: int, space_bytes: int) -> None:
        self._free_memory_bytes = memory_bytes
        self._memory_freed = asyncio.Event()
        self._free_space_bytes = space_bytes

    @asynccontextmanager
    async def read(
        self, request: Request, max_bytes: int
    ) -> AsyncIterator[UploadedFile]:
        """Yield the file of a request: that of a form, or the body. `max_bytes` must not exceed the memory.

        Raises:
            HTTPException: there is no file, one is too large, too many others are arriving, or the disk is
            full.
        """
        try:
            with self._in_space(request) as limited:
                async with self._spool(limited, max_bytes) as file:
                    yield file
        except (
            OSError
        ) as error:  # closing a file writes too, so this encloses everything
            if error.errno not in _NO_SPACE_ERRNOS:
                raise
            raise HTTPException(
                HTTPStatus.INSUFFICIENT_STORAGE, gettext(DISK_FULL)
            ) from error

    @contextmanager
    def _in_space(self, request: Request) -> Iterator[Request]:
        # Yield the request. Its body reserves disk space as it arrives, which is released after the context.
        #
        # A declared length reserves nothing: a client that sends nothing must not keep others out.
        #
        # Raises HTTPException: the body does not fit, either now or while it arrives.
        if int(request.headers.get("content-length", 0)) > self._free_space_bytes:
            raise _no_space()
        taken_bytes = 0

        async def receive() -> Message:
            nonlocal taken_bytes
            message = await request.receive()
            size_bytes = len(message.get("body", b""))
            if size_bytes > self._free_space_bytes:
                raise _no_space()
            self._free_space_bytes -= size_bytes
            taken_bytes += size_bytes
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._free_space_bytes += taken_bytes

    @asynccontextmanager
    async def _spool(
        self, request: Request, max_bytes: int
    ) -> AsyncIterator[UploadedFile]:
        if (
            request.headers.get("content-type", "")
            .lower()
            .startswith("multipart/form-data")
        ):
            async with request.form(max_files=1, max_fields=8) as form:
                files = [
                    value for value in form.values() if isinstance(value, UploadFile)
                ]
                if not files:
                    text = "The form has no file. Send the file in it, or as the body of the request."
                    raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
                (sent,) = files  # the limit of a form
                size_bytes = sent.size or 0
                async with self._in_memory(
                    sent.filename, sent.file, size_bytes, max_bytes
                ) as read:
                    yield read
            return
        with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            async for part in request.stream():
                spool.write(part)
            size_bytes = spool.tell()
            spool.seek(0)
            async with self._in_memory(UNNAMED, spool, size_bytes, max_bytes) as read:
                yield read

    @asynccontextmanager
    async def _in_memory(
        self,
        name: str | None,
        file: BinaryIO | SpooledTemporaryFile[bytes],
        size_bytes: int,
        max_bytes: int,
    ) -> AsyncIterator[UploadedFile]:
        if size_bytes > max_bytes:
            text = gettext(
                "The upload has %(size)s bytes, more than the %(limit)s allowed here. Make it smaller, or "
                "allow larger "
                "ones with TAGGER_WEB_UPLOAD_BYTES.",
                size=size_bytes,
                limit=max_bytes,
            )
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
        while self._free_memory_bytes < size_bytes:
            self._memory_freed.clear()
            await self._memory_freed.wait()
        self._free_memory_bytes -= size_bytes
        try:
            # Some clients send a whole path.
            base_name = re.split(r"[/\\]", name or "")[-1][:MAX_NAME_LENGTH] or UNNAMED
            yield UploadedFile(base_name, await run_in_threadpool(file.read))
        finally:
            self._free_memory_bytes += size_bytes
            self._memory_freed.set()


def _no_space() -> HTTPException:
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    text = gettext(
        "Other photos are being uploaded at this moment, and there is no space for one more. Send the photo "
        "again."
    )
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, headers)


MOST_FOLDERS = 8
# Of a part of a path: a number may follow.
MOST_NAME_BYTES = 200
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
        # Find out how much the files in the folder take, and remove what servers left that were killed.
        #
        # Each minute, since other processes store photos too, and after a refused photo before each, until
        # somebody has moved files away.
        async with self._measuring:
            is_old = (
                self._is_full or time.monotonic() > self._measured_at_s + MEASURED_FOR_S
            )
            if self._taken_bytes is None or (is_old and not self._arriving):
                await run_in_threadpool(remove_leftovers, self.folder)
                measured_bytes = await run_in_threadpool(_size_of, self.folder)
                self._is_full &= measured_bytes >= (self._taken_bytes or 0)
                self._taken_bytes = measured_bytes
                self._measured_at_s = time.monotonic()

    async def _store(
        self, names: Sequence[str], parts: AsyncIterator[bytes]
    ) -> ReceivedPhoto:
        with await run_in_threadpool(open_folder, self.folder) as folder:
            temporary = await run_in_threadpool(create_locked, folder, uuid.uuid4().hex)
            try:
                return await self._write(temporary, names, parts)
            finally:
                temporary.remove()

    async def _write(
        self,
        temporary: TemporaryFile,
        names: Sequence[str],
        parts: AsyncIterator[bytes],
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
            received, new_folders = await run_in_threadpool(
                _place, temporary, names, self.folder
            )
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
    # The folders and the name in a path.
    #
    # Raises HTTPException: it is no name of a photo below a folder.
    names = PurePosixPath(path.replace("\\", "/")).parts
    is_plain = all(
        not has_controls(name)
        and not INVISIBLE.search(name)
        and not name.startswith((".", "/", "~"))
        and len(name.encode(errors="replace")) <= MOST_NAME_BYTES
        for name in names
    )
    if not names or len(names) > MOST_FOLDERS + 1 or not is_plain:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, _unusable_name(names))
    if not (is_photo_name(names[-1]) or is_side_file_name(names[-1])):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _no_photo())
    return names


def _unusable_name(names: Sequence[str] = ()) -> str:
    # The text for a name of a file or folder: which letter is at fault, if one is.
    letters = [letter for name in names for letter in name if _is_hidden(letter)]
    letters += [name[0] for name in names if name.startswith((".", "/", "~"))]
    if not letters:
        return gettext(
            "The name of the file cannot be used here. Rename it, then send it again."
        )
    letter = f"U+{ord(letters[0]):04X}" if _is_hidden(letters[0]) else letters[0]
    return gettext(
        "The letter “%(letter)s” cannot be used here in the name of a file or folder. Rename it, then send "
        "it again.",
        letter=letter,
    )


def _is_hidden(letter: str) -> bool:
    return has_controls(letter) or INVISIBLE.search(letter) is not None


def _no_photo() -> str:
    return gettext("This file is no photo that can be read here, so it was not stored.")


def _require_scanned(root: Path, names: Sequence[str]) -> None:
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


def _require_photo_of(folder: OpenFolder, name: str, data: bytes) -> None:
    # Raises HTTPException: a side file is broken, or belongs to no photo in the folder.
    is_sidecar = name.lower().endswith(SIDECAR_EXTENSION)
    stated = (
        stated_in_xmp(data, is_sidecar=True) if is_sidecar else stated_in_takeout(data)
    )
    photos = list(filter(is_photo_name, folder.file_names()))
    if stated.is_broken or not side_files_of(photos, [name], lambda _: data):
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _no_photo_of_side_file())


def _no_photo_of_side_file() -> str:
    return gettext(
        "This file belongs to no photo that was sent, or the photo has another one, so it was not stored."
    )


def _place(
    temporary: TemporaryFile, names: Sequence[str], root: Path
) -> tuple[ReceivedPhoto, int]:
    # Give a whole photo or side file its name. Returns how many folders were created, too.
    is_side_file = is_side_file_name(names[-1])
    if not is_side_file:
        _require_image(temporary.descriptor)
    elif not root.joinpath(*names[:-1]).is_dir():
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _no_photo_of_side_file())
    os.fchmod(temporary.descriptor, 0o644)
    flush_to_disk(temporary.descriptor)
    path = root
    new_folders = 0
    for name in names[:-1]:
        with open_folder(path, root) as outer:
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=outer.descriptor)
                new_folders += 1
            if not stat.S_ISDIR(
                os.stat(name, dir_fd=outer.descriptor, follow_symlinks=False).st_mode
            ):
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, _unusable_name())
        path /= name
    with open_folder(path, root) as folder:
        if is_side_file:
            data = os.pread(temporary.descriptor, SIDECAR_MAX_BYTES, 0)
            _require_photo_of(folder, names[-1], data)
        name, is_new = _name_in(folder, names[-1], temporary)
        folder.flush()
    return ReceivedPhoto("/".join((*names[:-1], name)), is_new), new_folders


def _name_in(
    folder: OpenFolder, name: str, temporary: TemporaryFile
) -> tuple[str, bool]:
    # Name the file as its sender does, with a number if another file has the name; or find it there.
    #
    # Any number of files may have the name: some phones send each photo as `image.jpg`. Side files are named
    # as their photos.
    #
    # Raises HTTPException: there is another side file of the name.
    stem, extension = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    numbered, number = name, 1
    while True:
        try:
            _rename_to_new(temporary, folder, numbered)
        except FileExistsError:
            if _is_same(folder, numbered, temporary.descriptor):
                return numbered, False
            if is_side_file_name(name):
                raise HTTPException(
                    HTTPStatus.CONFLICT, _no_photo_of_side_file()
                ) from None
        else:
            return numbered, True
        number += 1
        numbered = f"{stem}-{number}{extension}"


def _rename_to_new(temporary: TemporaryFile, folder: OpenFolder, name: str) -> None:
    # Raises FileExistsError: another file has the name.
    start, end = temporary.folder.descriptor, folder.descriptor
    try:
        os.link(
            temporary.name,
            name,
            src_dir_fd=start,
            dst_dir_fd=end,
            follow_symlinks=False,
        )
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
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_size != os.fstat(descriptor).st_size
        ):
            return False
        step = 2**20
        return all(
            os.pread(other, step, at) == os.pread(descriptor, step, at)
            for at in range(0, status.st_size, step)
        )
    finally:
        os.close(other)


def _size_of(folder: Path) -> int:
    # What all files and folders below a folder take; links count as such.
    taken_bytes = 0
    for where, folders, names in os.walk(folder):
        taken_bytes += len(folders) * LEAST_BYTES
        for name in names:
            with suppress(FileNotFoundError):  # somebody moves files away
                status = os.lstat(os.path.join(where, name))  # noqa: PTH118 - names may not be text
                taken_bytes += max(status.st_size, LEAST_BYTES)
    return taken_bytes
