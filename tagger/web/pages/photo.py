"""The page of one photo, with its details and verdicts. Without JavaScript, forms replace the keys."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.errors import (
    LandmarkAmbiguous,
    LandmarkExists,
    LandmarkInvalid,
    LandmarkNotFound,
    LandmarkSlugTaken,
    TaggerError,
)
from tagger.ledger.progress import open_job_of_photo
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark
from tagger.library.catalog.landmarks import find_landmark
from tagger.library.query.details import PhotoDetails, photo_details_by_id
from tagger.library.query.find import find_neighbours
from tagger.library.query.tagged_photos import Position, TaggedPhoto, stored_photo
from tagger.library.query.trip_summaries import trip_of_photo
from tagger.library.verdicts import (
    VerdictKind,
    dismiss_photos,
    give_verdict,
    restore_photos,
    withdraw_verdict,
)
from tagger.photos.paths import parse_path
from tagger.web.api.timeline import NOT_A_LANDMARK
from tagger.web.api.verdicts import default_person
from tagger.web.http.error_responses import page_text
from tagger.web.http.query_params import ONE_LINE, QueryParams, query_params
from tagger.web.http.templates import render
from tagger.web.media.photo_files import PhotoUnavailable, open_stored
from tagger.web.pages.map_clusters import WORLD_VIEW_BOX, project
from tagger.web.pages.metadata import metadata_actions, outdated_sidecar
from tagger.web.pages.overview import library_overview
from tagger.web.pages.photos import QUERY_ERRORS, photos_name
from tagger.web.pages.tiles import (
    LandmarkRow,
    Link,
    landmark_address,
    landmark_name,
    landmark_rows,
    photo_address,
    photo_headline,
    trip_address,
)
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

PhotoNumber = Annotated[int, Path(ge=1, lt=2**63)]
Params = Annotated[QueryParams, Depends(query_params)]
Within = Annotated[str, Query(max_length=10)]

MIN_RADIUS_KM = 1.0
"""Photos around a photo are those within its error, and at least this radius."""


@dataclass(frozen=True)
class GridContext:
    """The grid from which the photo was opened, and the addresses of its neighbours there."""

    name: str
    address: str
    previous: str | None
    next: str | None


@router.get("/photos/{photo_id}")
def show_photo(
    request: Request, state: State, photo_id: PhotoNumber, params: Params, within: Within = ""
) -> HTMLResponse:
    """Show everything the database has about a photo."""
    return _render(request, state, photo_id, _grid_params(params, within))


@router.post("/photos/{photo_id}/verdict")
def give(
    request: Request,
    state: State,
    photo_id: PhotoNumber,
    params: Params,
    within: Within = "",
    landmark: Annotated[str, Form(max_length=1000), ONE_LINE] = "",
    verdict: Annotated[VerdictKind, Form()] = VerdictKind.CONFIRMED,
    withdraw: Annotated[bool, Form()] = False,
    instead: Annotated[bool, Form()] = False,
    new: Annotated[bool, Form()] = False,
) -> Response:
    """Give or withdraw (`withdraw`) a verdict, then show the photo again.

    `instead` rejects the landmarks that only the model accepted, `new` adds the landmark first.
    """
    database, roots = state.database, state.settings.roots
    grid_params = _grid_params(params, within)
    try:
        if withdraw:
            withdraw_verdict(database, photo_id, landmark, verdict, roots)
        else:
            if new:
                with database.write() as connection:
                    landmark = add_landmark(connection, NewLandmark(landmark)).slug
            # Beside the confirmed landmark, they are not accepted any more.
            others = _unconfirmed(state, photo_id) if instead else []
            result = give_verdict(database, photo_id, landmark, verdict, default_person(state), roots)
            _reject(state, photo_id, [slug for slug in others if slug != result.landmark.slug])
    except (LandmarkNotFound, LandmarkAmbiguous, LandmarkExists, LandmarkInvalid, LandmarkSlugTaken) as error:
        return _render(request, state, photo_id, grid_params, typed=landmark, instead=instead, problem=error)
    state.taught_updates.request()
    address = photo_address(photo_id, grid_params) if grid_params else f"/photos/{photo_id}"
    return RedirectResponse(f"{address}#landmarks", HTTPStatus.SEE_OTHER)


@router.post("/photos/{photo_id}/dismissal")
def dismiss(
    state: State,
    photo_id: PhotoNumber,
    params: Params,
    within: Within = "",
    withdraw: Annotated[bool, Form()] = False,
) -> Response:
    """Put the photo away as not a landmark, or bring it back (`withdraw`), then show it again."""
    if withdraw:
        restore_photos(state.database, [photo_id])
    else:
        dismiss_photos(state.database, [photo_id], default_person(state))
    state.taught_updates.request()
    grid_params = _grid_params(params, within)
    address = photo_address(photo_id, grid_params) if grid_params else f"/photos/{photo_id}"
    return RedirectResponse(f"{address}#landmarks", HTTPStatus.SEE_OTHER)


def _grid_params(params: QueryParams, within: str) -> QueryParams | None:
    """Return the query of the grid; None if the photo was opened by its address. The query of all photos has no options."""
    return params if within or params.options else None


def _render(
    request: Request,
    state: AppState,
    photo_id: int,
    grid_params: QueryParams | None,
    *,
    typed: str = "",
    instead: bool = True,
    problem: TaggerError | None = None,
) -> HTMLResponse:
    details = photo_details_by_id(state.database, photo_id, state.settings.roots)
    rows = landmark_rows(details)
    position = shown_position(details, rows)
    verdict_address, dismissal_address = (
        photo_address(photo_id, grid_params, subpath) if grid_params else f"/photos/{photo_id}{subpath}"
        for subpath in ("/verdict", "/dismissal")
    )
    return render(
        request,
        "photo.html",
        HTTPStatus.NOT_FOUND if problem else HTTPStatus.OK,
        id=photo_id,
        details=details,
        file=PurePath(details.photo.path).name,
        folder=str(parse_path(details.photo.path).parent),
        headline=NOT_A_LANDMARK if details.dismissal else photo_headline(rows, details.photo),
        rows=[row for row in rows if not row.is_unlikely],
        unlikely=[row for row in rows if row.is_unlikely],
        accepted=[row for row in rows if row.is_accepted],
        unconfirmed=[row for row in rows if row.state == "accepted"],
        position=position,
        point=_map_point(state, position, rows),
        near_here=_near_address(position),
        trip=_trip_link(request, state, details.photo),
        view_box=WORLD_VIEW_BOX,
        grid=None if grid_params is None else _grid_context(state, grid_params, photo_id),
        verdict_address=verdict_address,
        dismissal_address=dismissal_address,
        has_confirmed=any(row.state == "confirmed" for row in rows),
        unavailable=_unavailable_text(state, photo_id),
        name_of=partial(landmark_name, state.database),
        outdated=outdated_sidecar(state, photo_id) if details.metadata else None,
        metadata_actions=metadata_actions(state, details.photo.digest is not None),
        open_job=open_job_of_photo(state.database, photo_id),
        typed=typed,
        instead=instead,
        problem=page_text(problem) if problem else "",
        may_add=isinstance(problem, LandmarkNotFound),
    )


def _unconfirmed(state: AppState, photo_id: int) -> list[str]:
    """Return the landmarks that are accepted and nobody confirmed, by their slugs."""
    rows = landmark_rows(photo_details_by_id(state.database, photo_id, state.settings.roots))
    return [row.slug for row in rows if row.state == "accepted"]


def _reject(state: AppState, photo_id: int, slugs: Sequence[str]) -> None:
    roots = state.settings.roots
    for slug in slugs:
        give_verdict(state.database, photo_id, slug, VerdictKind.REJECTED, default_person(state), roots)


def _grid_context(state: AppState, params: QueryParams, photo_id: int) -> GridContext | None:
    try:
        with params.model_checked():
            neighbours = find_neighbours(
                state.database, params.as_timeline().query, state.settings.roots, photo_id
            )
            name, address = _grid_link(state, params)
    except QUERY_ERRORS:  # the photo can be shown all the same
        return None
    previous, following = (
        None if number is None else photo_address(number, params)
        for number in (neighbours.previous, neighbours.following)
    )
    return GridContext(name, address, previous, following)


def _grid_link(state: AppState, params: QueryParams) -> tuple[str, str]:
    filters = params.options.keys() - {"sort"}
    order = QueryParams({name: text for name, text in params.options.items() if name == "sort"}, params.query)
    if filters == {"landmark"} and len(params.query.landmark) == 1:
        with state.database.read() as connection:
            landmark = find_landmark(connection, params.query.landmark[0])
        return landmark.display_name, order.address(landmark_address(landmark.slug))
    if filters == {"unknown"}:
        return "Unknown", order.address("/review/unknown")
    if filters == {"trip"}:
        return "Trip", trip_address(params.text("trip") or "")
    return photos_name(params.options), params.address("/photos")


def _unavailable_text(state: AppState, photo_id: int) -> str | None:
    """Return why the photo's file cannot be shown now; None if it can."""
    try:
        open_stored(stored_photo(state.database, photo_id, state.settings.roots)).file.close()
    except PhotoUnavailable as error:
        return error.text
    return None


