"""A photo at its own address, over the grid of a query, and its details beside it in the lightbox.

*Try a photo*: a person sends one, and sees what the model finds on it. Nothing is stored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from tagger.errors import PhotoFailed, PhotoFailure
from tagger.geo import distance_km
from tagger.landmarks.landmarks import all_landmarks
from tagger.ledger.job_control import open_job_of_photo
from tagger.metadata.camera import Exposure, read_exposure
from tagger.photos.facts import RESULT_FACTS
from tagger.photos.paths import parse_path
from tagger.query.details import STATED_BY, photo_details_by_id
from tagger.query.predictions import NamedPrediction, named_predictions
from tagger.query.tagged_photos import DAMAGED, Position, TaggedPhoto, is_guess, stored_photo
from tagger.query.trip_summaries import TripSummary, trips_of_photos
from tagger.texts.text_format import gettext
from tagger.things import all_things
from tagger.web.api.job_starter import WriteMode, write_modes
from tagger.web.api.photos import NOT_A_LANDMARK, Params, PhotoNumber, headline
from tagger.web.api.uploads import classify
from tagger.web.http.access import Role, requires
from tagger.web.http.routes import QueryParams
from tagger.web.http.templates import render
from tagger.web.overview import Overview, library_overview
from tagger.web.pages.map_clusters import map_around
from tagger.web.pages.photos import (
    QUERY_ERRORS,
    Link,
    grid_at_photo,
    landmark_name,
    landmark_rows,
    photo_headline,
    render_photos,
    thing_rows,
    trip_address,
)
from tagger.web.pages.selected_photos import outdated_sidecar
from tagger.web.photo_files import PhotoUnavailable, open_stored
from tagger.web.state import AppState, State
from tagger.web.uploads import UploadedFile

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Within = Annotated[str, Query(max_length=10)]

# Photos around a photo are those within its error, and at least this radius.
MIN_RADIUS_KM = 1.0
# How much of a file is read for its EXIF.
EXIF_WITHIN_BYTES = 2**20
# Landmarks this near a photo are offered first when it is named.
NAMES_WITHIN_KM = 30.0


@router.get("/photos/{photo_id}")
@requires(Role.VIEWER)
def show_photo(
    request: Request,
    state: State,
    overview: Overview,
    photo_id: PhotoNumber,
    params: Params,
    within: Within = "",
) -> HTMLResponse:
    """Show a photo over the photos of a query, or over all; without a script, the photo alone."""
    everything = QueryParams.of(any_rank=True)
    shown = params if within or params.options else everything
    details = _details(request, state, photo_id)
    try:
        grid = grid_at_photo(state, shown, details["details"].photo)
    except QUERY_ERRORS:  # the photo can be shown all the same
        shown = everything
        grid = grid_at_photo(state, shown, details["details"].photo)
    return render_photos(request, state, overview, shown, grid, opened=details)


@router.get("/photos/{photo_id}/details")
@requires(Role.VIEWER)
def show_details(request: Request, state: State, photo_id: PhotoNumber) -> HTMLResponse:
    """Return the landmarks and the facts of a photo, a part of a page."""
    return render(request, "photo_details.html", **_details(request, state, photo_id))


@dataclass(frozen=True)
class LikelyLandmarks:
    """Slugs of landmarks that a photo may show: those near it, the nearest first, and those of its trip."""

    near: Sequence[str]
    trip: Sequence[str]


@router.get("/photos/{photo_id}/landmarks", response_class=JSONResponse)
@requires(Role.VIEWER)
def list_likely_landmarks(request: Request, state: State, photo_id: PhotoNumber) -> LikelyLandmarks:
    """Return the landmarks that are offered first when a photo is named."""
    photo = photo_details_by_id(state.database, photo_id, state.settings.roots).photo
    trip = _trip_of(request, state, photo)
    return LikelyLandmarks(
        _landmarks_near(state, photo.position), [each.landmark for each in trip.landmarks] if trip else []
    )


def _landmarks_near(state: AppState, position: Position | None) -> list[str]:
    if position is None:
        return []
    with state.database.read() as connection:
        every = all_landmarks(connection)
    distances = {
        each.slug: distance_km(position.latitude, position.longitude, each.latitude, each.longitude)
        for each in every
        if each.latitude is not None and each.longitude is not None
    }
    near = [slug for slug, distance in distances.items() if distance <= NAMES_WITHIN_KM]
    return sorted(near, key=distances.__getitem__)


def _details(request: Request, state: AppState, photo_id: int) -> dict[str, Any]:
    """Everything that the database has about a photo, for its template."""
    details = photo_details_by_id(state.database, photo_id, state.settings.roots)
    rows = landmark_rows(details)
    with state.database.read() as connection:
        things = thing_rows(details, all_things(connection))
    position = details.position
    unavailable, exposure = _file_facts(state, photo_id)
    return {
        "id": photo_id,
        "details": details,
        "facts": RESULT_FACTS,
        "stated_by": STATED_BY,
        "file": PurePath(details.photo.path).name,
        "folder": str(parse_path(details.photo.path).parent),
        "headline": gettext(NOT_A_LANDMARK) if details.dismissal else photo_headline(rows, details.photo),
        "rows": rows,
        "things": things,
        "accepted": [row for row in rows if row.is_accepted],
        "position": position,
        "near_here": _near_address(position),
        "trip": _trip_link(request, state, details.photo),
        "has_confirmed": any(row.state == "confirmed" for row in rows),
        "unavailable": unavailable,
        "exposure": exposure,
        "around": position and map_around(state.settings, position.latitude, position.longitude),
        "name_of": partial(landmark_name, state.database),
        "outdated": outdated_sidecar(state, photo_id) if details.metadata else None,
        "may_write": details.photo.digest and WriteMode.SIDECAR in write_modes(state.settings),
        "open_job": open_job_of_photo(state.database, photo_id),
    }


def _file_facts(state: AppState, photo_id: int) -> tuple[PhotoUnavailable | None, Exposure]:
    """Return why the photo's file cannot be shown now, None if it can, and how it was exposed."""
    try:
        with open_stored(stored_photo(state.database, photo_id, state.settings.roots)).file as file:
            return None, read_exposure(file.read(EXIF_WITHIN_BYTES))
    except PhotoUnavailable as error:
        return error, Exposure()
    except OSError:  # its preview says so
        return None, Exposure()


