"""Limits of request bodies: size and time. A body is cut off before anything is done with it."""

import asyncio
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

SMALL_BYTES = 2**20
"""The limit of a body that is no upload: JSON, and forms."""
FRAMING_BYTES = 64 * 2**10
"""BackfillScope multipart adds to a photo."""
IDLE_S = 60
"""How long an upload may pause. A small body has to arrive within this time."""
CLOSE_CONNECTION = {"connection": "close"}
"""The rest of a body that was not read must not be taken for the next request."""


class BodyRefused(HTTPException):
    """The body is larger than it may be, or stopped arriving."""


def limit_body(receive: Receive, limit_bytes: int) -> Receive:
    """Return a `receive` that raises `BodyRefused` at a limit."""
    received_bytes, is_complete = 0, False
    clock = asyncio.get_running_loop().time
    start_s = clock()

    async def receive_within_limits() -> Message:
        nonlocal received_bytes, is_complete
        if is_complete:  # the next message is the disconnect, which may take hours
            return await receive()
        try:
            async with asyncio.timeout_at(IDLE_S + (clock() if limit_bytes > SMALL_BYTES else start_s)):
                message = await receive()
        except TimeoutError:
            text = f"The request did not arrive within {IDLE_S} s. Check the connection and send it again."
            raise BodyRefused(HTTPStatus.REQUEST_TIMEOUT, text, CLOSE_CONNECTION) from None
        received_bytes += len(message.get("body", b""))
        is_complete = not message.get("more_body", False)
        if received_bytes > limit_bytes:
            raise BodyRefused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large_text(limit_bytes), CLOSE_CONNECTION
            )
        return message

    return receive_within_limits


def too_large_text(limit_bytes: int) -> str:
    return (
        f"The request is larger than the {limit_bytes} bytes allowed here. Send less; TAGGER_WEB_UPLOAD_BYTES allows "
        "larger photos."
    )
