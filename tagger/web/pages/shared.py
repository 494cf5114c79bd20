"""The pages of a share for visitors: its photos in a grid, each photo, and what these pages load.

The link sets a cookie, which says who may see the share. Visitors without it get neither photos nor reasons.
What they see of a photo, `tagger.shared_photos` decides.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from io import BytesIO
from pathlib import PurePath
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tagger.errors import (
    CursorInvalid,
    DatabaseConnectionLost,
    DatabaseRemoved,
    DatabaseUnavailable,
    DiskFull,
    PhotoIdNotFound,
    TaggerError,
)
from tagger.query.tagged_photos import StoredPhoto, TaggedPhoto, stored_photo
from tagger.shared_photos import SharedPhotos
from tagger.shares import Share, ShareState, find_share
from tagger.texts.text_format import N_, gettext
from tagger.web.api import photo_images
from tagger.web.api.photos import TimelinePage, timeline_photo
from tagger.web.http.access import Access, requires
from tagger.web.http.attempt_limiter import (
    LINKS,
    SHARES,
    AttemptLimiter,
    RequestLimiter,
    TooManyAttempts,
)
from tagger.web.http.origins import is_by_https
from tagger.web.http.query_params import QueryParams, address_of
from tagger.web.http.responses import DocumentResponse, download_of
from tagger.web.http.templates import render
from tagger.web.pages.photos import PAGE_SIZE, After, PhotoGrid, photo_sections
from tagger.web.pages.tiles import PhotoTile, photo_tile
from tagger.web.photo_files import Archive, OpenFile, PhotoUnavailable
from tagger.web.state import AppState, State
from tagger.web.thumbnails import ThumbnailSize

COOKIE_S = 7 * 24 * 3600
MOST_ARCHIVED = 10_000
"""Photos of an archive: of each, a line is kept until its end."""
NOT_NOW = N_("This photo cannot be shown now. Try again later.")
ENDED = N_("This link is no longer valid. Ask the person who shared it for a new one.")
_PASSED_ON = (CursorInvalid, DatabaseConnectionLost)
"""Errors whose texts name nothing of the library."""


class SharedRoute(APIRoute):
    """A route of a share, which leaves enough threads and connections to people who signed in.

    If its query is no longer valid, visitors read that the share has ended: an error would tell them names.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            limiter: RequestLimiter = request.app.state.visitor_limiter
            try:
                async with limiter.slot(request):
                    return await handler(request)
            except _PASSED_ON:
                raise
            except PhotoUnavailable as error:
                return await _without_reason(request, error)
            except (DatabaseRemoved, DatabaseUnavailable, DiskFull) as error:
                text = gettext("The photos cannot be shown now. Try again later.")
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text) from error
            except TaggerError as error:
                raise HTTPException(HTTPStatus.GONE, gettext(ENDED)) from error

        return handle


def share_address(share: Share) -> str:
    """Return the address of the share, which has no token in it."""
    return f"{SHARES}{share.id}"


def valid_share(request: Request, state: AppState, token: str) -> Share:
    """The share with this token.

    Raises:
        HTTPException: there is none, it has ended, or the client sent too many wrong tokens.
    """
    share = find_share(state.database, token)
    if share is None:
        limiter: AttemptLimiter = request.app.state.share_attempts
        try:  # only wrong tokens: others may have the same address
            limiter.check_and_record(request.state.client.network)
        except TooManyAttempts as error:
            headers = {"retry-after": str(error.retry_after_s)}
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers) from None
        text = gettext("This link is incomplete, or was removed. Ask the person who shared it for a new one.")
        raise HTTPException(HTTPStatus.NOT_FOUND, text)
    if share.state is not ShareState.ACTIVE:
        raise HTTPException(HTTPStatus.GONE, gettext(ENDED))
    return share


def set_share_cookie(request: Request, state: AppState, response: Response, share: Share, token: str) -> None:
    """Let the browser send the token with requests for this share, and with no others."""
    remaining_s = COOKIE_S
    if share.expires_at is not None:
        remaining_s = min(remaining_s, int((share.expires_at - datetime.now(UTC)).total_seconds()) + 1)
    response.set_cookie(
        _cookie(state),
        token,
        max_age=remaining_s,
        path=share_address(share),
        httponly=True,
        # Not strict: links are opened from mails and other sites, and the share right after them.
        samesite="lax",
        secure=is_by_https(request, state.settings.web_url),
    )


