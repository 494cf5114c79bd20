"""What is to review: groups of photos of a landmark, to confirm at once, and the queue, one photo after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.errors import CursorInvalid
from tagger.library.catalog.landmarks import Landmark, find_landmark
from tagger.library.query.counts import find_examples
from tagger.library.query.tagged_photos import TaggedPhoto, has_photos
from tagger.library.teaching.suggestions import (
    COUNT_LIMIT,
    ReviewEntry,
    ReviewPosition,
    count_to_review,
    first_to_review,
    next_to_review,
)
from tagger.system.text_format import N_, gettext, number_text, percent
from tagger.web.http.query_params import QueryParams
from tagger.web.http.templates import render
from tagger.web.pages.tiles import PhotoTile, landmark_address, photo_tiles, thumbnail_address
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

SHOWN = 200
"""Photos of the groups; the others follow once these have verdicts."""
EXAMPLES = 6
"""Photos of the landmark beside the one to review."""


@dataclass(frozen=True)
class Place:
    """Where in the queue a page is: of one landmark (`only`) or of all, after an entry, and how many entries came before."""

    only: str | None
    after: str | None
    number: int

    def address(self) -> str:
        """Return the address of the page."""
        number = self.number if self.number > 1 else None
        options = {"landmark": self.only, "after": self.after, "number": number}
        query = urlencode({name: value for name, value in options.items() if value is not None})
        return f"/review/one?{query}" if query else "/review/one"


OnlyLandmark = Annotated[str | None, Query(max_length=1000)]


def _place(
    landmark: OnlyLandmark = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
    number: Annotated[int, Query(ge=1, lt=2**31)] = 1,
) -> Place:
    return Place(landmark or None, after or None, number)


QueuePlace = Annotated[Place, Depends(_place)]


@dataclass(frozen=True)
class Example:
    """Another photo of the landmark."""

    address: str
    image: str


@dataclass(frozen=True)
class Question:
    """A photo and a landmark to review. `next` is the address of the following page, `total` how many entries there are as far as counted."""

    photo: TaggedPhoto
    file: str
    landmark: Landmark
    score: float
    why: str
    examples: tuple[Example, ...]
    number: int
    total: str
    next: str
    landmark_address: str


@dataclass(frozen=True)
class Group:
    """Photos that perhaps show a landmark."""

    landmark: Landmark
    tiles: tuple[PhotoTile, ...]


@router.get("/review")
def show_groups(request: Request, state: State, landmark: OnlyLandmark = None) -> HTMLResponse:
    """Show the first entries of the queue in groups by landmark, what is probable first."""
    only = _only(state, landmark or None)
    only_id = None if only is None else only.id
    shown = first_to_review(state.database, only_id, state.settings.roots, SHOWN)
    by_landmark: dict[str, list[TaggedPhoto]] = {}
    for photo in shown:
        by_landmark.setdefault(photo.tags[0].landmark, []).append(photo)
    return render(
        request,
        "review.html",
        groups=[_group(state, slug, photos) for slug, photos in by_landmark.items()],
        only=only,
        one_by_one=Place(landmark or None, None, 1).address(),
        left=count_to_review(state.database, only_id) - len(shown),
        has_photos=has_photos(state.database),
    )


def _group(state: AppState, slug: str, photos: Sequence[TaggedPhoto]) -> Group:
    with state.database.read() as connection:
        landmark = find_landmark(connection, slug)
    return Group(landmark, tuple(photo_tiles(state.database, photos, QueryParams.of(any_rank=True))))


@router.get("/review/one")
def show_review(request: Request, state: State, place: QueuePlace) -> Response:
    """Show the entry of the queue after the one that the address names."""
    only = _only(state, place.only)
    only_id = None if only is None else only.id
    try:
        after = None if place.after is None else ReviewPosition.of_cursor(place.after)
        entry = next_to_review(state.database, only_id, state.settings.roots, after)
    except CursorInvalid:
        return RedirectResponse(Place(place.only, None, 1).address(), HTTPStatus.SEE_OTHER)
    return render(
        request,
        "review_one.html",
        question=None if entry is None else _question(state, place, only_id, entry),
        only=only,
        left=count_to_review(state.database, only_id) if entry is None else 0,
        start=Place(place.only, None, 1).address(),
        has_photos=has_photos(state.database),
    )


def _only(state: AppState, landmark: str | None) -> Landmark | None:
    if landmark is None:
        return None
    with state.database.read() as connection:
        return find_landmark(connection, landmark)


def _question(state: AppState, place: Place, only_id: int | None, entry: ReviewEntry) -> Question:
    photo, position = entry.photo, entry.position
    with state.database.read() as connection:
        landmark = find_landmark(connection, photo.tags[0].landmark)
        examples = [each for each in find_examples(connection, landmark.id) if each.digest != photo.digest]
    left = 1 + count_to_review(state.database, only_id, position)
    kind = N_("Suggested: %(score)s") if position.is_suggestion else N_("Recognised, but not sure: %(score)s")
    return Question(
        photo=photo,
        file=PurePath(photo.path).name,
        landmark=landmark,
        score=position.score,
        why=gettext(kind, score=percent(position.score)),
        examples=tuple(
            Example(f"/photos/{each.photo_id}", thumbnail_address(each.photo_id, each.digest, 256))
            for each in examples[:EXAMPLES]
        ),
        number=place.number,
        total=number_text(place.number - 1 + left) + ("+" if left > COUNT_LIMIT else ""),
        next=Place(place.only, position.cursor, place.number + 1).address(),
        landmark_address=landmark_address(landmark.slug),
    )
