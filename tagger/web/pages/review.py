"""Pages to review: groups that are confirmed at once, single photos, and unknown photos that look alike.

Another page shows the photos that resemble a given one, as `tagger similar`.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from tagger.errors import EmbeddingsMissing, ExamplesMissing, ModelNotSelected, TaggerError
from tagger.landmarks.landmarks import Landmark, find_landmark
from tagger.query.counts import Cover, example_covers
from tagger.query.tagged_photos import TaggedPhoto, stored_photo
from tagger.system.text_format import gettext, percent
from tagger.teaching.similarity import (
    LEAST_LIKELIHOOD,
    LookAlikes,
    find_look_alikes,
    photos_of_groups,
    place_likelihood,
)
from tagger.teaching.suggestions import count_suggestions, suggestion_page
from tagger.web.api.photos import PhotoNumber
from tagger.web.api.teaching import similar_photos
from tagger.web.http.access import Access, requires
from tagger.web.http.error_texts import page_text
from tagger.web.http.query_params import QueryParams, address_of
from tagger.web.http.templates import render
from tagger.web.pages.overview import Overview
from tagger.web.pages.tiles import PhotoTile, photo_tiles
from tagger.web.state import AppState, ServerStopping, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
log = logging.getLogger(__name__)

SHOWN = 200
"""Photos of the groups; the others follow once these have verdicts."""
ONE_BY_ONE = 50
"""Photos that are shown one by one."""
EXAMPLES = 6
"""Photos of the landmark beside the one to review."""
SHOWN_OF_GROUP = 60
"""Photos of a group of look-alikes that are shown; the others follow once these are named or put away."""
SIMILAR = 60
"""Photos on the page of similar ones."""

OnlyLandmark = Annotated[str | None, Query(max_length=1000)]


@router.get("/review")
@requires(Access.EDITOR)
def show_groups(request: Request, state: State, landmark: OnlyLandmark = None) -> HTMLResponse:
    """Show the first entries of the queue in groups by landmark, the most probable ones first."""
    only = _only(state, landmark)
    shown, left = _first_to_review(state, only, SHOWN)
    by_landmark: dict[str, list[TaggedPhoto]] = {}
    for photo in shown:
        by_landmark.setdefault(photo.tags[0].landmark, []).append(photo)
    with state.database.read() as connection:
        landmarks = {slug: find_landmark(connection, slug) for slug in by_landmark}
    params = QueryParams.of(any_rank=True)
    return render(
        request,
        "review.html",
        groups=[
            {"landmark": landmarks[slug], "tiles": photo_tiles(state.database, photos, params)}
            for slug, photos in by_landmark.items()
        ],
        only=only,
        one_by_one=address_of("/review/one", {"landmark": landmark} if landmark else {}),
        left=left,
    )


@router.get("/review/one")
@requires(Access.EDITOR)
def show_one_by_one(request: Request, state: State, landmark: OnlyLandmark = None) -> HTMLResponse:
    """Show the first entries of the queue, each large, beside other photos of its landmark."""
    only = _only(state, landmark)
    shown, left = _first_to_review(state, only, ONE_BY_ONE)
    with state.database.read() as connection:
        landmarks = {
            slug: find_landmark(connection, slug) for slug in {photo.tags[0].landmark for photo in shown}
        }
        covers = {slug: example_covers(connection, each.id) for slug, each in landmarks.items()}
    entries = [_entry(photo, landmarks, covers) for photo in shown]
    return render(request, "review_one.html", entries=entries, only=only, left=left)


def _entry(
    photo: TaggedPhoto, landmarks: Mapping[str, Landmark], covers: Mapping[str, Sequence[Cover]]
) -> dict[str, object]:
    """A photo and a landmark to review. `examples`: other photos of the landmark."""
    tag = photo.tags[0]
    return {
        "photo": photo,
        "file": PurePath(photo.path).name,
        "landmark": landmarks[tag.landmark],
        "why": gettext("Suggested: %(score)s", score=percent(tag.score or 0.0)),
        "examples": [each for each in covers[tag.landmark] if each.digest != photo.digest][:EXAMPLES],
    }


def _only(state: AppState, landmark: str | None) -> Landmark | None:
    if not landmark:
        return None
    with state.database.read() as connection:
        return find_landmark(connection, landmark)


def _first_to_review(state: AppState, only: Landmark | None, most: int) -> tuple[list[TaggedPhoto], int]:
    """The photos of the first entries, each with its landmark as the only tag, and how many are left."""
    only_id = None if only is None else only.id
    shown, _ = suggestion_page(state.database, only_id, state.settings.roots, None, most)
    return shown, count_suggestions(state.database, only_id) - len(shown)


@router.get("/review/look-alikes")
@requires(Access.EDITOR)
def show_look_alikes(request: Request, state: State, overview: Overview) -> HTMLResponse:
    """Show groups of unknown photos that look alike, the likeliest places first, once they are found."""
    found = overview.look_alikes()
    groups = photos_of_groups(state.database, found.groups if found else (), state.settings.roots)
    params = QueryParams.of(unknown=True)
    return render(
        request,
        "look_alikes.html",
        groups=[
            {
                "photos": len(photos),
                "tiles": photo_tiles(state.database, photos[:SHOWN_OF_GROUP], params),
                "is_likely": place_likelihood(photos) >= LEAST_LIKELIHOOD,
            }
            for photos in groups
        ],
        is_complete=found is not None,
        compared=found.compared if found and found.is_limited else None,
    )


def look_alikes_of(state: AppState) -> LookAlikes:
    """Return the groups of now; none if no model in use gives embeddings, or if the server stops."""

    def check_stopping(_count: int) -> None:
        if state.stopping.is_set():
            raise ServerStopping

    try:
        return find_look_alikes(state.database, state.embedding_model(), on_progress=check_stopping)
    except ServerStopping:
        pass
    except TaggerError as error:  # photos can be looked at without a model
        log.info("unknown photos are not compared: %s", error)
    return LookAlikes((), 0, is_limited=False)


@router.get("/photos/{photo_id}/similar")
@requires(Access.VIEWER)
def show_similar(request: Request, state: State, photo_id: PhotoNumber) -> HTMLResponse:
    """Show the photos that resemble a photo most, best first."""
    photo = stored_photo(state.database, photo_id, state.settings.roots)
    tiles: list[PhotoTile] = []
    problem = ""
    try:
        similar = similar_photos(state, photo_id, SIMILAR)
        tiles = photo_tiles(state.database, similar, QueryParams.of(any_rank=True))
    except (EmbeddingsMissing, ExamplesMissing, ModelNotSelected) as error:
        problem = page_text(error)
    return render(
        request,
        "similar.html",
        id=photo_id,
        file=PurePath(photo.path).name,
        tiles=tiles,
        problem=problem,
    )
