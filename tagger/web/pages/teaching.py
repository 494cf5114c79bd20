"""Learning a landmark from its confirmed photos, and photos that look like one. As `tagger teach` and `tagger similar`."""

from dataclasses import replace
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.errors import EmbeddingsMissing, ExamplesMissing, ModelNotSelected
from tagger.library.catalog.landmarks import find_landmark
from tagger.library.query.stored_photos import stored_photo
from tagger.library.teaching.teaching import update_taught
from tagger.web.api.teaching import similar_photos
from tagger.web.http.error_responses import page_text
from tagger.web.http.query_params import QueryParams
from tagger.web.http.templates import render
from tagger.web.pages.photo import PhotoNumber
from tagger.web.pages.photos import PhotoGrid, without_months
from tagger.web.pages.tiles import landmark_address, photo_tiles, thumbnail_address
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

SIMILAR = 60
"""Photos on the page of similar ones."""


@router.post("/landmarks/{slug}/learn")
def learn(state: State, slug: Annotated[str, Path(max_length=500)]) -> Response:
    """Learn a landmark from its verdicts, and compare all photos with it; then show its page with what was found."""
    with state.database.read() as connection:
        landmark = find_landmark(connection, slug)
    update_taught(state.database, state.model(), [landmark.id])
    return RedirectResponse(f"{landmark_address(landmark.slug)}?learned=1", HTTPStatus.SEE_OTHER)


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
