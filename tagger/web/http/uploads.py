"""Limits of requests in time and size, and uploads within them."""

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send

from tagger.errors import DISK_FULL_ERRNOS
from tagger.texts.text_format import N_, gettext, reader_language

SMALL_BYTES = 2**20
"""The limit of a body that is no upload: JSON, and forms."""
OPEN_BYTES = 8 * 2**10
"""The limit of a body that needs no authentication: the form to sign in."""

MIN_OPEN_FILES = 4096
"""The open-file limit that is requested from the system if its own is lower."""


@dataclass(frozen=True)
class ClientLimits:
    """Numbers of connections, and how long a client may take for its part of an exchange."""

    connections: int = 512
    connections_per_client: int = 128
    """Of one address, which may be a household or an office. A trusted proxy has no such limit."""
    refused_connections: int = 16
    """Connections beyond the others whose requests are answered with 503."""
    head_s: float = 10.0
    """For a request's head, from when the connection was made or from the first byte."""
    keep_alive_s: int = 5
    """Between two requests of a connection."""
    open_body_s: float = 5.0
    """For a body that needs no authentication."""
    body_s: float = 60.0
    """For any other body that is no upload."""
    upload_s: float = 900.0
    """For an uploaded photo."""
    upload_pause_s: float = 30.0
    """How long an upload may pause; a low rate uses this time up more slowly."""
    upload_bytes_per_s: float = 1024.0
    """The least average rate of an upload."""
    write_s: float = 30.0
    """For each 64 KiB of a response. A slow client may take any time for all of them."""
    spooled_uploads: int = 8
    """Uploads of the largest size for which there is space in the temporary folder; of smaller ones more."""


def raise_file_limit() -> None:
    """Raise the open-file limit if it is low."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    minimum = MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MIN_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < minimum:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (minimum, hard))


FRAMING_BYTES = 64 * 2**10
"""What multipart adds to a photo."""
CLOSE_CONNECTION = {"connection": "close"}
"""The rest of a body that was not read must not be taken for the next request."""


@dataclass(frozen=True)
class BodyLimit:
    """The limits of a body: bytes, time and, for uploads, the longest pause and the lowest average rate."""

    size_bytes: int
    total_s: float
    pause_s: float = float("inf")
    bytes_per_s: float = float("inf")


def limit_body(receive: Receive, limit: BodyLimit) -> Receive:
    """Return a `receive` that raises `HTTPException` at the limit. Only waiting for the client counts."""
    clock = asyncio.get_running_loop().time
    received_bytes, waited_s, is_complete = 0, 0.0, False
    credit_s = limit.pause_s  # each byte adds to it; waiting uses it up

    async def receive_within_limits() -> Message:
        nonlocal received_bytes, waited_s, credit_s, is_complete
        if is_complete:  # the next message is the disconnect, which may take hours
            return await receive()
        start_s = clock()
        try:
            async with asyncio.timeout(min(credit_s, limit.total_s - waited_s)):
                message = await receive()
        except TimeoutError:
            rate = (
                "" if limit.bytes_per_s == float("inf") else f", or slower than {limit.bytes_per_s:g} bytes/s"
            )
            text = f"The request did not arrive within {limit.total_s:g} s{rate}. Check the connection and "
            "send it again."
            if reader_language() is not None:
                text = gettext("The upload took too long. Check the connection and send it again.")
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, text, CLOSE_CONNECTION) from None
        size_bytes = len(message.get("body", b""))
        waited_s += clock() - start_s
        credit_s = min(credit_s - (clock() - start_s) + size_bytes / limit.bytes_per_s, limit.pause_s)
        received_bytes += size_bytes
        is_complete = not message.get("more_body", False)
        if received_bytes > limit.size_bytes:
            text = too_large_text(limit.size_bytes)
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, CLOSE_CONNECTION)
        return message

    return receive_within_limits


DRAINED_S = 2.0
DRAINED_BYTES = 64 * 2**20


def drain_before_end(receive: Receive, send: Send) -> Send:
    """Return a `send` that reads a body, within limits, after the response and before its end is sent.

    The connection closes then. If data had arrived that nobody read, the client would get a reset, which
    discards the response.
    """

    async def drain() -> None:
        left_bytes = DRAINED_BYTES
        while left_bytes > 0 and (message := await receive()).get("more_body", False):
            left_bytes -= len(message["body"])

    async def send_and_drain(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            await send({**message, "more_body": True})
            with suppress(TimeoutError):
                await asyncio.wait_for(drain(), DRAINED_S)
            message = {"type": "http.response.body"}
        await send(message)

    return send_and_drain


def too_large_text(limit_bytes: int) -> str:
    texts = (
        N_("The request is larger than the %(limit)s bytes allowed here. Send less."),
        N_(
            "The request is larger than the %(limit)s bytes allowed here. Send less; TAGGER_WEB_UPLOAD_BYTES "
            "allows larger photos."
        ),
    )
    return gettext(texts[limit_bytes >= SMALL_BYTES], limit=limit_bytes)


SPOOL_BYTES = 2**20
"""Smaller photos are not written to disk."""
UNNAMED = "-"
MAX_NAME_LENGTH = 255
DISK_FULL = N_(
    "The disk of this server's temporary folder is full, so the photo was not accepted. Free some space, or "
    "restart "
    "`tagger serve` with TMPDIR set to a folder on another disk; then send the photo again."
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
    headers = {"Retry-After": str(RETRY_AFTER_S), **CLOSE_CONNECTION}
    text = gettext(
        "Other photos are being uploaded at this moment, and there is no space for one more. Send the photo "
        "again."
    )
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, headers)


def _base_name(name: str | None) -> str:
    """Return the last part of a name, since some clients send a whole path."""
    return re.split(r"[/\\]", name or "")[-1][:MAX_NAME_LENGTH] or UNNAMED
