"""The trips of a database, by time or by id; and what people change of them: names, splits and merges.

An edit names a moment of its trip, not its id, so it applies again each time trips are grouped.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Integer,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    true,
)

from tagger.database import KeptStep, TripEditKind
from tagger.database.changed_days import ChangedDay, record_days
from tagger.database.connection import AuditAction, record_action
from tagger.database.tables import photos, trip_edits, trips as stored_trips
from tagger.errors import TripEditFollowed, TripNotFound, TripsApart
from tagger.kept import read_visits
from tagger.trips import TripEdit, TripReference
from tagger.trips.grouping import REACH, GroupedTrip, Trip, group_trips

_USUAL_LENGTH = timedelta(days=60)
# The longest time between two trips that can be merged: a trip is found without reading all years.
FARTHEST = _USUAL_LENGTH
_EARLIEST, _LATEST = datetime.min + REACH, datetime.max - REACH - _USUAL_LENGTH  # noqa: DTZ901 - local time
_DATE = len("2019-05-03")
LONGEST_NAME = 200


def all_trips(connection: Connection) -> list[GroupedTrip]:
    return group_trips(read_visits(connection), read_edits(connection))


def trips_during(
    connection: Connection, first: datetime, end: datetime
) -> list[GroupedTrip]:
    """The trips with photos from `first` until before `end`, in order of time. Reads the visits around it."""

    def are_then(trips: Sequence[GroupedTrip]) -> list[GroupedTrip]:
        return [trip for trip in trips if trip.last >= first and trip.first < end]

    return _whole_trips(
        connection,
        max(first, _EARLIEST),
        min(end, _LATEST),
        are_then,
    )


@dataclass(frozen=True)
class ChangedTrips:
    """All trips of a time, in order; no other has a photo on one of its days."""

    first: datetime
    end: datetime
    trips: Sequence[GroupedTrip]


def trips_around(
    connection: Connection, first_day: date, last_day: date
) -> ChangedTrips:
    """The trips that changes from a day to another may have changed: one depends on visits within REACH."""
    first = date.min if first_day < _EARLIEST.date() else first_day - REACH
    last = date.max if last_day > _LATEST.date() else last_day + REACH
    while True:
        begin = datetime.combine(first, time.min)
        end = datetime.combine(last, time.max)
        computed = trips_during(connection, begin, end)
        days_of_trips = {
            each.date() for trip in computed for each in (trip.first, trip.last)
        }
        # Those that are stored may be longer: a trip of which a part is a trip of its own now.
        stored = select(
            func.min(stored_trips.c.first_at), func.max(stored_trips.c.last_at)
        ).where(stored_trips.c.last_at >= begin, stored_trips.c.first_at <= end)
        days_of_trips |= {
            each.date() for each in connection.execute(stored).one() if each is not None
        }
        if all(first <= day <= last for day in days_of_trips):
            return ChangedTrips(begin, end, computed)
        first, last = min(first, *days_of_trips), max(last, *days_of_trips)


def find_trip(connection: Connection, trip_id: str) -> GroupedTrip:
    """The trip with this id, else the only one that begins on its day, or has it.

    More photos may rename a trip, and people merge some. Reads only the visits of the years around it.

    Raises:
        TripNotFound: no trip has this id.
    """
    trips = find_trips(connection, [trip_id])
    if trip_id not in trips:
        raise TripNotFound(trip=trip_id)
    return trips[trip_id]


def find_trips(
    connection: Connection, trip_ids: Collection[str]
) -> dict[str, GroupedTrip]:
    """As `find_trip`, by id; those that are not found are left out."""
    begins = [begin for trip_id in trip_ids if (begin := _begin(trip_id)) is not None]
    if not begins:
        return {}
    matches: dict[str, GroupedTrip] = {}

    def match_all(trips: Sequence[GroupedTrip]) -> Collection[GroupedTrip]:
        matches.clear()
        candidates = ((trip_id, _match(trips, trip_id)) for trip_id in trip_ids)
        matches.update(
            (trip_id, trip) for trip_id, trip in candidates if trip is not None
        )
        return matches.values()

    _whole_trips(connection, min(begins), max(begins), match_all)
    return matches


def trip_at(connection: Connection, moment: TripReference) -> GroupedTrip | None:
    taken_at = min(max(moment.taken_at, _EARLIEST), _LATEST)

    def contain(trips: Sequence[GroupedTrip]) -> list[GroupedTrip]:
        return [trip for trip in trips if trip.contains(moment)]

    trips = _whole_trips(connection, taken_at, taken_at, contain)
    return trips[0] if trips else None


def _whole_trips(
    connection: Connection,
    first: datetime,
    last: datetime,
    choose: Callable[[Sequence[GroupedTrip]], Collection[GroupedTrip]],
) -> list[GroupedTrip]:
    # The chosen ones of the trips around a time. Reads more visits until none of them may be longer.
    edits = read_edits(connection)
    first, last = first - _USUAL_LENGTH, last + _USUAL_LENGTH
    while True:
        trips = list(choose(_trips_between(connection, first, last, edits)))
        if all(first <= trip.first and trip.last <= last for trip in trips):
            return trips
        first = min(first, *(trip.first for trip in trips))
        last = max(last, *(trip.last for trip in trips))


def _trips_between(
    connection: Connection,
    first: datetime,
    last: datetime,
    edits: Sequence[TripEdit],
) -> list[GroupedTrip]:
    # The trips of a time, and others around it, which may be incomplete.
    begin = max(first, _EARLIEST) - REACH
    end = min(last, _LATEST) + REACH
    return group_trips(read_visits(connection, begin.date(), end.date()), edits)


def _begin(trip_id: str) -> datetime | None:
    # The day that the id names; None for no date, or one near an end of time.
    try:
        begin = datetime.fromisoformat(trip_id[:_DATE])
    except ValueError:
        return None
    return begin if _EARLIEST <= begin <= _LATEST else None


def _match(trips: Sequence[GroupedTrip], trip_id: str) -> GroupedTrip | None:
    # The trip with this id; else the only one that begins on its day; else the only one that has it.
    day = trip_id[:_DATE]
    if same := [trip for trip in trips if trip.id == trip_id]:
        return same[0]
    begun = [trip for trip in trips if trip.id[:_DATE] == day]
    of_day = begun or [
        trip
        for trip in trips
        if trip.days[0].isoformat() <= day <= trip.days[1].isoformat()
    ]
    return of_day[0] if len(of_day) == 1 else None


def is_of_trip(trip: Trip) -> ColumnElement[bool]:
    """The condition on `photos` that a photo belongs to the trip. Photos whose files are gone do too."""
    return or_(
        *(
            and_(
                photos.c.camera_id == span.camera_id,
                photos.c.taken_at.between(span.first, span.last),
            )
            for span in trip.spans
        )
    )


def trips_beside(
    connection: Connection, trip: Trip
) -> tuple[GroupedTrip | None, GroupedTrip | None]:
    trips = _trips_between(
        connection,
        trip.first - FARTHEST,
        trip.last + FARTHEST,
        read_edits(connection),
    )
    others = [other for other in trips if other.id != trip.id]
    before = [
        other
        for other in others
        if trip.first - FARTHEST <= other.last and other.first < trip.first
    ]
    after = [
        other for other in others if trip.first <= other.first <= trip.last + FARTHEST
    ]
    return (
        before[-1] if before else None,
        after[0] if after else None,
    )


# The times of trips in few parameters: to build a statement with thousands takes longer than to run
# it.
_SPANS = {
    "sqlite": """SELECT json_extract(value, '$[0]') AS trip, json_extract(value, '$[1]') AS camera_id,
        json_extract(value, '$[2]') AS first, json_extract(value, '$[3]') AS last FROM json_each(:spans)""",
    "postgresql": """SELECT * FROM unnest(CAST(:trip AS integer[]), CAST(:camera_id AS bigint[]),
        CAST(:first AS timestamp[]), CAST(:last AS timestamp[])) AS each (trip, camera_id, first, last)""",
}


def photos_of_trips(connection: Connection, trips: Mapping[int, Trip]) -> CTE:
    """Those whose files exist, with the number of their `trip`; `unit` is the photo's id."""
    columns = {
        "trip": Integer,
        "camera_id": BigInteger,
        "first": DateTime,
        "last": DateTime,
    }
    every = [
        (
            number,
            span.camera_id,
            *(each.isoformat(" ", "microseconds") for each in (span.first, span.last)),
        )
        for number, trip in trips.items()
        for span in trip.spans
    ]
    arrays = dict(
        zip(
            columns,
            map(list, zip(*every, strict=True)),
            strict=True,
        )
    )
    values = (
        {"spans": json.dumps(every)} if connection.dialect.name == "sqlite" else arrays
    )
    query = (
        text(_SPANS[connection.dialect.name]).bindparams(**values).columns(**columns)
    )
    spans = query.cte("spans").prefix_with(
        "MATERIALIZED"
    )  # else SQLite reads them again for each photo
    is_of_span = and_(
        photos.c.camera_id == spans.c.camera_id,
        photos.c.taken_at.between(spans.c.first, spans.c.last),
    )
    is_there = photos.c.camera_id.is_not(None), photos.c.gone_since.is_(None)
    columns_of_photo = photos.c.id.label("unit"), photos.c.content_id, photos.c.taken_at
    if connection.dialect.name == "sqlite":
        selected = (
            select(spans.c.trip, *columns_of_photo)
            .join_from(spans, photos, is_of_span)
            .where(*is_there)
        )
    else:
        # With the offset, PostgreSQL searches its index for each span, and reads not all photos of a camera.
        of_span = (
            select(*columns_of_photo).where(is_of_span, *is_there).offset(0).lateral()
        )
        selected = select(spans.c.trip, *of_span.c).join_from(spans, of_span, true())
    return selected.cte("photos_of_trips")


