"""Trips: all of them, and a page for each with its map and its photos in order of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse

from tagger.library.query.tagged_photos import has_photos
from tagger.library.query.trip_summaries import TripLandmark, TripSummary, trip_path, trip_summary
from tagger.web.http.attempt_limiter import COUNTING
from tagger.web.http.query_params import QueryParams
from tagger.web.http.responses import policy_with_tiles
from tagger.web.http.templates import render
from tagger.web.pages.map_clusters import live_map, trip_bounds
from tagger.web.pages.overview import Overview
from tagger.web.pages.photos import After, photo_grid
from tagger.web.pages.tiles import Link, thumbnail_address, trip_address
from tagger.web.state import State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

_LANDMARKS_OF_CARD = 3
_LANDMARKS = 8


@dataclass(frozen=True)
class TripCard:
    """A trip with its cover. `landmarks` is the text of those with most photos."""

    name: str
    dates: str
    address: str
    photos: int
    landmarks: str
    small: str | None
    large: str | None


@router.get("/trips", dependencies=[COUNTING])
def show_trips(request: Request, state: State, overview: Overview) -> HTMLResponse:
    """Show all trips as cards, newest first, by year."""
    summaries = overview.named_trips()
    by_year = groupby(summaries or (), key=lambda summary: summary.trip.first.year)
    return render(
        request,
        "trips.html",
        years=[(year, [_card(summary) for summary in of_year]) for year, of_year in by_year],
        is_complete=summaries is not None,
        number=len(summaries or ()),
        has_photos=has_photos(state.database),
    )


@router.get("/trips/{trip_id}")
def show_trip(
    request: Request, state: State, trip_id: Annotated[str, Path(max_length=500)], after: After = None
) -> HTMLResponse:
    """Show a trip: its map, places and landmarks, and its photos."""
    summary = trip_summary(state.database, trip_id)
    trip = summary.trip
    params = QueryParams.of(trip=trip.id)
    path = list(trip_path(state.database, trip))
    response = render(
        request,
        "trip.html",
        trip_id=trip.id,
        trip_name=summary.name,
        dates=trip.dates,
        photos=summary.photos,
        filter_address=params.address("/photos"),
        places=[place for place in trip.places if place.city],
        landmarks=_landmark_links(summary.landmarks[:_LANDMARKS], params),
        live=live_map(state.settings, trip_bounds(path)) if path else None,
        path_address=f"{trip_address(trip.id)}/path",
        grid=photo_grid(state, params, after, trip_address(trip.id)),
    )
    if state.settings.web_map_tiles is not None:
        response.headers["content-security-policy"] = policy_with_tiles(state.settings.web_map_tiles)
    return response


def _card(summary: TripSummary) -> TripCard:
    cover = summary.cover
    return TripCard(
        name=summary.name,
        dates=summary.trip.dates,
        address=trip_address(summary.trip.id),
        photos=summary.photos,
        landmarks=", ".join(landmark.name for landmark in summary.landmarks[:_LANDMARKS_OF_CARD]),
        small=thumbnail_address(cover.photo_id, cover.digest, 256) if cover else None,
        large=thumbnail_address(cover.photo_id, cover.digest, 512) if cover else None,
    )


def _landmark_links(landmarks: Sequence[TripLandmark], params: QueryParams) -> list[Link]:
    """Links to the photos of landmarks in the trip."""
    return [
        Link(each.name, params.address("/photos", landmark=each.landmark), each.photos) for each in landmarks
    ]