def visited_share(request: Request, state: State, share_id: Annotated[int, Path(ge=1, lt=2**63)]) -> Share:
    """The share of the address.

    Raises:
        HTTPException: the request has no valid cookie of it.
    """
    token = request.cookies.get(_cookie(state))
    share = valid_share(request, state, token) if token else None
    if share is None or share.id != share_id:
        text = gettext(
            "There is nothing to see here without the link. Open it again, or ask the person who shared it "
            "for a new one. "
            "Your browser has to accept cookies."
        )
        raise HTTPException(HTTPStatus.NOT_FOUND, text)
    return share


VisitedShare = Annotated[Share, Depends(visited_share)]


def shared_photos(request: Request) -> SharedPhotos:
    """The photos of shares, as visitors see them."""
    found: SharedPhotos = request.app.state.shared_photos
    return found


Photos = Annotated[SharedPhotos, Depends(shared_photos)]


def visited_photo(photos: Photos, share: VisitedShare, photo_id: Annotated[int, Path(ge=1, lt=2**63)]) -> int:
    """The number of a photo of the share.

    Raises:
        HTTPException: it is not one.
    """
    if not photos.contains(share, photo_id):
        raise HTTPException(
            HTTPStatus.NOT_FOUND, gettext("This photo is not among those that are shared with you.")
        )
    return photo_id


VisitedPhoto = Annotated[int, Depends(visited_photo)]


def _cookie(state: AppState) -> str:
    """The name of the cookie: other servers may run on this host at other ports."""
    return f"tagger_share_{state.database.ledger_id[:8]}"


router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse, route_class=SharedRoute)


@router.get(LINKS + "{token}")
@requires(Access.VISITOR)
def open_link(request: Request, state: State, token: str) -> Response:
    """Lead to the share of the link."""
    share = valid_share(request, state, token)
    response = RedirectResponse(
        share_address(share), HTTPStatus.SEE_OTHER, {"Referrer-Policy": "no-referrer"}
    )
    set_share_cookie(request, state, response, share, token)
    return response


@router.get(SHARES + "{share_id}")
@requires(Access.VISITOR)
def show_share(request: Request, photos: Photos, share: VisitedShare, after: After = None) -> HTMLResponse:
    """Show the photos of the share."""
    return render(
        request,
        "shared.html",
        share=share,
        address=share_address(share),
        grid=_grid(photos, share, after),
        photos=_count(photos, share),
        most_archived=MOST_ARCHIVED,
    )


def _count(photos: SharedPhotos, share: Share) -> int:
    return sum(section.photos for section in photos.sections(share))


@router.get(SHARES + "{share_id}/photos/{photo_id}")
@requires(Access.VISITOR)
def show_photo(request: Request, photos: Photos, share: VisitedShare, photo_id: VisitedPhoto) -> HTMLResponse:
    """Show a photo of the share with its landmarks, its date and, if the share has positions, its place."""
    opened = photos.photo(share, photo_id)
    return render(
        request,
        "shared_photo.html",
        share=share,
        address=share_address(share),
        photo=opened.photo,
        previous=opened.previous and _photo_address(share, opened.previous),
        following=opened.following and _photo_address(share, opened.following),
    )


def _grid(photos: SharedPhotos, share: Share, after: str | None) -> PhotoGrid:
    address = share_address(share)
    page = photos.page(share, after, PAGE_SIZE)
    tiles = (_tile(share, photo) for photo in page.photos)
    return PhotoGrid(
        sections=tuple(photo_sections(tiles, by_day=share.query.trip is not None)),
        source=address,
        options=f"?sort={share.query.sort}",
        next_page=address_of(address, {"after": page.next}) if page.next else None,
        first_page=address if after else None,
    )


def _tile(share: Share, photo: TaggedPhoto) -> PhotoTile:
    address = _photo_address(share, photo.id)
    small, large = (f"{address}/thumbnail?size={side_px}" for side_px in (256, 512))
    return replace(photo_tile(photo, QueryParams.of()), address=address, small=small, large=large)


def _photo_address(share: Share, photo_id: int) -> str:
    return f"{share_address(share)}/photos/{photo_id}"


