"""A photo on its way into memory: on disk while it comes, and in memory only while there is room for it."""

import asyncio
import errno
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

IN_MEMORY_BYTES = 2**20
"""A smaller photo never touches the disk."""
UNNAMED = "-"
LONGEST_NAME = 255
FULL = (
    "The disk of this server's temporary folder is full, so the photo cannot be taken. Free some of it, or start "
    "`tagger serve` again with TMPDIR naming a folder on another disk; then send the photo again."
)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True)
class Uploaded:
    """A photo as it came; its name is what the sender called it, and means nothing."""

    name: str
    data: bytes


class UploadRoom:
    """Memory for photos that are being looked at; who comes when there is none waits."""

    def __init__(self, size_bytes: int) -> None:
        self._free = size_bytes
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, size_bytes: int) -> AsyncIterator[None]:
        """So many bytes of it, meanwhile; never more than there are in all."""
        while self._free < size_bytes:
            self._freed.clear()
            await self._freed.wait()
        self._free -= size_bytes
        try:
            yield
        finally:
            self._free += size_bytes
            self._freed.set()


@asynccontextmanager
async def uploaded_photo(request: Request, room: UploadRoom, max_bytes: int) -> AsyncIterator[Uploaded]:
    """The photo of a request, in memory meanwhile: the first file of a form, or else the body.

    Raises:
        HTTPException: there is none, it is too large, or the disk is full.
    """
    try:
        async with _spooled(request, room, max_bytes) as photo:
            yield photo
    except OSError as error:  # around all of it: closing a file writes what is left of it
        if error.errno not in _NO_ROOM:
            raise
        raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, FULL) from error


@asynccontextmanager
async def _spooled(request: Request, room: UploadRoom, max_bytes: int) -> AsyncIterator[Uploaded]:
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
            if file is None:
                text = "The form holds no file. Send the photo as a file, or as the body of the request."
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
            async with _in_memory(file.file, file.size or 0, room, max_bytes) as data:
                yield Uploaded(_name(file.filename), data)
        return
    with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
        async for part in request.stream():
            spool.write(part)
        size_bytes = spool.tell()
        spool.seek(0)
        async with _in_memory(spool, size_bytes, room, max_bytes) as data:
            yield Uploaded(UNNAMED, data)


@asynccontextmanager
async def _in_memory(
    file: BinaryIO | SpooledTemporaryFile[bytes], size_bytes: int, room: UploadRoom, max_bytes: int
) -> AsyncIterator[bytes]:
    if size_bytes > max_bytes:
        text = (
            f"The photo has {size_bytes} bytes, more than the {max_bytes} this takes. Save it smaller, or allow more "
            "with TAGGER_WEB_UPLOAD_BYTES."
        )
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    async with room.taken(size_bytes):
        yield await run_in_threadpool(file.read)


def _name(given: str | None) -> str:
    """The last part of what the sender called it; some send a whole path."""
    return re.split(r"[/\\]", given or "")[-1][:LONGEST_NAME] or UNNAMED
