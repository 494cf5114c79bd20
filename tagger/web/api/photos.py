"""Photos and their tags, as `tagger query` and `tagger show`; trips, as `tagger trips`; verdicts and stars.

Photos are named by number, never by path. Those of a trip are `/api/photos?trip=…`. A timeline is a sorted
result in sections, for views that show any part of it: the sections, the photos of one, and ids alone.

Images of a photo are its own file, a preview, and thumbnails.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from pathlib import PurePath
from typing import Annotated
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import Depends, Path, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tagger.database import VerdictKind
from tagger.database.connection import login_name
from tagger.errors import PhotoFailed
from tagger.photos.files import OpenFile
from tagger.photos.formats import require_format
from tagger.query import parse_date
from tagger.query.counts import (
    TripDocument,
    trip_document,
    trip_summaries,
    trip_summary,
)
from tagger.query.details import PhotoDetailsDocument, photo_details_by_id
from tagger.query.find import find_tagged, find_tagged_page
from tagger.query.options import PhotoQuery
from tagger.query.photo_json import photo_csv_parts, photo_feature_parts
from tagger.query.sorted_scan import ScanPosition, decode_cursor, encode_cursor
from tagger.query.tagged_photos import (
    PhotoDocument,
    StoredPhoto,
    TaggedPhoto,
    photo_document,
    stored_photo,
)
from tagger.query.timeline import Section, SectionStart, count_copies, find_section_ids
from tagger.texts import document_of
from tagger.texts.text_format import gettext, percent
from tagger.verdicts import (
    DismissedPhotos,
    StarredPhotos,
    VerdictsDocument,
    dismiss_photos,
    give_verdicts,
    restore_photos,
    star_photos,
    withdraw_verdicts,
)
from tagger.web.access import UNNAMED, Role, requires
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
from tagger.web.routes import (
    COUNTING,
    CSV,
    GEOJSON,
    ONE_LINE,
    DocumentResponse,
    PhotoId,
    QueryParams,
    RequestModel,
    api_router,
    query_params,
    stream_download,
)
from tagger.web.state import AppState, State

router = api_router("photos")

Params = Annotated[QueryParams, Depends(query_params)]
PhotoNumber = Annotated[
    int, Path(ge=1, lt=2**63, description="A photo's number, from a list of photos.")
]


@dataclass(frozen=True)
class PhotoPage:
    """A page of photos; `next` is null on the last page."""

    photos: Sequence[PhotoDocument]
    next: str | None


@router.get("/photos")
@requires(Role.VIEWER)
def photos(
    state: State,
    params: Params,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
    after: Annotated[
        str | None, Query(description="`next` of the previous page.")
    ] = None,
) -> PhotoPage:
    """List photos with their tags, page by page: pass `next` as `after` until it is null."""
    page, cursor = photo_page(state, params, after, limit)
    return PhotoPage([photo_document(each) for each in page], cursor)


def photo_page(
    state: AppState, params: QueryParams, after: str | None, limit: int
) -> tuple[Sequence[TaggedPhoto], str | None]:
    """Return the photos of a query that follow a cursor, and the cursor of the next page; None: none."""
    start = decode_cursor(after, params.query) if after else None
    with params.model_checked():
        page = find_tagged_page(
            state.database, params.query, state.settings.roots, start, limit
        )
    return page.photos, cursor_of(page.next, params.query)


def cursor_of(position: ScanPosition | None, query: PhotoQuery) -> str | None:
    return None if position is None else encode_cursor(position, query)


@router.get("/photos.csv", response_class=StreamingResponse)
@requires(Role.VIEWER)
def photos_csv(state: State, params: Params) -> StreamingResponse:
    """List all photos as CSV, a row per tag."""
    return stream_download(photo_csv_parts(_find_all(state, params)), CSV, "photos.csv")


@router.get("/photos.geojson", response_class=StreamingResponse)
@requires(Role.VIEWER)
def photos_geojson(state: State, params: Params) -> StreamingResponse:
    """List all photos as GeoJSON, each at its position, else at its first landmark that has coordinates."""
    return stream_download(
        photo_feature_parts(_find_all(state, params)), GEOJSON, "photos.geojson"
    )


@router.get("/photos/{photo_id}")
@requires(Role.VIEWER)
def photo(state: State, photo_id: PhotoNumber) -> PhotoDetailsDocument:
    """Return everything the database has about a photo."""
    return photo_details_by_id(
        state.database, photo_id, state.settings.roots
    ).document()


def _find_all(state: AppState, params: QueryParams) -> Iterator[TaggedPhoto]:
    with params.model_checked():
        return find_tagged(state.database, params.query, state.settings.roots)


trips_router = api_router("trips")

Date = Annotated[str | None, Query(max_length=100)]
TripId = Annotated[
    str, Path(max_length=500, description="A trip's id, from the list of trips.")
]


@trips_router.get("/trips")
@requires(Role.VIEWER)
def trips(
    state: State, taken_after: Date = None, taken_before: Date = None
) -> list[TripDocument]:
    """List trips with photos of this time, newest first."""
    after = parse_date(taken_after, "taken_after") if taken_after else None
    before = parse_date(taken_before, "taken_before") if taken_before else None
    return [
        trip_document(summary)
        for summary in trip_summaries(state.database, after, before)
    ]


@trips_router.get("/trips/{trip}")
@requires(Role.VIEWER)
def trip(state: State, trip: TripId) -> TripDocument:
    """Return one trip."""
    return trip_document(trip_summary(state.database, trip))


def guess_text(photo: TaggedPhoto, query: PhotoQuery) -> str | None:
    guess = photo.guess
    if guess is None or not query.unknown:
        return None
    return gettext(
        "%(name)s? %(score)s", name=guess.name, score=percent(guess.score or 0.0)
    )


MOST_SKIPPED = 2**31


def timeline_params(params: Params) -> QueryParams:
    return params.as_timeline()


TimelineParams = Annotated[QueryParams, Depends(timeline_params)]


def section_start(
    params: TimelineParams,
    month: Annotated[
        str | None,
        Query(
            max_length=20,
            description="The section's month: 2024-06, or none for photos without a date.",
        ),
    ] = None,
    after: Annotated[
        str | None, Query(description="`next` of the previous page.")
    ] = None,
    skip: Annotated[
        int, Query(ge=0, lt=MOST_SKIPPED, description="How many photos to skip.")
    ] = 0,
) -> SectionStart:
    return SectionStart(
        month, decode_cursor(after, params.query) if after else None, skip
    )


Start = Annotated[SectionStart, Depends(section_start)]


@dataclass(frozen=True)
class TimelinePhoto:
    """A photo in brief: its accepted landmark with the score, and the `copies` of its image, itself included.

    `guess`: among unknown photos, what it perhaps shows, in words, with the score. `confirmed`: a person
    confirmed the landmark; `dismissed`: a person put the photo away as not a landmark; `favourite`: a person
    marked it with a star. `place`: city and country where it was taken. `files`: how many files it has, two
    for a JPEG with its RAW file. `colours`: of its nine parts, row by row, one byte each for red, green and
    blue, in base64; null before classification.
    """

    id: int
    file: str
    files: int
    digest: str | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    place: str | None
    name: str | None
    score: float | None
    guess: str | None
    confirmed: bool
    dismissed: bool
    favourite: bool
    copies: int
    colours: str | None


@dataclass(frozen=True)
class TimelinePage:
    """A page of photos; `next` is null at the end of the section."""

    photos: Sequence[TimelinePhoto]
    next: str | None


@dataclass(frozen=True)
class TimelineIds:
    """A page of ids; `next` is null on the last page."""

    ids: Sequence[int]
    next: str | None


@router.get("/timeline", dependencies=[COUNTING])
@requires(Role.VIEWER)
def timeline(state: State, params: TimelineParams) -> Sequence[Section]:
    """Count the photos of each month in the order of the result; if that is not by time, all photos."""
    with params.model_checked():
        return state.section_counts.get(params.query)


@router.get("/timeline/photos")
@requires(Role.VIEWER)
def timeline_photos(
    state: State,
    params: TimelineParams,
    start: Start,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
) -> TimelinePage:
    """List photos of a section in brief, page by page, from any place in it."""
    with params.model_checked():
        page = find_tagged_page(
            state.database,
            params.query,
            state.settings.roots,
            start.after,
            limit,
            month=start.month,
            skip=start.skip,
        )
    copies = count_copies(
        state.database, [photo.digest for photo in page.photos if photo.digest]
    )
    photos = [
        timeline_photo(
            photo, copies.get(photo.digest or "", 1), guess_text(photo, params.query)
        )
        for photo in page.photos
    ]
    return TimelinePage(photos, cursor_of(page.next, params.query))


@router.get("/timeline/ids")
@requires(Role.VIEWER)
def timeline_ids(
    state: State,
    params: TimelineParams,
    start: Start,
    limit: Annotated[
        int, Query(ge=1, le=20_000, description="The page size.")
    ] = 10_000,
) -> TimelineIds:
    """List the ids alone of a section's photos; without `month`, of all sections."""
    with params.model_checked():
        ids, following = find_section_ids(
            state.database, params.query, state.settings.roots, start, limit
        )
    return TimelineIds(ids, cursor_of(following, params.query))


