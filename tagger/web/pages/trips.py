"""Trips as cards, and each on its page, with its photos and path. It can be renamed, split and merged."""

from collections import Counter
from datetime import date, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.database.connection import Database
from tagger.database.enums import TripEditKind
from tagger.kept.trips import (
    LONGEST_NAME,
    find_trip,
    merge_trips,
    rename_trip,
    split_trip,
    trip_at,
    trips_before,
    trips_beside,
    undo_trip_edit,
    undoable_edits,
)
from tagger.query.trip_summaries import summarize_trips, trip_path, trip_summary
from tagger.texts.text_format import day_text, gettext
from tagger.trips import TripEdit
from tagger.web.http.access import Role, requires
from tagger.web.http.request_guard import COUNTING
from tagger.web.http.routes import QueryParams
from tagger.web.http.templates import render
from tagger.web.pages.map_clusters import live_map, render_map, trip_bounds
from tagger.web.pages.overview import Overview
from tagger.web.pages.photos import After, photo_grid, trip_address
from tagger.web.state import State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

TripId = Annotated[str, Path(max_length=500)]


@router.get("/trips", dependencies=[COUNTING])
@requires(Role.VIEWER)
def show_trips(request: Request, overview: Overview) -> HTMLResponse:
    """Show all trips as cards, newest first, by year."""
    return render(request, "trips.html", trips=overview.named_trips(), trip_address=trip_address)


@router.get("/trips/{trip_id}")
@requires(Role.VIEWER)
def show_trip(
    request: Request, state: State, trip_id: TripId, after: After = None, changed: bool = False
) -> HTMLResponse:
    """Show a trip: its map, places and landmarks, and its photos. `changed`: a person has just changed it."""
    summary = trip_summary(state.database, trip_id)
    address = trip_address(summary.trip.id)
    path = list(trip_path(state.database, summary.trip))
    return render_map(
        request,
        state.settings,
        "trip.html",
        summary=summary,
        trip=summary.trip,
        change=_edit_text(state.database, summary.trip.edits[-1]) if changed and summary.trip.edits else "",
        places=Counter((point.city, point.country) for point in path if point.city).most_common(),
        live=live_map(state.settings, trip_bounds(path)) if path else None,
        path_address=f"{address}/path",
        grid=photo_grid(state, QueryParams.of(trip=summary.trip.id), after, address),
    )


@router.get("/trips/edit/{trip_id}")
@requires(Role.EDITOR)
def show_edit(request: Request, state: State, trip_id: TripId) -> HTMLResponse:
    """Show the forms that change a trip, and its changes so far."""
    summary = trip_summary(state.database, trip_id)
    with state.database.read() as connection:
        beside = trips_beside(connection, summary.trip)
    return render(
        request,
        "trip_edit.html",
        summary=summary,
        trip=summary.trip,
        address=trip_address(summary.trip.id),
        longest_name=LONGEST_NAME,
        second_day=summary.trip.days[0] + timedelta(days=1),
        beside=summarize_trips(state.database, [each for each in beside if each is not None]),
        changes=[(edit.id, _edit_text(state.database, edit)) for edit in reversed(summary.trip.edits)],
        undoable=undoable_edits(summary.trip),
    )


@router.post("/trips/edit/{trip_id}")
@requires(Role.EDITOR)
def change(
    state: State,
    trip_id: TripId,
    name: Annotated[str | None, Form(max_length=1000)] = None,
    day: Annotated[date | None, Form()] = None,
    other: Annotated[str | None, Form(max_length=500)] = None,
    undo: Annotated[int | None, Form()] = None,
) -> Response:
    """Rename a trip, split it at a `day`, merge it with an `other` one, or undo a change."""
    with state.database.write() as connection:
        trip = find_trip(connection, trip_id)
        if undo is not None:
            undo_trip_edit(connection, trip, undo)
        elif day is not None:
            split_trip(connection, trip, day)
        elif other is not None:
            merge_trips(connection, trip, find_trip(connection, other))
        elif name is not None:
            rename_trip(connection, trip, name)
        now = trip_at(connection, trip.moment)
    changed = "" if undo is not None else "?changed=1"
    return RedirectResponse(f"{trip_address(now.id if now else trip_id)}{changed}", HTTPStatus.SEE_OTHER)


def _edit_text(database: Database, edit: TripEdit) -> str:
    if edit.kind is TripEditKind.SPLIT and edit.split_at is not None:
        return gettext("Split on %(date)s", date=day_text(edit.split_at))
    if edit.kind is TripEditKind.MERGE and edit.other is not None:
        with database.read() as connection:
            trips = trips_before(connection, edit)
        titles = [each.title for each in summarize_trips(database, trips)]
        days = sorted(moment.taken_at for moment in (edit.moment, edit.other))
        first, second = titles if len(titles) == 2 else map(day_text, days)
        return gettext("Merged: %(first)s and %(second)s", first=first, second=second)
    return gettext("Named %(name)s", name=edit.name) if edit.name else gettext("Named after its place")
