"""Trips, as `tagger trips`. The photos of one are `/api/photos?trip=…`."""

from typing import Annotated

from fastapi import Path, Query

from tagger.library.query.options import parse_date
from tagger.library.query.trip_summaries import TripDocument, trip_document, trip_summaries, trip_summary
from tagger.web.api.routes import api_router
from tagger.web.state import State

router = api_router("trips")

Date = Annotated[str | None, Query(max_length=100)]
TripId = Annotated[str, Path(max_length=500, description="A trip's id, from the list of trips.")]


@router.get("/trips")
def trips(state: State, taken_after: Date = None, taken_before: Date = None) -> list[TripDocument]:
    """List trips with photos of this time, newest first."""
    after = parse_date(taken_after or None, "taken_after")
    before = parse_date(taken_before or None, "taken_before")
    return [trip_document(summary) for summary in trip_summaries(state.database, after, before)]


@router.get("/trips/{trip}")
def trip(state: State, trip: TripId) -> TripDocument:
    """Return one trip."""
    return trip_document(trip_summary(state.database, trip))
