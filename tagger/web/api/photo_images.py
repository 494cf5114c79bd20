"""Images of photos, which are named by number: the photo's own file, a preview, thumbnails."""

import re
from dataclasses import replace
from hashlib import blake2b
from typing import Annotated
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tagger.errors import PhotoFailed
from tagger.photos.files import OpenFile
from tagger.photos.formats import require_format
from tagger.query.tagged_photos import StoredPhoto, stored_photo
from tagger.web.api.photos import PhotoNumber
from tagger.web.http.access import Role, requires
from tagger.web.http.routes import DocumentResponse, api_router
from tagger.web.photo_files import (
    DOWNLOAD,
    LARGE_PREVIEW,
    LARGE_PREVIEW_PX,
    PREVIEW,
    PREVIEW_PX,
    THUMBNAIL,
    ImageKind,
    PhotoUnavailable,
    ThumbnailSize,
    open_stored,
    placeholder,
)
from tagger.web.state import AppState, State

router = api_router("photos")

HEAD_BYTES = 4096
REVALIDATE = "private, no-cache"
# For addresses that contain the image digest.
IMMUTABLE = "private, max-age=31536000, immutable"

Version = Annotated[
    str | None, Query(max_length=100, description="The end of the digest, so that browsers can cache it.")
]


@router.get("/photos/{photo_id}/image", response_class=Response)
@requires(Role.VIEWER)
async def image(request: Request, state: State, photo_id: PhotoNumber) -> Response:
    """Return the photo's file if browsers display its format, else a JPEG of at most 2048 pixels a side."""
    photo = await run_sync(stored_photo, state.database, photo_id, state.settings.roots)
    etag, response = await run_sync(_file_response, request, photo)
    if response is not None:
        return response
    jpeg = await _cached_or_created(request, state, photo, LARGE_PREVIEW, LARGE_PREVIEW_PX)
    return Response(jpeg, media_type="image/jpeg", headers=_named("inline", f"{photo.path.stem}.jpg", etag))


@router.get("/photos/{photo_id}/file", response_class=Response)
@requires(Role.VIEWER)
def original(request: Request, state: State, photo_id: PhotoNumber) -> Response:
    """Return the photo's own file in any format, or a range of it, to be saved under its name."""
    photo = stored_photo(state.database, photo_id, state.settings.roots)
    file = open_stored(photo)
    etag = _etag(file)
    if not_modified := _not_modified(request, etag, REVALIDATE):
        file.file.close()
        return not_modified
    return _whole_or_range(
        request, file, "application/octet-stream", _named("attachment", photo.path.name, etag)
    )


@router.get("/photos/{photo_id}/thumbnail", response_class=Response)
@requires(Role.VIEWER)
async def thumbnail(
    request: Request,
    state: State,
    photo_id: PhotoNumber,
    size: Annotated[
        ThumbnailSize, Query(description="The short side in pixels: 256 or 512.")
    ] = ThumbnailSize.SMALL,
    v: Version = None,
) -> Response:
    """Return the whole photo, small, as WebP. Its long side is at most four times the short one."""
    return await _webp_response(request, state, photo_id, THUMBNAIL, size, v)


@router.get("/photos/{photo_id}/preview", response_class=Response)
@requires(Role.VIEWER)
async def preview(request: Request, state: State, photo_id: PhotoNumber, v: Version = None) -> Response:
    """Return the whole photo as a WebP with sides of at most 1600 pixels, upright and in sRGB."""
    return await _webp_response(request, state, photo_id, PREVIEW, PREVIEW_PX, v)


async def download(state: AppState, photo: StoredPhoto) -> bytes:
    """Return the photo as a JPEG of at most 2048 pixels a side, without metadata.

    Raises:
        PhotoUnavailable: it cannot be created.
    """
    return await _cached_or_created(None, state, photo, DOWNLOAD, LARGE_PREVIEW_PX)


async def _cached_or_created(
    request: Request | None, state: AppState, photo: StoredPhoto, kind: ImageKind, size: int
) -> bytes:
    """Return the image of this size, from the cache if it is there.

    Raises:
        ClientDisconnect: the client has left while it waited.
        PhotoUnavailable: the image cannot be created.
    """
    image = await run_sync(state.thumbnails.cached, photo, size)
    if image is not None:
        return image
    # Waiting for the limiter holds no thread; the client may have gone on to other photos meanwhile.
    async with kind.limiter:
        if request and await request.is_disconnected():
            raise ClientDisconnect
        return await run_sync(state.thumbnails.create, photo, kind, size)


