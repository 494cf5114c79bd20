"""What the page of a share loads: images of its photos, and the lists that its scripts ask for."""

from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from tagger.library.query.cursors import decode_cursor, encode_cursor
from tagger.library.query.neighbours import find_surrounding
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.query.timeline import SectionStart, find_section_page
from tagger.web.api import photo_images
from tagger.web.http.attempt_limiter import SHARES
from tagger.web.http.responses import DocumentResponse
from tagger.web.media.thumbnails import ThumbnailSize
from tagger.web.pages.photos import After
from tagger.web.pages.share_visits import SharedRoute, VisitedPhoto, VisitedShare
from tagger.web.state import State

router = APIRouter(
    prefix=SHARES.rstrip("/") + "/{share_id}", include_in_schema=False, route_class=SharedRoute
)

UNAVAILABLE = "This photo cannot be shown now. Try again later."

MOST_SKIPPED = 100_000
"""Of a month. The database reads what is skipped."""
Around = Annotated[int, Query(ge=0, le=50)]
"""As many as the page asks for. In a result with few matches, each of them is searched for."""


@router.get("/photos/{photo_id}/thumbnail")
async def thumbnail(
    request: Request, state: State, photo_id: VisitedPhoto, size: ThumbnailSize = ThumbnailSize.SMALL
) -> Response:
    """Return the photo, small."""
    return _without_reason(await photo_images.thumbnail(request, state, photo_id, size))


@router.get("/photos/{photo_id}/preview")
async def preview(request: Request, state: State, photo_id: VisitedPhoto) -> Response:
    """Return the photo as large as visitors see it: they get no originals, which have metadata."""
    return _without_reason(await photo_images.preview(request, state, photo_id))


@router.get("/timeline")
def timeline(state: State, share: VisitedShare) -> Response:
    """Count the photos of each month."""
    return DocumentResponse([vars(section) for section in state.section_counts.get(share.query)])


@router.get("/timeline/photos")
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


@router.get("/photos/{photo_id}/neighbours")
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