# ----- edits -----


def read_edits(connection: Connection) -> list[TripEdit]:
    """In the order in which they apply."""
    return [
        TripEdit(
            row.id,
            TripEditKind(row.kind),
            TripReference(row.camera_id, row.taken_at),
            row.name,
            row.split_at,
            None
            if row.other_camera_id is None
            else TripReference(row.other_camera_id, row.other_taken_at),
        )
        for row in connection.execute(select(trip_edits).order_by(trip_edits.c.id))
    ]


def rename_trip(connection: Connection, trip: GroupedTrip, name: str) -> None:
    """An empty one is that of its place."""
    clean = " ".join(
        "".join(each if each.isprintable() else " " for each in name).split()
    )[:LONGEST_NAME]
    _add(
        connection,
        trip,
        TripEditKind.RENAME,
        trip.moment,
        name=clean or None,
    )


def split_trip(connection: Connection, trip: GroupedTrip, day: date) -> None:
    """The first day divides nothing."""
    midnight = datetime.combine(day, time())
    late = tuple(visit for visit in trip.visits if visit.first >= midnight)
    if late and trip.first < midnight:
        _add(
            connection,
            trip,
            TripEditKind.SPLIT,
            replace(trip, visits=late).moment,
            split_at=midnight,
        )


def merge_trips(connection: Connection, trip: GroupedTrip, other: GroupedTrip) -> None:
    """Make one trip of two.

    Raises:
        TripsApart: they are more than `FARTHEST` apart.
    """
    if max(trip.first, other.first) - min(trip.last, other.last) > FARTHEST:
        raise TripsApart(trip=trip.id, other=other.id, days=FARTHEST.days)
    _add(
        connection,
        trip,
        TripEditKind.MERGE,
        trip.moment,
        other_camera_id=other.moment.camera_id,
        other_taken_at=other.moment.taken_at,
    )


