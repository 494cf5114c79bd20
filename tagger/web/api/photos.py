"""Photos: the same answers as `tagger query` and `tagger show`, and the pictures themselves.

A photo is named by its number only; no request ever names a path.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tagger.documents import (
    details_document,
    json_line_parts,
    photo_csv_parts,
    photo_document,
    photo_feature_parts,
)
from tagger.errors import PhotoFailed
from tagger.images.formats import Format, format_of
from tagger.query import TaggedPhoto, details_of, find_tagged, find_tagged_page
from tagger.query.cursors import cursor_of, position_of
from tagger.web.api.routing import api_router
from tagger.web.api.shapes import PhotoPage, WholePhoto
from tagger.web.asked import Asked, asked
from tagger.web.document import Document
from tagger.web.place import Place, place_of
from tagger.web.placeholders import placeholder
from tagger.web.stored import NotShown, OpenFile, StoredPhoto, open_stored, stored_photo
from tagger.web.streaming import CSV, GEOJSON, NDJSON, streamed
from tagger.web.thumbnails import PREVIEW_SIDE, ThumbnailSize

router = api_router("photos")

Here = Annotated[Place, Depends(place_of)]
Wanted = Annotated[Asked, Depends(asked)]
Number = Annotated[int, Path(ge=1, lt=2**63, description="A photo's number, as lists give it.")]

SHOWN_BY_BROWSERS = {
    Format.JPEG: "image/jpeg",
    Format.PNG: "image/png",
    Format.WEBP: "image/webp",
    Format.GIF: "image/gif",
    Format.BMP: "image/bmp",
    Format.AVIF: "image/avif",
}
HEAD_BYTES = 4096
REVALIDATED = "private, no-cache"
FOR_EVER = "private, max-age=31536000, immutable"
"""Of an address that names the picture's digest too."""


