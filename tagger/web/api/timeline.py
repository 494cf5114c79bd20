"""A sorted result in sections, for views that show any part of it: the sections, the photos of one, and ids alone."""

from pathlib import PurePath
from typing import Annotated, Any

from fastapi import Depends, Query

from tagger.library.query.cursors import decode_cursor, encode_cursor
from tagger.library.query.find import ScanPosition
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.query.timeline import SectionStart, count_copies, find_section_ids, find_section_page
from tagger.web.api import schemas
from tagger.web.api.routes import api_router
from tagger.web.headlines import guess_text
from tagger.web.http.query_params import QueryParams, query_params
from tagger.web.state import State

router = api_router("photos")

MOST_SKIPPED = 2**31


def timeline_params(params: Annotated[QueryParams, Depends(query_params)]) -> QueryParams:
    """The query, by default with the newest photos first, unknown ones by their scores. Exact copies are one photo."""
    return params.as_timeline()


def section_start(
    params: Annotated[QueryParams, Depends(timeline_params)],
    month: Annotated[
        str | None,
        Query(max_length=20, description="The section's month: 2024-06, or none for photos without a date."),
    ] = None,
    after: Annotated[str | None, Query(description="`next` of the previous page.")] = None,
    skip: Annotated[int, Query(ge=0, lt=MOST_SKIPPED, description="How many photos to skip.")] = 0,
) -> SectionStart:
    """The place in a section at which a request starts."""
    return SectionStart(month, decode_cursor(after, params.query) if after else None, skip)


Params = Annotated[QueryParams, Depends(timeline_params)]
Start = Annotated[SectionStart, Depends(section_start)]


@router.get("/timeline", response_model=list[schemas.TimelineSection])
def timeline(state: State, params: Params) -> list[dict[str, Any]]:
    """Count the photos of each month in the order of the result; of one that is not in order of time, all photos."""
    with params.model_checked():
        return [vars(section) for section in state.section_counts.get(params.query)]


@router.get("/timeline/photos", response_model=schemas.TimelinePage)
def timeline_photos(
    state: State,
    params: Params,
    start: Start,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
) -> dict[str, Any]:
    """List photos of a section in brief, page by page, from any place in it."""
    with params.model_checked():
        page = find_section_page(state.database, params.query, state.settings.roots, start, limit)
    copies = count_copies(state.database, [photo.digest for photo in page.photos if photo.digest])
    photos = [_document(photo, copies.get(photo.digest or "", 1)) for photo in page.photos]
    return {"photos": photos, "next": _cursor(page.next, params.query)}


@router.get("/timeline/ids", response_model=schemas.TimelineIds)
def timeline_ids(
    state: State,
    params: Params,
    start: Start,
    limit: Annotated[int, Query(ge=1, le=20_000, description="The page size.")] = 10_000,
) -> dict[str, Any]:
    """List the ids alone of a section's photos; without `month`, of all sections."""
    with params.model_checked():
        ids, following = find_section_ids(state.database, params.query, state.settings.roots, start, limit)
    return {"ids": ids, "next": _cursor(following, params.query)}


def _document(photo: TaggedPhoto, copies: int) -> dict[str, Any]:
    tag = next((tag for tag in photo.tags if tag.accepted), None)
    return {
        "id": photo.id,
        "file": PurePath(photo.path).name,
        "files": photo.files,
        "digest": photo.digest,
        "width": photo.width,
        "height": photo.height,
        "taken_at": photo.taken_at and photo.taken_at.isoformat(),
        "name": tag and tag.name,
        "score": tag and tag.score,
        "guess": guess_text(photo) or None,
        "confirmed": tag is not None and tag.verdict == "confirmed",
        "dismissed": photo.is_dismissed,
        "copies": copies,
    }


def _cursor(position: ScanPosition | None, query: PhotoQuery) -> str | None:
    return None if position is None else encode_cursor(position, query)