def shown_position(details: PhotoDetails, rows: list[LandmarkRow]) -> Position | None:
    """Return the photo's position; None if it comes from a landmark that was rejected, until the next update sees that."""
    position = details.photo.position
    if position is None or position.source != "landmark" or details.evidence is None:
        return position
    is_rejected = details.evidence.landmark in {row.name for row in rows if row.state == "rejected"}
    return None if is_rejected else position


def _trip_link(request: Request, state: AppState, photo: TaggedPhoto) -> Link | None:
    """Return the trip of the photo, if trips are known by now and it is of one."""
    summaries = library_overview(request).trips(wait_s=0)
    found = trip_of_photo(state.database, summaries or (), photo.id, photo.taken_at)
    return None if found is None else Link(found.title, trip_address(found.trip.id))


def _near_address(position: Position | None) -> str | None:
    """Return the address of the photos around a position."""
    if position is None:
        return None
    radius_km = math.ceil(max(MIN_RADIUS_KM, position.error_m / 1000))
    near = f"{position.latitude:.4f},{position.longitude:.4f}"
    return QueryParams.of(near=near, radius_km=radius_km).address("/photos")


def _map_point(
    state: AppState, position: Position | None, rows: list[LandmarkRow]
) -> tuple[float, float, str] | None:
    """Return the photo's position and place; without one, those of the first accepted landmark, confirmed ones before others."""
    if position is not None:
        name = position.place or position.text
        return (*project(position.latitude, position.longitude), name)
    accepted = [row for row in rows if row.is_accepted]
    for row in sorted(accepted, key=lambda row: row.state != "confirmed"):
        with state.database.read() as connection:
            landmark = find_landmark(connection, row.slug)
        if landmark.latitude is not None and landmark.longitude is not None:
            return (*project(landmark.latitude, landmark.longitude), landmark.display_name)
    return None
