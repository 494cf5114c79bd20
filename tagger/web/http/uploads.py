"""Uploaded photos: spooled to disk while they arrive, in memory only while they are classified."""

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from tagger.errors import DISK_FULL_ERRNOS
from tagger.web.http.limits import CLOSE_CONNECTION

SPOOL_BYTES = 2**20
"""Smaller photos are not written to disk."""
UNNAMED = "-"
MAX_NAME_LENGTH = 255
DISK_FULL = (
    "The disk of this server's temporary folder is full, so the photo was not accepted. Free some space, or restart "
    "`tagger serve` with TMPDIR set to a folder on another disk; then send the photo again."
)
NO_SPACE = "Other photos are being uploaded at this moment, and there is no space for one more. Send the photo again."
RETRY_AFTER_S = 10
_NO_SPACE_ERRNOS = DISK_FULL_ERRNOS | {errno.EFBIG}


@dataclass(frozen=True)
class UploadedPhoto:
    """The bytes of a photo; `name` is what the sender calls it."""

    name: str
    data: bytes


class UploadMemory:
    """Memory for photos that are being classified. Uploads wait while there is not enough."""

    def __init__(self, size_bytes: int) -> None:
        self._free_bytes = size_bytes
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, size_bytes: int) -> AsyncIterator[None]:
        """Reserve memory within the context; `size_bytes` must not exceed the whole."""
        while self._free_bytes < size_bytes:
            self._freed.clear()
            await self._freed.wait()
        self._free_bytes -= size_bytes
        try:
            yield
        finally:
            self._free_bytes += size_bytes
            self._freed.set()


class UploadSpace:
    """Space for photos that are arriving or waiting for memory. Uploads are refused while there is not enough."""

    def __init__(self, size_bytes: int) -> None:
        self._free_bytes = size_bytes

    @contextmanager
    def limit(self, request: Request) -> Iterator[Request]:
        """Yield the request with a body that takes space as it arrives; the space is free again after the context.

        A declared length takes none: a client that sends nothing must not keep others out.

        Raises:
            HTTPException: the body does not fit, now or, when it is read, as it arrives.
        """
        if int(request.headers.get("content-length", 0)) > self._free_bytes:
            raise _no_space()
        taken_bytes = 0

        async def receive() -> Message:
            nonlocal taken_bytes
            message = await request.receive()
            size_bytes = len(message.get("body", b""))
            if size_bytes > self._free_bytes:
                raise _no_space()
            self._free_bytes -= size_bytes
            taken_bytes += size_bytes
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._free_bytes += taken_bytes


@asynccontextmanager
async def read_upload(
    request: Request, memory: UploadMemory, space: UploadSpace, max_bytes: int
) -> AsyncIterator[UploadedPhoto]:
    """Yield the photo of a request: the first file of a form, or the body.

    Raises:
        HTTPException: there is no photo, it is too large, too many others are arriving, or the disk is full.
    """
    try:
        with space.limit(request) as limited:
            async with _spool(limited, memory, max_bytes) as photo:
                yield photo
    except OSError as error:  # closing a file writes too, so this encloses everything
        if error.errno not in _NO_SPACE_ERRNOS:
            raise
        raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, DISK_FULL) from error


@asynccontextmanager
async def _spool(request: Request, memory: UploadMemory, max_bytes: int) -> AsyncIterator[UploadedPhoto]:
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
            if file is None:
                text = "The form has no file. Send the photo as a file, or as the body of the request."
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
            async with _read(file.file, file.size or 0, memory, max_bytes) as data:
                yield UploadedPhoto(_base_name(file.filename), data)
        return
    with SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
        async for part in request.stream():
            spool.write(part)
        size_bytes = spool.tell()
        spool.seek(0)
        async with _read(spool, size_bytes, memory, max_bytes) as data:
            yield UploadedPhoto(UNNAMED, data)


@asynccontextmanager
async def _read(
    file: BinaryIO | SpooledTemporaryFile[bytes], size_bytes: int, memory: UploadMemory, max_bytes: int
) -> AsyncIterator[bytes]:
    if size_bytes > max_bytes:
        text = (
            f"The photo has {size_bytes} bytes, more than the {max_bytes} allowed here. Make it smaller, or allow larger "
            "photos with TAGGER_WEB_UPLOAD_BYTES."
        )
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    async with memory.reserve(size_bytes):
        yield await run_in_threadpool(file.read)


def _no_space() -> HTTPException:
    headers = {"Retry-After": str(RETRY_AFTER_S), **CLOSE_CONNECTION}
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, NO_SPACE, headers)


def _base_name(name: str | None) -> str:
    """Return the last part of a name, since some clients send a whole path."""
    return re.split(r"[/\\]", name or "")[-1][:MAX_NAME_LENGTH] or UNNAMED