@router.get("/photos", response_model=PhotoPage)
def photos(
    place: Here,
    wanted: Wanted,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many photos.")] = 100,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> dict[str, Any]:
    """Photos with their tags, page by page: go on with `next` as `after` until it is null. A page may be short before that."""
    begin = position_of(after, wanted.query) if after else None
    with wanted.understood():
        page = find_tagged_page(place.database, wanted.query, place.settings.roots, begin, limit)
    following = None if page.next is None else cursor_of(page.next, wanted.query)
    return {"photos": [numbered_document(photo) for photo in page.photos], "next": following}


@router.get("/photos.ndjson", response_class=StreamingResponse)
def photos_ndjson(place: Here, wanted: Wanted) -> StreamingResponse:
    """All of them, a JSON document a line."""
    documents = (photo_document(photo) for photo in _all(place, wanted))
    return streamed(json_line_parts(documents), NDJSON, "photos.ndjson")


@router.get("/photos.csv", response_class=StreamingResponse)
def photos_csv(place: Here, wanted: Wanted) -> StreamingResponse:
    """All of them as CSV, a row per tag."""
    return streamed(photo_csv_parts(_all(place, wanted)), CSV, "photos.csv")


@router.get("/photos.geojson", response_class=StreamingResponse)
def photos_geojson(place: Here, wanted: Wanted) -> StreamingResponse:
    """All of them as GeoJSON, each where its first landmark is."""
    return streamed(photo_feature_parts(_all(place, wanted)), GEOJSON, "photos.geojson")


@router.get("/photos/{photo_id}", response_model=WholePhoto)
def photo(place: Here, photo_id: Number) -> dict[str, Any]:
    """All that is known of one photo."""
    return {"id": photo_id, **details_document(details_of(place.database, photo_id, place.settings.roots))}


@router.get("/photos/{photo_id}/image", response_class=Response)
async def image(request: Request, place: Here, photo_id: Number) -> Response:
    """The photo's own file, if browsers show its format; else a JPEG of it, at 2048 pixels at most."""
    stored = await run_sync(stored_photo, place.database, photo_id, place.settings.roots)
    try:
        tag, whole = await run_sync(_whole, request, stored)
        return whole or await _preview(request, place, stored, tag)
    except NotShown as why:
        return _not_shown(request, why)


@router.get("/photos/{photo_id}/thumbnail", response_class=Response)
async def thumbnail(
    request: Request,
    place: Here,
    photo_id: Number,
    size: Annotated[ThumbnailSize, Query(description="Pixels of a side: 256 or 512.")] = ThumbnailSize.SMALL,
    v: Annotated[
        str | None, Query(max_length=100, description="Part of the digest, so that browsers keep it.")
    ] = None,
) -> Response:
    """The middle of the photo as a small square JPEG."""
    stored = await run_sync(stored_photo, place.database, photo_id, place.settings.roots)
    made = await run_sync(place.thumbnails.known, stored, size)
    if made is None:
        # Whoever waits here holds no thread, and whoever scrolled past is not waited for.
        async with place.thumbnails.making:
            if await request.is_disconnected():
                return Response(status_code=499)
            try:
                made = await run_sync(place.thumbnails.made, stored, size)
            except NotShown as why:
                return _not_shown(request, why)
    kept = FOR_EVER if v and stored.digest and stored.digest.endswith(v) else REVALIDATED
    tag = f'"{blake2b(made, digest_size=12).hexdigest()}"'
    unchanged = _revalidated(request, tag, kept)
    return unchanged or Response(made, media_type="image/jpeg", headers=_headers(tag, kept))


def numbered_document(found: TaggedPhoto) -> dict[str, Any]:
    """The JSON of a photo with its number, by which other addresses name it."""
    return {"id": found.id, **photo_document(found)}


def _all(place: Place, wanted: Asked) -> Iterator[TaggedPhoto]:
    with wanted.understood():
        return find_tagged(place.database, wanted.query, place.settings.roots)


class SentFile(StreamingResponse):
    """A file on its way; it is closed though whoever asked went away before its first byte."""

    def __init__(self, opened: OpenFile, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(opened.blocks(), media_type=media_type, headers=headers)
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._opened.file.close()


def _whole(request: Request, stored: StoredPhoto) -> tuple[str, Response | None]:
    """The tag of a photo's file as it is now, and the file itself, if the browser has not got it and shows its format."""
    opened = open_stored(stored)
    tag = f'"{opened.size_bytes:x}-{opened.mtime_ns:x}"'
    unchanged = _revalidated(request, tag, REVALIDATED)
    try:
        media_type = None if unchanged else _media_type(opened)
    except BaseException:
        opened.file.close()
        raise
    if unchanged or media_type is None:
        opened.file.close()
        return tag, unchanged
    headers = _headers(tag, REVALIDATED) | {
        "Content-Disposition": _inline(stored.path.name),
        "Content-Length": str(opened.size_bytes),
    }
    return tag, SentFile(opened, media_type, headers)


def _media_type(opened: OpenFile) -> str | None:
    """What browsers know the format as, told by content; None: they do not show it."""
    head = opened.file.read(HEAD_BYTES)
    opened.file.seek(0)
    try:
        return SHOWN_BY_BROWSERS.get(format_of(head))
    except PhotoFailed as failed:
        raise NotShown(422, failed.failure.kind, failed.failure.text) from failed


async def _preview(request: Request, place: Place, stored: StoredPhoto, tag: str) -> Response:
    made = await run_sync(place.thumbnails.known, stored, PREVIEW_SIDE)
    if made is None:
        async with place.thumbnails.previewing:
            if await request.is_disconnected():
                return Response(status_code=499)
            made = await run_sync(place.thumbnails.preview, stored)
    headers = _headers(tag, REVALIDATED) | {"Content-Disposition": _inline(f"{stored.path.stem}.jpg")}
    return Response(made, media_type="image/jpeg", headers=headers)


def _inline(name: str) -> str:
    """Shown, and saved under the photo's own name, whatever that holds."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name)
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name.encode(errors='surrogateescape'), safe='')}"


def _headers(tag: str, kept: str) -> dict[str, str]:
    return {"ETag": tag, "Cache-Control": kept, "X-Content-Type-Options": "nosniff"}


def _revalidated(request: Request, tag: str, kept: str) -> Response | None:
    known = request.headers.get("if-none-match", "")
    if tag not in (part.strip().removeprefix("W/") for part in known.split(",")):
        return None
    return Response(status_code=304, headers={"ETag": tag, "Cache-Control": kept})


def _not_shown(request: Request, why: NotShown) -> Response:
    """Kind and text; in a page a picture that says it, with 200: browsers complain of others, and nobody there reads the number."""
    headers = {"Cache-Control": "private, max-age=30", "Vary": "Accept, Sec-Fetch-Dest"}
    if _is_shown_in_a_page(request):
        return Response(placeholder(why.kind), 200, headers, "image/png")
    return Document({"error": why.text, "kind": why.kind}, why.status, headers)


def _is_shown_in_a_page(request: Request) -> bool:
    # Over plain HTTP, but for this machine's own, browsers do not say what a picture is for; only that they want one.
    wanted_for = request.headers.get("sec-fetch-dest")
    return wanted_for == "image" or (
        wanted_for is None and request.headers.get("accept", "").startswith("image/")
    )
