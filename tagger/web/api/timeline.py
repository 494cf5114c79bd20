"""A sorted result in sections, for views that show any part of it: the sections, the photos of one, and ids alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Annotated

from fastapi import Depends, Query

from tagger.library.query.find import ScanPosition, decode_cursor, encode_cursor
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.query.timeline import (
    Section,
    SectionStart,
    count_copies,
    find_section_ids,
    find_section_page,
)
from tagger.system.documents import document_of
from tagger.system.text_format import N_, gettext, percent
from tagger.web.api.routes import api_router
from tagger.web.http.attempt_limiter import COUNTING
from tagger.web.http.query_params import QueryParams, query_params
from tagger.web.state import State

NO_LANDMARK = N_("No landmark")
NOT_A_LANDMARK = N_("Not a landmark")
"""Of a photo that a person put away."""


def headline(accepted: Sequence[str], guess: str | None, refusal: str | None = None) -> str:
    """Return the names of the accepted landmarks; without any, the best guess, or why it is refused: `Not Mucem: 9,560 km away by GPS`."""
    if accepted:
        return ", ".join(accepted)
    if guess and refusal:
        return gettext("Not %(name)s: %(reason)s", name=guess, reason=refusal)
    return gettext("Perhaps %(name)s", name=guess) if guess else gettext(NO_LANDMARK)


def with_score(text: str, score: float) -> str:
    """`Perhaps Mucem, 56 %`."""
    return f"{text}, {percent(score)}"


def guess_text(photo: TaggedPhoto) -> str:
    """Return what a photo without a landmark perhaps shows, and its score, or why it does not; empty if there is no guess."""
    guess = photo.guess
    if guess is None:
        return ""
    words = headline((), guess.name, photo.refusal)
    return words if photo.refusal else with_score(words, guess.score or 0.0)


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


@dataclass(frozen=True)
class TimelinePhoto:
    """A photo in brief: its accepted landmark with the score, and how many `copies` of its image there are, itself included.

    `guess`: what a photo without one perhaps shows, in words, with the score. `confirmed`: a person confirmed the landmark; `dismissed`: a
    person put the photo away as not a landmark. `files`: how many files it has, two for a JPEG with its RAW file.
    """

    id: int
    file: str
    files: int
    digest: str | None
    width: int | None
    height: int | None
    taken_at: datetime | None
    name: str | None
    score: float | None
    guess: str | None
    confirmed: bool
    dismissed: bool
    copies: int


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
def timeline(state: State, params: Params) -> Sequence[Section]:
    """Count the photos of each month in the order of the result; of one that is not in order of time, all photos."""
    with params.model_checked():
        return state.section_counts.get(params.query)


@router.get("/timeline/photos")
def timeline_photos(
    state: State,
    params: Params,
    start: Start,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
) -> TimelinePage:
    """List photos of a section in brief, page by page, from any place in it."""
    with params.model_checked():
        page = find_section_page(state.database, params.query, state.settings.roots, start, limit)
    copies = count_copies(state.database, [photo.digest for photo in page.photos if photo.digest])
    photos = [_document(photo, copies.get(photo.digest or "", 1)) for photo in page.photos]
    return TimelinePage(photos, _cursor(page.next, params.query))


@router.get("/timeline/ids")
def timeline_ids(
    state: State,
    params: Params,
    start: Start,
    limit: Annotated[int, Query(ge=1, le=20_000, description="The page size.")] = 10_000,
) -> TimelineIds:
    """List the ids alone of a section's photos; without `month`, of all sections."""
    with params.model_checked():
        ids, following = find_section_ids(state.database, params.query, state.settings.roots, start, limit)
    return TimelineIds(ids, _cursor(following, params.query))


def _document(photo: TaggedPhoto, copies: int) -> TimelinePhoto:
    tag = next((tag for tag in photo.tags if tag.accepted), None)
    return document_of(
        TimelinePhoto,
        photo,
        file=PurePath(photo.path).name,
        name=tag and tag.name,
        score=tag and tag.score,
        guess=guess_text(photo) or None,
        confirmed=tag is not None and tag.verdict == "confirmed",
        dismissed=photo.is_dismissed,
        copies=copies,
    )


def _cursor(position: ScanPosition | None, query: PhotoQuery) -> str | None:
    return None if position is None else encode_cursor(position, query)