def _add(
    connection: Connection,
    trip: Trip,
    kind: TripEditKind,
    moment: TripReference,
    **values: object,
) -> None:
    connection.execute(
        insert(trip_edits).values(
            kind=kind, camera_id=moment.camera_id, taken_at=moment.taken_at, **values
        )
    )
    _record_change(connection, trip)
    record_action(connection, AuditAction.TRIP_EDIT, trip.id, change=kind)


def trips_before(connection: Connection, edit: TripEdit) -> list[GroupedTrip]:
    moments = [moment for moment in (edit.moment, edit.other) if moment is not None]
    times = [moment.taken_at for moment in moments]
    earlier = [each for each in read_edits(connection) if each.id < edit.id]
    trips = _trips_between(connection, min(times), max(times), earlier)
    return [trip for trip in trips if any(map(trip.contains, moments))]


def undoable_edits(trip: Trip) -> set[int]:
    """The names, and the last split or merge: what an earlier one made may be part of it."""
    others = [edit.id for edit in trip.edits if edit.kind is not TripEditKind.RENAME]
    return {edit.id for edit in trip.edits}.difference(others[:-1])


def undo_trip_edit(connection: Connection, trip: Trip, edit_id: int) -> None:
    """Take back an edit, as if it had never been; later names stay.

    Raises:
        TripEditFollowed: a later split or merge stays.
    """
    if edit_id not in undoable_edits(trip) and any(
        edit.id == edit_id for edit in trip.edits
    ):
        raise TripEditFollowed
    if connection.execute(
        delete(trip_edits).where(trip_edits.c.id == edit_id)
    ).rowcount:
        _record_change(connection, trip)
        record_action(connection, AuditAction.TRIP_EDIT, trip.id, change="undo")


def _record_change(connection: Connection, trip: Trip) -> None:
    record_days(
        connection,
        (
            ChangedDay(KeptStep.TRIPS, moment.date().toordinal())
            for moment in (trip.first, trip.last)
        ),
    )