def timeline_photo(
    photo: TaggedPhoto, copies: int = 1, guess: str | None = None
) -> TimelinePhoto:
    accepted = [tag for tag in photo.tags if tag.accepted]
    tag = accepted[0] if accepted else None
    return document_of(
        TimelinePhoto,
        photo,
        file=PurePath(photo.path).name,
        name=tag and tag.name,
        score=tag and tag.score,
        guess=guess,
        confirmed=tag is not None and tag.verdict == "confirmed",
        dismissed=photo.is_dismissed,
        favourite=photo.is_favourite,
        copies=copies,
        colours=b64encode(photo.colours).decode() if photo.colours else None,
    )


verdicts_router = api_router("verdicts")

# Photos in one request: they are written in one transaction, which holds the writer's lock.
MAX_PHOTOS = 500

PhotoIds = Annotated[list[PhotoId], Field(max_length=MAX_PHOTOS)]
Name = Annotated[str, Field(min_length=1, max_length=1000), ONE_LINE]


class VerdictsRequest(RequestModel):
    """A verdict on a landmark for the listed photos."""

    photos: PhotoIds
    landmark: Annotated[
        Name, Field(description="A landmark by slug or name, in any case.")
    ]
    verdict: VerdictKind


@verdicts_router.post("/verdicts")
@requires(Role.EDITOR)
def give(state: State, body: VerdictsRequest) -> VerdictsDocument:
    """Confirm or reject a landmark on photos. The verdict applies to every copy and survives new models."""
    return give_verdicts(
        state.database,
        body.photos,
        body.landmark,
        body.verdict,
        person_of(state),
        state.settings.roots,
    )