async def _webp_response(
    request: Request, state: AppState, photo_id: int, kind: ImageKind, size: int, version: str | None
) -> Response:
    photo = await run_sync(stored_photo, state.database, photo_id, state.settings.roots)
    webp = await _cached_or_created(request, state, photo, kind, size)
    is_version = version and photo.digest and photo.digest.endswith(version)
    cache_control = IMMUTABLE if is_version else REVALIDATE
    etag = _digest(webp)
    not_modified = _not_modified(request, etag, cache_control)
    return not_modified or Response(webp, media_type="image/webp", headers=_headers(etag, cache_control))


class FileResponse(StreamingResponse):
    """Streams an open file and closes it, even if the client disconnects before the first byte."""

    def __init__(self, file: OpenFile, media_type: str, headers: dict[str, str], status: int = 200) -> None:
        length = {"Content-Length": str(file.size_bytes)}
        super().__init__(file.blocks(), status, headers | length, media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.file.close()


def _whole_or_range(request: Request, file: OpenFile, media_type: str, headers: dict[str, str]) -> Response:
    """Return the file, or the one range of bytes that the request names (RFC 9110)."""
    headers |= {"Accept-Ranges": "bytes"}
    named = _named_range(request, file.size_bytes, headers["ETag"])
    if named is None:
        return FileResponse(file, media_type, headers)
    if not named:
        file.file.close()
        return Response(status_code=416, headers={"Content-Range": f"bytes */{file.size_bytes}"})
    file.file.seek(named.start)
    headers |= {"Content-Range": f"bytes {named.start}-{named.stop - 1}/{file.size_bytes}"}
    return FileResponse(replace(file, size_bytes=len(named)), media_type, headers, 206)


_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


def _named_range(request: Request, size_bytes: int, etag: str) -> range | None:
    """Return the bytes that a request names; empty: the file has none of them.

    None: all. So are several ranges, which no server has to answer, and a range of another version.
    """
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        return range(max(size_bytes - int(last), 0), size_bytes) if last else None
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1 if last else size_bytes, size_bytes))


def _file_response(request: Request, photo: StoredPhoto) -> tuple[str, Response | None]:
    """Return the file's ETag, and a response with the file; None if browsers do not display its format."""
    file = open_stored(photo)
    etag = _etag(file)
    not_modified = _not_modified(request, etag, REVALIDATE)
    try:
        media_type = None if not_modified else _media_type(file)
    except BaseException:
        file.file.close()
        raise
    if not_modified or media_type is None:
        file.file.close()
        return etag, not_modified
    return etag, _whole_or_range(request, file, media_type, _named("inline", photo.path.name, etag))


def _media_type(file: OpenFile) -> str | None:
    """Return the media type by content; None if browsers do not display the format."""
    head = file.file.read(HEAD_BYTES)
    file.file.seek(0)
    try:
        return require_format(head).media_type
    except PhotoFailed as error:
        raise PhotoUnavailable(422, error.failure.kind, error.failure.text) from error


def _digest(image: bytes) -> str:
    return f'"{blake2b(image, digest_size=12).hexdigest()}"'


def _etag(file: OpenFile) -> str:
    return f'"{file.size_bytes:x}-{file.mtime_ns:x}"'


def _named(disposition: str, name: str, etag: str) -> dict[str, str]:
    """Return the headers of a file to display (`inline`) or to save (`attachment`) under the photo's name."""
    ascii_name = "".join(c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name)
    utf8_name = quote(name.encode(errors="surrogateescape"), safe="")
    names = f"filename=\"{ascii_name}\"; filename*=UTF-8''{utf8_name}"
    return _headers(etag, REVALIDATE) | {"Content-Disposition": f"{disposition}; {names}"}


def _headers(etag: str, cache_control: str) -> dict[str, str]:
    return {"ETag": etag, "Cache-Control": cache_control}


def _not_modified(request: Request, etag: str, cache_control: str) -> Response | None:
    cached = request.headers.get("if-none-match", "")
    if etag not in (part.strip().removeprefix("W/") for part in cached.split(",")):
        return None
    return Response(status_code=304, headers=_headers(etag, cache_control))


async def unavailable_response(request: Request, error: Exception) -> Response:
    """Return kind and text of the error; in a page a placeholder with status 200: browsers log others."""
    assert isinstance(error, PhotoUnavailable)  # noqa: S101 - it is registered for these alone
    headers = {"Cache-Control": "private, max-age=30", "Vary": "Accept, Sec-Fetch-Dest"}
    # Over plain HTTP, except on loopback, browsers send no Sec-Fetch-Dest, only Accept.
    destination, accepted = request.headers.get("sec-fetch-dest"), request.headers.get("accept", "")
    if destination == "image" or (destination is None and accepted.startswith("image/")):
        return Response(placeholder(), 200, headers, "image/png")
    return DocumentResponse({"error": error.text, "kind": error.kind}, error.status, headers)
