"""Limits of the size of requests, and uploads within them."""

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
from starlette.types import Message, Receive

from tagger.errors import DISK_FULL_ERRNOS
from tagger.texts.text_format import N_, gettext

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
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large_text(most_bytes))
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
    """The bytes of a file; `name` is what the sender calls it."""

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
    async def read(self, request: Request, max_bytes: int) -> AsyncIterator[UploadedFile]:
        """Yield the file of a request: that of a form, or the body. `max_bytes` must not exceed the memory.

        Raises:
            HTTPException: there is no file, one is too large, too many others are arriving, or the disk is
            full.
        """
        try:
            with self._in_space(request) as limited:
                async with self._spool(limited, max_bytes) as file:
                    yield file
        except OSError as error:  # closing a file writes too, so this encloses everything
            if error.errno not in _NO_SPACE_ERRNOS:
                raise
            raise HTTPException(HTTPStatus.INSUFFICIENT_STORAGE, gettext(DISK_FULL)) from error

    @contextmanager
    def _in_space(self, request: Request) -> Iterator[Request]:
        """Yield the request. Its body reserves disk space as it arrives, which is released after the context.

        A declared length reserves nothing: a client that sends nothing must not keep others out.

        Raises:
            HTTPException: the body does not fit, either now or while it arrives.
        """
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
    async def _spool(self, request: Request, max_bytes: int) -> AsyncIterator[UploadedFile]:
        if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            async with request.form(max_files=1, max_fields=8) as form:
                sent = next((value for value in form.values() if isinstance(value, UploadFile)), None)
                if sent is None:
                    text = "The form has no file. Send the file in it, or as the body of the request."
                    raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
                async with self._in_memory(sent.filename, sent.file, sent.size or 0, max_bytes) as read:
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
        """Yield the file once there is memory for it, which is released after the context."""
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
            yield UploadedFile(_base_name(name), await run_in_threadpool(file.read))
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


def _base_name(name: str | None) -> str:
    """Return the last part of a name, since some clients send a whole path."""
    return re.split(r"[/\\]", name or "")[-1][:MAX_NAME_LENGTH] or UNNAMED
