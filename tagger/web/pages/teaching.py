"""Unknown photos that look alike, and photos that look like one, as `tagger similar`."""

import logging
from dataclasses import dataclass, replace
from pathlib import PurePath

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tagger.errors import EmbeddingsMissing, ExamplesMissing, ModelNotSelected, TaggerError
from tagger.library.query.tagged_photos import TaggedPhoto, has_photos, stored_photo
from tagger.library.teaching.similarity import LookAlikes, find_look_alikes, photos_of_groups
from tagger.web.api.teaching import similar_photos
from tagger.web.http.error_responses import page_text
from tagger.web.http.query_params import QueryParams
from tagger.web.http.templates import render
from tagger.web.pages.overview import Overview
from tagger.web.pages.photo import PhotoNumber
from tagger.web.pages.photos import PhotoGrid, without_months
from tagger.web.pages.tiles import PhotoTile, photo_tiles, thumbnail_address
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
log = logging.getLogger(__name__)

SHOWN = 60
"""Photos of a group that are shown; the others follow once these are named or put away."""


@dataclass(frozen=True)
class Group:
    """Photos that look alike: those that are shown, and how many there are."""

    tiles: tuple[PhotoTile, ...]
    photos: int


@router.get("/review/look-alikes")
def show_look_alikes(request: Request, state: State, overview: Overview) -> HTMLResponse:
    """Show groups of unknown photos that look alike, the largest first, once they are found."""
    found = overview.look_alikes()
    groups = () if found is None else found.groups
    return render(
        request,
        "look_alikes.html",
        groups=[
            _group(state, photos) for photos in photos_of_groups(state.database, groups, state.settings.roots)
        ],
        is_complete=found is not None,
        compared=found.compared if found and found.is_limited else None,
        has_photos=has_photos(state.database),
    )


def look_alikes_of(state: AppState) -> LookAlikes:
    """Return the groups of now; none if no model in use gives embeddings, or if the server stops."""

    def check_stopping(_count: int) -> None:
        if state.stopping.is_set():
            raise _Stopping

    try:
        return find_look_alikes(state.database, state.model(), on_progress=check_stopping)
    except _Stopping:
        return LookAlikes((), 0, is_limited=False)
    except TaggerError as error:  # photos can be looked at without a model
        log.info("unknown photos are not compared: %s", error)
        return LookAlikes((), 0, is_limited=False)


class _Stopping(Exception):
    """The server stops; the comparison ends."""


def _group(state: AppState, photos: list[TaggedPhoto]) -> Group:
    params = QueryParams.of(unknown=True)
    return Group(
        tiles=tuple(photo_tiles(state.database, photos[:SHOWN], params)),
        photos=len(photos),
    )


SIMILAR = 60
"""Photos on the page of similar ones."""


@router.get("/photos/{photo_id}/similar")
def show_similar(request: Request, state: State, photo_id: PhotoNumber) -> HTMLResponse:
    """Show the photos that resemble a photo most, best first."""
    photo = stored_photo(state.database, photo_id, state.settings.roots)
    problem = ""
    grid = None
    try:
        grid = _similar_grid(state, photo_id)
    except (EmbeddingsMissing, ExamplesMissing, ModelNotSelected) as error:
        problem = page_text(error)
    return render(
        request,
        "similar.html",
        id=photo_id,
        file=PurePath(photo.path).name,
        small=thumbnail_address(photo_id, photo.digest, 256),
        grid=grid,
        problem=problem,
    )


def _similar_grid(state: AppState, photo_id: int) -> PhotoGrid:
    params = QueryParams.of(any_rank=True)
    tiles = photo_tiles(state.database, similar_photos(state, photo_id, SIMILAR), params)
    return PhotoGrid(tuple(without_months([replace(tile, address=f"/photos/{tile.id}") for tile in tiles])))
