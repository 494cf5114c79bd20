"""What visitors with the link of a share see: its photos in a grid, each photo, and what these pages load."""

from dataclasses import replace
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.library.query.details import photo_details_by_id
from tagger.library.query.find import decode_cursor, encode_cursor, find_surrounding, find_tagged_page
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.query.timeline import SectionStart, find_section_page
from tagger.library.shares.links import Share
from tagger.web.api import photo_images
from tagger.web.http.attempt_limiter import LINKS, SHARES
from tagger.web.http.query_params import QueryParams, address_of
from tagger.web.http.responses import DocumentResponse
from tagger.web.http.templates import render
from tagger.web.media.thumbnails import ThumbnailSize
from tagger.web.pages.photo import shown_position
from tagger.web.pages.photos import PAGE_SIZE, After, PhotoGrid, photo_months
from tagger.web.pages.share_visits import (
    SharedRoute,
    VisitedPhoto,
    VisitedShare,
    set_share_cookie,
    share_address,
    valid_share,
)
from tagger.web.pages.tiles import PhotoTile, landmark_rows, photo_tile
from tagger.web.state import AppState, State

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse, route_class=SharedRoute)


@router.get(LINKS + "{token}")
def open_link(request: Request, state: State, token: str) -> Response:
    """Lead to the share of the link."""
    share = valid_share(request, state, token)
    response = RedirectResponse(
        share_address(share), HTTPStatus.SEE_OTHER, {"Referrer-Policy": "no-referrer"}
    )
    set_share_cookie(request, state, response, share, token)
    return response


@router.get(SHARES + "{share_id}")
def show_share(request: Request, state: State, share: VisitedShare, after: After = None) -> HTMLResponse:
    """Show the photos of the share."""
    return render(
        request,
        "shared.html",
        share=share,
        address=share_address(share),
        grid=_grid(state, share, after),
        photos=sum(section.photos for section in state.section_counts.get(share.query)),
    )


@router.get(SHARES + "{share_id}/photos/{photo_id}")
def show_photo(request: Request, state: State, share: VisitedShare, photo_id: VisitedPhoto) -> HTMLResponse:
    """Show a photo of the share with its landmarks, its date and, if the share has positions, its place."""
    roots = state.settings.roots
    details = photo_details_by_id(state.database, photo_id, roots)
    rows = landmark_rows(details)
    around = find_surrounding(state.database, share.query, roots, photo_id, before=1, after=1)
    return render(
        request,
        "shared_photo.html",
        share=share,
        address=share_address(share),
        photo=details.photo,
        names=[row.name for row in rows if row.is_accepted],
        file=PurePath(details.photo.path).name,
        position=shown_position(details, rows) if share.with_positions else None,
        previous=next((_photo_address(share, photo) for photo in around.previous), None),
        following=next((_photo_address(share, photo) for photo in around.following), None),
    )


def _grid(state: AppState, share: Share, after: str | None) -> PhotoGrid:
    query, address = share.query, share_address(share)
    start = decode_cursor(after, query) if after else None
    page = find_tagged_page(state.database, query, state.settings.roots, start, PAGE_SIZE)
    cursor = None if page.next is None else encode_cursor(page.next, query)
    return PhotoGrid(
        months=tuple(photo_months([_tile(share, photo) for photo in page.photos])),
        source=address,
        options=f"?sort={query.sort}",
        next_page=address_of(address, {"after": cursor}) if cursor else None,
        first_page=address if after else None,
    )


def _tile(share: Share, photo: TaggedPhoto) -> PhotoTile:
    """The tile of a photo: without scores, guesses and verdicts, which are not for visitors."""
    tags = tuple(replace(tag, score=None, verdict=None) for tag in photo.tags)
    unscored = replace(photo, files=1, tags=tags, guess=None, refusal=None, is_dismissed=False)
    tile = photo_tile(unscored, QueryParams({}, share.query))
    address = _photo_address(share, photo)
    small, large = (f"{address}/thumbnail?size={side_px}" for side_px in (256, 512))
    return replace(tile, address=address, small=small, large=large)


def _photo_address(share: Share, photo: TaggedPhoto) -> str:
    return f"{share_address(share)}/photos/{photo.id}"


data_router = APIRouter(
    prefix=SHARES.rstrip("/") + "/{share_id}", include_in_schema=False, route_class=SharedRoute
)

UNAVAILABLE = "This photo cannot be shown now. Try again later."

MOST_SKIPPED = 100_000
"""Of a month. The database reads what is skipped."""
Around = Annotated[int, Query(ge=0, le=50)]
"""As many as the page asks for. In a result with few matches, each of them is searched for."""


@data_router.get("/photos/{photo_id}/thumbnail")
async def thumbnail(
    request: Request, state: State, photo_id: VisitedPhoto, size: ThumbnailSize = ThumbnailSize.SMALL
) -> Response:
    """Return the photo, small."""
    return _without_reason(await photo_images.thumbnail(request, state, photo_id, size))


@data_router.get("/photos/{photo_id}/preview")
async def preview(request: Request, state: State, photo_id: VisitedPhoto) -> Response:
    """Return the photo as large as visitors see it: they get no originals, which have metadata."""
    return _without_reason(await photo_images.preview(request, state, photo_id))


@data_router.get("/timeline")
def timeline(state: State, share: VisitedShare) -> Response:
    """Count the photos of each month."""
    return DocumentResponse([vars(section) for section in state.section_counts.get(share.query)])


@data_router.get("/timeline/photos")
def timeline_photos(
    state: State,
    share: VisitedShare,
    month: Annotated[str | None, Query(max_length=20)] = None,
    after: After = None,
    skip: Annotated[int, Query(ge=0, lt=MOST_SKIPPED)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List photos of a month in brief."""
    query = share.query
    start = SectionStart(month, decode_cursor(after, query) if after else None, skip)
    page = find_section_page(state.database, query, state.settings.roots, start, limit)
    cursor = None if page.next is None else encode_cursor(page.next, query)
    return DocumentResponse({"photos": [_document(photo) for photo in page.photos], "next": cursor})


@data_router.get("/photos/{photo_id}/neighbours")
def neighbours(
    state: State,
    share: VisitedShare,
    photo_id: VisitedPhoto,
    previous: Around = 1,
    following: Annotated[int, Query(alias="next", ge=0, le=50)] = 1,
) -> Response:
    """List the photos before and after one, the nearest first."""
    roots = state.settings.roots
    found = find_surrounding(state.database, share.query, roots, photo_id, before=previous, after=following)
    sides = {"previous": found.previous, "next": found.following}
    return DocumentResponse({side: [_document(photo) for photo in photos] for side, photos in sides.items()})


def _document(photo: TaggedPhoto) -> dict[str, Any]:
    """A photo as `/api/timeline/photos` lists it, without what is not for visitors: scores, verdicts, digest and copies."""
    tag = next((tag for tag in photo.tags if tag.accepted), None)
    return {
        "id": photo.id,
        "file": PurePath(photo.path).name,
        "files": 1,
        "width": photo.width,
        "height": photo.height,
        "taken_at": photo.taken_at and photo.taken_at.isoformat(),
        "name": tag and tag.name,
        "score": None,
        "confirmed": False,
        "copies": 1,
    }


def _without_reason(response: Response) -> Response:
    """The response; a failure without its text, which may name folders."""
    if response.status_code < HTTPStatus.BAD_REQUEST or response.status_code == photo_images.CLIENT_LEFT:
        return response
    return DocumentResponse({"error": UNAVAILABLE}, HTTPStatus.NOT_FOUND)