@verdicts_router.delete("/verdicts")
@requires(Role.EDITOR)
def withdraw(state: State, body: VerdictsRequest) -> VerdictsDocument:
    """Withdraw exactly this verdict from photos; the prediction applies again."""
    return withdraw_verdicts(
        state.database,
        body.photos,
        body.landmark,
        body.verdict,
        state.settings.roots,
    )


def person_of(state: AppState) -> str:
    """Return whose verdicts these are: `web` and the name of the person or token, else the server's user."""
    actor = state.database.actor
    if actor.name != UNNAMED:
        return actor.name
    return f"web {login_name() or ''}".rstrip()


class PhotosRequest(RequestModel):
    """Photos by id."""

    photos: PhotoIds


@verdicts_router.post("/favourites")
@requires(Role.EDITOR)
def star(state: State, body: PhotosRequest) -> StarredPhotos:
    """Mark photos and their copies with a star."""
    return star_photos(state.database, body.photos, person_of(state), starred=True)


@verdicts_router.delete("/favourites")
@requires(Role.EDITOR)
def remove_star(state: State, body: PhotosRequest) -> StarredPhotos:
    """Take the star from photos and their copies."""
    return star_photos(state.database, body.photos, person_of(state), starred=False)


@verdicts_router.post("/dismissals")
@requires(Role.EDITOR)
def dismiss(state: State, body: PhotosRequest) -> DismissedPhotos:
    """Put photos and their copies away as not a landmark, until brought back or a landmark is confirmed."""
    return dismiss_photos(state.database, body.photos, person_of(state))


@verdicts_router.delete("/dismissals")
@requires(Role.EDITOR)
def restore(state: State, body: PhotosRequest) -> DismissedPhotos:
    """Bring back photos that were put away; the predictions of the model apply again."""
    return restore_photos(state.database, body.photos)


HEAD_BYTES = 4096
REVALIDATE = "private, no-cache"
# For addresses that contain the image digest.
IMMUTABLE = "private, max-age=31536000, immutable"

Version = Annotated[
    str | None,
    Query(
        max_length=100,
        description="The end of the digest, so that browsers can cache it.",
    ),
]


@router.get("/photos/{photo_id}/image", response_class=Response)
@requires(Role.VIEWER)
async def image(request: Request, state: State, photo_id: PhotoNumber) -> Response:
    """Return the photo's file if browsers display its format, else a JPEG of at most 2048 pixels a side."""
    photo = await run_sync(stored_photo, state.database, photo_id, state.settings.roots)
    etag, response = await run_sync(_file_response, request, photo)
    if response is not None:
        return response
    jpeg = await _cached_or_created(
        request, state, photo, LARGE_PREVIEW, LARGE_PREVIEW_PX
    )
    return Response(
        jpeg,
        media_type="image/jpeg",
        headers=_named("inline", f"{photo.path.stem}.jpg", etag),
    )


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
        request,
        file,
        "application/octet-stream",
        _named("attachment", photo.path.name, etag),
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
async def preview(
    request: Request, state: State, photo_id: PhotoNumber, v: Version = None
) -> Response:
    """Return the whole photo as a WebP with sides of at most 1600 pixels, upright and in sRGB."""
    return await _webp_response(request, state, photo_id, PREVIEW, PREVIEW_PX, v)


