"""Answers that come in parts, however long they are."""

from collections.abc import Iterable, Iterator

from fastapi.responses import StreamingResponse

NDJSON = "application/x-ndjson"
CSV = "text/csv; charset=utf-8"
GEOJSON = "application/geo+json"
GATHERED_BYTES = 2**16
"""Parts go out together: each time costs more than most parts."""


def streamed(parts: Iterable[bytes], media_type: str, file: str) -> StreamingResponse:
    """An answer of `parts` as they come; a browser saves it as `file`."""
    headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
    return StreamingResponse(_gathered(parts), media_type=media_type, headers=headers)


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= GATHERED_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
