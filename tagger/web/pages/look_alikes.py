"""Unknown photos that look alike, in groups: each is named, or put away, at once."""

import logging
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from tagger.errors import TaggerError
from tagger.library.query.stored_photos import has_photos
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.teaching.look_alikes import LookAlikes, find_look_alikes, photos_of_groups
from tagger.web.http.query_params import QueryParams
from tagger.web.http.templates import render
from tagger.web.pages.overview import Overview
from tagger.web.pages.tiles import PhotoTile, photo_tiles
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


@router.get("/unknown/look-alikes")
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
