"""Responses: JSON as the command line writes it, and streams of any length."""

import json
from collections.abc import Iterable, Iterator

from fastapi.responses import StreamingResponse
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message, Send

from tagger.library.query.documents import json_default
from tagger.web.http.auth import while_authenticated

NDJSON = "application/x-ndjson"
CSV = "text/csv; charset=utf-8"
GEOJSON = "application/geo+json"
MIN_BLOCK_BYTES = 2**16
"""Small parts are joined, since each send costs more than most parts."""
MAX_BLOCK_BYTES = 2**16
"""Large parts are sent in blocks, so that the server buffers only one of them for a slow client."""


class DocumentResponse(JSONResponse):
    """JSON in ASCII, so that file names that are not UTF-8 survive, with a newline at the end for terminals."""

    def render(self, content: object) -> bytes:
        return json.dumps(content, default=json_default).encode() + b"\n"


def stream_download(
    parts: Iterable[bytes], media_type: str, file_name: str, request: Request | None = None
) -> StreamingResponse:
    """Stream `parts` as they are produced; a browser saves them as `file_name`. With its `request`, a download that can last
    for hours ends when the token or session does.
    """
    blocks = iterate_in_threadpool(_blocks(parts))
    if request is not None:
        blocks = while_authenticated(request, blocks)
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"', "Cache-Control": "no-store"}
    return StreamingResponse(blocks, media_type=media_type, headers=headers)


def send_in_blocks(send: Send) -> Send:
    """Return a `send` that passes on at most `MAX_BLOCK_BYTES` at once; each waits until the one before has left."""

    async def send_blocks(message: Message) -> None:
        body = message.get("body", b"")
        last = max(len(body) - 1, 0) // MAX_BLOCK_BYTES * MAX_BLOCK_BYTES
        for start in range(0, last, MAX_BLOCK_BYTES):
            await send({**message, "body": body[start : start + MAX_BLOCK_BYTES], "more_body": True})
        await send({**message, "body": body[last:]} if last else message)

    return send_blocks


def _blocks(parts: Iterable[bytes]) -> Iterator[bytes]:
    block: list[bytes] = []
    size_bytes = 0
    for part in parts:
        block.append(part)
        size_bytes += len(part)
        if size_bytes >= MIN_BLOCK_BYTES:
            yield b"".join(block)
            block, size_bytes = [], 0
    if block:
        yield b"".join(block)
