"""Limits of what clients may hold: connections, time, temporary files, and request bodies by size, time and rate.

A server has one `ClientLimits`; tests use small ones. A body is cut off before anything is done with it.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

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
    """Of one address, which may be a household or an office: a browser opens six. A trusted proxy has no such limit."""
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


def fit_to_open_files(limits: ClientLimits) -> ClientLimits:
    """Return limits with as many connections as the open-file limit allows. Half of the files are for photos, the database and libraries."""
    files = _raise_file_limit()
    if files is None or files // 2 >= limits.connections:
        return limits
    connections = files // 2
    return replace(
        limits,
        connections=connections,
        connections_per_client=min(limits.connections_per_client, max(connections // 4, 1)),
    )


def _raise_file_limit() -> int | None:
    """Raise the open-file limit if it is low; returns the limit, or None if there is none."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    minimum = MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MIN_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < minimum:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (minimum, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


FRAMING_BYTES = 64 * 2**10
"""What multipart adds to a photo."""
CLOSE_CONNECTION = {"connection": "close"}
"""The rest of a body that was not read must not be taken for the next request."""


@dataclass(frozen=True)
class BodyLimit:
    """The most bytes, the most time for all of them and, of an upload, the longest pause and the least average rate."""

    size_bytes: int
    total_s: float
    pause_s: float = float("inf")
    bytes_per_s: float = float("inf")


class BodyRefused(HTTPException):
    """The body is larger than it may be, or arrives too slowly."""


def limit_body(receive: Receive, limit: BodyLimit) -> Receive:
    """Return a `receive` that raises `BodyRefused` at the limit. Only time spent waiting for the client counts."""
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
            raise BodyRefused(HTTPStatus.REQUEST_TIMEOUT, _too_slow_text(limit), CLOSE_CONNECTION) from None
        size_bytes = len(message.get("body", b""))
        waited_s += clock() - start_s
        credit_s = min(credit_s - (clock() - start_s) + size_bytes / limit.bytes_per_s, limit.pause_s)
        received_bytes += size_bytes
        is_complete = not message.get("more_body", False)
        if received_bytes > limit.size_bytes:
            text = too_large_text(limit.size_bytes)
            raise BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, CLOSE_CONNECTION)
        return message

    return receive_within_limits


def too_large_text(limit_bytes: int) -> str:
    remedy = (
        "Send less"
        if limit_bytes < SMALL_BYTES
        else "Send less; TAGGER_WEB_UPLOAD_BYTES allows larger photos"
    )
    return f"The request is larger than the {limit_bytes} bytes allowed here. {remedy}."


def _too_slow_text(limit: BodyLimit) -> str:
    rate = "" if limit.bytes_per_s == float("inf") else f", or slower than {limit.bytes_per_s:g} bytes/s"
    return f"The request did not arrive within {limit.total_s:g} s{rate}. Check the connection and send it again."