def _trip_link(request: Request, state: AppState, photo: TaggedPhoto) -> Link | None:
    """Return the trip of the photo, if trips are known by now and it is of one."""
    found = _trip_of(request, state, photo)
    return None if found is None else Link(found.title, trip_address(found.trip.id))


def _trip_of(request: Request, state: AppState, photo: TaggedPhoto) -> TripSummary | None:
    summaries = library_overview(request).named_trips(0)
    return trips_of_photos(state.database, summaries or (), [photo]).get(photo.id)


def _near_address(position: Position | None) -> str | None:
    """Return the address of the photos around a position."""
    if position is None:
        return None
    radius_km = math.ceil(max(MIN_RADIUS_KM, position.error_m / 1000))
    near = f"{position.latitude:.4f},{position.longitude:.4f}"
    return QueryParams.of(near=near, radius_km=radius_km).address("/photos")


# A top-k with all scores that are not nearly 0.
ALL_LABELS = 10_000


@dataclass(frozen=True)
class UploadResult:
    """The best landmarks of a photo and the chance of `none_of_them`, or why it was not classified.

    `is_damaged`: a part of the image is missing, so that no landmark is accepted.
    """

    predictions: Sequence[NamedPrediction] = ()
    none_of_them: float = 1.0
    is_damaged: bool = False
    failure: PhotoFailure | None = None

    @property
    def accepted(self) -> NamedPrediction | None:
        return next((each for each in self.predictions if each.accepted), None)

    @property
    def guess(self) -> NamedPrediction | None:
        """The best landmark if none is accepted, and if it is worth a guess."""
        is_open = self.accepted is None and is_guess([each.score for each in self.predictions])
        return self.predictions[0] if is_open else None

    @property
    def headline(self) -> str:
        """What the photo shows, or that a part of it is missing."""
        if self.is_damaged:
            return gettext(DAMAGED).capitalize()
        accepted, guess = self.accepted, self.guess
        names = [accepted.landmark.display_name] if accepted else []
        return headline(names, guess.landmark.display_name if guess else None)


@router.get("/try")
@requires(Role.VIEWER)
def show_form(request: Request, state: State) -> HTMLResponse:
    """Show the field for a photo."""
    return render(request, "try.html", max_bytes=_max_upload_bytes(state))


@router.post("/try")
@requires(Role.VIEWER)
async def try_photo(request: Request, state: State) -> HTMLResponse:
    """Classify one photo, and return the part of the page that says what it shows."""
    async with state.uploads.read(request, _max_upload_bytes(state)) as photo:
        result = await _prediction_of(state, photo)
    return render(request, "try_result.html", result=result)


def _max_upload_bytes(state: AppState) -> int:
    """Return the largest size of a photo."""
    return min(state.settings.web_upload_bytes, state.settings.max_bytes)


async def _prediction_of(state: AppState, photo: UploadedFile) -> UploadResult:
    try:
        # The chance of none of the landmarks is 1 minus the sum of all scores.
        classification = await classify(state, photo.data, top_k=ALL_LABELS)
    except PhotoFailed as error:
        return UploadResult(failure=error.failure)
    best = named_predictions(state.database, classification.found, state.settings.top_k)
    # No landmark: what the surest model says.
    none_of_them = min(each.none_of_them for each in classification.found)
    return UploadResult(best, none_of_them, classification.is_damaged)
