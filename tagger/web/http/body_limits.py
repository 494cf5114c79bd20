"""Limits of request bodies: size, time and rate. A body is cut off before anything is done with it."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from tagger.web.http.limits import SMALL_BYTES

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