async def download(state: AppState, photo: StoredPhoto) -> bytes:
    """Return the photo as a JPEG of at most 2048 pixels a side, without metadata.

    Raises:
        PhotoUnavailable: it cannot be created.
    """
    return await _cached_or_created(None, state, photo, DOWNLOAD, LARGE_PREVIEW_PX)


async def _cached_or_created(
    request: Request | None,
    state: AppState,
    photo: StoredPhoto,
    kind: ImageKind,
    size: int,
) -> bytes:
    # Return the image of this size, from the cache if it is there.
    #
    # Raises ClientDisconnect: the client has left while it waited. Raises PhotoUnavailable: the image cannot
    # be created.
    image = await run_sync(state.thumbnails.cached, photo, size)
    if image is not None:
        return image
    # Waiting for the limiter holds no thread; the client may have gone on to other photos meanwhile.
    async with kind.limiter:
        if request and await request.is_disconnected():
            raise ClientDisconnect
        return await run_sync(state.thumbnails.create, photo, kind, size)


async def _webp_response(
    request: Request,
    state: AppState,
    photo_id: int,
    kind: ImageKind,
    size: int,
    version: str | None,
) -> Response:
    photo = await run_sync(stored_photo, state.database, photo_id, state.settings.roots)
    webp = await _cached_or_created(request, state, photo, kind, size)
    is_version = version and photo.digest and photo.digest.endswith(version)
    cache_control = IMMUTABLE if is_version else REVALIDATE
    etag = f'"{blake2b(webp, digest_size=12).hexdigest()}"'
    not_modified = _not_modified(request, etag, cache_control)
    return not_modified or Response(
        webp, media_type="image/webp", headers=_headers(etag, cache_control)
    )


class FileResponse(StreamingResponse):
    """Streams an open file and closes it, even if the client disconnects before the first byte."""

    def __init__(
        self,
        file: OpenFile,
        media_type: str,
        headers: dict[str, str],
        status: int = 200,
    ) -> None:
        length = {"Content-Length": str(file.size_bytes)}
        super().__init__(file.blocks(), status, headers | length, media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.file.close()


def _whole_or_range(
    request: Request, file: OpenFile, media_type: str, headers: dict[str, str]
) -> Response:
    # Return the file, or the one range of bytes that the request names (RFC 9110).
    headers |= {"Accept-Ranges": "bytes"}
    named = _named_range(request, file.size_bytes, headers["ETag"])
    if named is None:
        return FileResponse(file, media_type, headers)
    if not named:
        file.file.close()
        return Response(
            status_code=416, headers={"Content-Range": f"bytes */{file.size_bytes}"}
        )
    file.file.seek(named.start)
    headers |= {
        "Content-Range": f"bytes {named.start}-{named.stop - 1}/{file.size_bytes}"
    }
    return FileResponse(replace(file, size_bytes=len(named)), media_type, headers, 206)


_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


def _named_range(request: Request, size_bytes: int, etag: str) -> range | None:
    # Return the bytes that a request names; empty: the file has none of them.
    #
    # None: all. So are several ranges, which no server has to answer, and a range of another version.
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
    # The file's ETag, and a response with the file; None if browsers do not display its format.
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
    return etag, _whole_or_range(
        request, file, media_type, _named("inline", photo.path.name, etag)
    )


def _media_type(file: OpenFile) -> str | None:
    # The media type by content; None if browsers do not display the format.
    head = file.file.read(HEAD_BYTES)
    file.file.seek(0)
    try:
        return require_format(head).media_type
    except PhotoFailed as error:
        raise PhotoUnavailable(422, error.failure.kind, error.failure.text) from error


def _etag(file: OpenFile) -> str:
    return f'"{file.size_bytes:x}-{file.mtime_ns:x}"'


def _named(disposition: str, name: str, etag: str) -> dict[str, str]:
    # The headers of a file to display (`inline`) or to save (`attachment`) under the photo's name.
    ascii_name = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_. ") else "_" for c in name
    )
    utf8_name = quote(name.encode(errors="surrogateescape"), safe="")
    names = f"filename=\"{ascii_name}\"; filename*=UTF-8''{utf8_name}"
    return _headers(etag, REVALIDATE) | {
        "Content-Disposition": f"{disposition}; {names}"
    }


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
    destination, accepted = (
        request.headers.get("sec-fetch-dest"),
        request.headers.get("accept", ""),
    )
    if destination == "image" or (
        destination is None and accepted.startswith("image/")
    ):
        return Response(placeholder(), 200, headers, "image/png")
    return DocumentResponse(
        {"error": error.text, "kind": error.kind}, error.status, headers
    )