data_router = APIRouter(
    prefix=SHARES.rstrip("/") + "/{share_id}", include_in_schema=False, route_class=SharedRoute
)

MOST_SKIPPED = 100_000
"""Photos of a month that a request may skip: the database reads them."""


@data_router.get("/photos/{photo_id}/thumbnail")
@requires(Access.VISITOR)
async def thumbnail(
    request: Request, state: State, photo_id: VisitedPhoto, size: ThumbnailSize = ThumbnailSize.SMALL
) -> Response:
    """Return the photo, small."""
    return await photo_images.thumbnail(request, state, photo_id, size)


@data_router.get("/photos/{photo_id}/preview")
@requires(Access.VISITOR)
async def preview(request: Request, state: State, photo_id: VisitedPhoto) -> Response:
    """Return the photo as large as visitors see it: they get no originals, which have metadata."""
    return await photo_images.preview(request, state, photo_id)


@data_router.get("/photos/{photo_id}/download")
@requires(Access.VISITOR)
async def download_photo(request: Request, state: State, photo_id: VisitedPhoto) -> Response:
    """Download the photo as a JPEG, which all programs read, without metadata."""
    return await photo_images.jpeg(request, state, photo_id)


@data_router.get("/download")
@requires(Access.VISITOR)
def download_all(request: Request, state: State, photos: Photos, share: VisitedShare) -> StreamingResponse:
    """Download all photos, each as by `download_photo`, as a ZIP archive. It ends when the share does."""
    if _count(photos, share) > MOST_ARCHIVED:
        text = gettext("More than %(count)s photos cannot be downloaded at once.", count=MOST_ARCHIVED)
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, text)
    return download_of(_archive_parts(request, state, photos, share), "application/zip", "photos.zip")


async def _archive_parts(
    request: Request, state: AppState, photos: SharedPhotos, share: Share
) -> AsyncIterator[bytes]:
    archive = Archive()
    after: str | None = ""
    with suppress(HTTPException, TaggerError):  # the share has ended
        while after is not None:
            page = await run_sync(photos.page, share, after, PAGE_SIZE)
            for photo in page.photos:
                stored = await run_sync(_shared_file, request, state, photos, share, photo.id)
                if stored is not None:
                    name, file = f"{PurePath(photo.path).stem}.jpg", await _jpeg_file(state, stored)
                    for part in archive.add(photo.id, name, file, photo.taken_at):
                        yield part
            after = page.next
        yield archive.end()


def _shared_file(
    request: Request, state: AppState, photos: SharedPhotos, share: Share, photo_id: int
) -> StoredPhoto | None:
    """The photo, if it is still shared.

    Raises:
        HTTPException, TaggerError: the share has ended.
    """
    visited_share(request, state, share.id)
    with suppress(PhotoIdNotFound):
        if photos.contains(share, photo_id):
            return stored_photo(state.database, photo_id, state.settings.roots)
    return None


async def _jpeg_file(state: AppState, photo: StoredPhoto) -> OpenFile | PhotoUnavailable:
    """The photo as a JPEG, or an error that names no folder."""
    try:
        jpeg = await photo_images.download(state, photo)
    except PhotoUnavailable as error:
        return PhotoUnavailable(error.status, error.kind, gettext(NOT_NOW))
    return OpenFile(BytesIO(jpeg), len(jpeg), mtime_ns=0)


@data_router.get("/timeline")
@requires(Access.VISITOR)
def timeline(photos: Photos, share: VisitedShare) -> Response:
    """Count the photos of each month."""
    return DocumentResponse(photos.sections(share))


@data_router.get("/timeline/photos")
@requires(Access.VISITOR)
def timeline_photos(
    photos: Photos,
    share: VisitedShare,
    month: Annotated[str | None, Query(max_length=20)] = None,
    after: After = None,
    skip: Annotated[int, Query(ge=0, lt=MOST_SKIPPED)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List photos of a month in brief."""
    page = photos.page(share, after, limit, month=month, skip=skip)
    return DocumentResponse(TimelinePage([timeline_photo(photo) for photo in page.photos], page.next))


async def _without_reason(request: Request, error: PhotoUnavailable) -> Response:
    """The response to a failure without its text, which may name folders."""
    response = await photo_images.unavailable_response(request, error)
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return response
    return DocumentResponse({"error": gettext(NOT_NOW)}, HTTPStatus.NOT_FOUND)
