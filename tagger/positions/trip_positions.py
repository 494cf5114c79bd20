"""Positions of the photos of trips that have no other: where the trip was when they were taken.

A camera without GPS is on a trip with phones that have it. Its photos get the place of the visit nearest in
time: of that day with the city, on a day without any with the country alone. The error says how far apart the
visits are. These positions locate nothing else: neither photos nor visits nor tags follow from them.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Text, cast, delete, exists, func, insert, select, update

from tagger.database.connection import Database
from tagger.database.enums import PositionSource
from tagger.database.recorded_changes import MOST_TAKEN, follow_some, take_marks, wait_for_others
from tagger.database.statements import AdvisoryLock, LockTimedOut, among, date_of, insert_page, try_lock
from tagger.database.tables import ledgers, photos, positions, trip_changes, visits
from tagger.geo import distance_km
from tagger.positions.measured_positions import lock_positions
from tagger.query.trip_summaries import store_trips, trip_rows
from tagger.trips.grouping import GroupedTrip
from tagger.trips.stored import ChangedTrips, photos_of_trips, trips_around
from tagger.trips.visits import Visit

# The least error on a day with a visit: that within a city.
LEAST_ERROR_M = 10_000.0
LEAST_ERROR_OF_OTHER_DAYS_M = 100_000.0
# Photos from the first marked day of a page to its last one.
_MOST_PHOTOS = 50_000
_NAMES = ("photo_id", "latitude", "longitude", "error_m", "source", "evidence", "country", "region", "city")

# The values of _NAMES.
_Row = tuple[Any, ...]


def are_due(connection: Connection) -> bool:
    """Whether trips may have changed since they were stored, and their photos located."""
    return bool(connection.scalar(select(exists(trip_changes.c.id))))


@dataclass(frozen=True)
class _Page:
    """What a page of marked days has changed: trips and positions of photos, as they are in one state."""

    version: int
    marks: Sequence[int]
    last_day: date
    changed: ChangedTrips
    trips: Sequence[dict[str, Any]]
    stored: dict[int, _Row]
    located: dict[int, _Row]


def update_trip_positions(database: Database, on_page: Callable[[], object] = lambda: None) -> int:
    """Store the trips that may have changed until now, and locate their photos that have no other position.

    Returns how many moved.
    """
    moved = 0
    last_day: date | None = None
    while True:
        step = partial(update_some_trips, database, last_day)
        page = wait_for_others(step, on_page)
        if page is None:
            return moved
        last_day, moved_now = page
        moved += moved_now
        on_page()


def update_some_trips(database: Database, after: date | None = None) -> tuple[date, int] | None:
    """Do so for a page of marked days: the first ones after a day.

    Trips are grouped while others may write; only what differs is stored in a transaction for writing.

    Returns the last of the days, after which the next call continues, and how many photos moved; None: no
    day is marked.

    Raises:
        LockTimedOut: another process stores trips.
    """
    while follow_some(database, are_due, _mark_days_of_images):
        pass
    with database.read() as reading:
        # On SQLite, the later one of two notices that the version has changed.
        try_lock(reading, AdvisoryLock.GROUP_TRIPS)
        page = _find_page(reading, after)
        if page is None:
            return None
        with database.write() as connection:
            return page.last_day, _store_page(connection, page)


def update_trip_positions_in(connection: Connection) -> int:
    """Like `update_trip_positions`, in one transaction."""
    while _mark_days_of_images(connection):
        pass
    moved = 0
    while (page := _find_page(connection)) is not None:
        moved += _store_page(connection, page)
    return moved


def _mark_days_of_images(connection: Connection) -> bool:
    """Replace marks of images by those of their days. Returns whether there may be more."""
    marks = take_marks(connection, trip_changes, trip_changes.c.day)
    days = (
        select(date_of(photos.c.taken_at))
        .where(among(photos.c.content_id, {each.content_id for each in marks}))
        .where(photos.c.camera_id.is_not(None), photos.c.taken_at.is_not(None))
        .distinct()
    )
    if marks:
        connection.execute(insert(trip_changes).from_select(["day"], days))
    return len(marks) == MOST_TAKEN


def _find_page(connection: Connection, after: date | None = None) -> _Page | None:
    # First the version, then the marks: what is stored or changed later is noticed, or marked again.
    version = connection.execute(select(ledgers.c.trips_version)).scalar_one()
    first = select(func.min(trip_changes.c.day))
    first_day = connection.scalar(first if after is None else first.where(trip_changes.c.day > after))
    if first_day is None:
        return None
    is_marked = trip_changes.c.day.between(first_day, _last_day_of_page(connection, first_day))
    days_by_id = {row.id: row.day for row in connection.execute(select(trip_changes).where(is_marked))}
    last_day = max(days_by_id.values())
    changed = trips_around(connection, first_day, last_day)
    return _Page(
        version,
        tuple(days_by_id),
        last_day,
        changed,
        trip_rows(connection, changed.trips),
        _stored(connection, changed),
        {row[0]: row for row in _rows(connection, changed.trips)},
    )


def _last_day_of_page(connection: Connection, first_day: date) -> date:
    """The day with whose photos there are _MOST_PHOTOS since the first one, or the last of all days."""
    number = func.sum(visits.c.photos).label("number")
    per_day = select(visits.c.day, number).where(visits.c.day >= first_day).group_by(visits.c.day)
    rest = _MOST_PHOTOS
    day: date
    for day, of_day in connection.execute(per_day.order_by(visits.c.day)):
        rest -= of_day
        if rest < 0:
            return day
    return date.max


def _store_page(connection: Connection, page: _Page) -> int:
    """Raises:
    LockTimedOut: another process has stored trips since the page was computed.
    """
    lock_positions(connection)
    is_same = ledgers.c.trips_version == page.version
    next_version = update(ledgers).where(is_same).values(trips_version=page.version + 1)
    if not connection.execute(next_version).rowcount:
        raise LockTimedOut
    connection.execute(delete(trip_changes).where(among(trip_changes.c.id, page.marks)))
    store_trips(connection, page.changed, page.trips)
    old = [photo_id for photo_id, row in page.stored.items() if page.located.get(photo_id) != row]
    connection.execute(delete(positions).where(among(positions.c.photo_id, old), _IS_OF_TRIP))
    new = {photo_id: row for photo_id, row in page.located.items() if page.stored.get(photo_id) != row}
    # Meanwhile, photos may have been removed, or have got a position of their own.
    present = select(photos.c.id).where(among(photos.c.id, new)).with_for_update(read=True, key_share=True)
    rows = [new[photo_id] for photo_id in sorted(connection.scalars(present))]
    insert_page(connection, positions, _NAMES, rows, skip_existing=True)
    return len({*old, *new})


_IS_OF_TRIP = positions.c.source == PositionSource.TRIP


def _stored(connection: Connection, changed: ChangedTrips) -> dict[int, _Row]:
    """What is stored of photos that were taken then, or that have lost their time."""
    columns = (cast(positions.c[name], Text) if name == "evidence" else positions.c[name] for name in _NAMES)
    is_then = photos.c.taken_at.between(changed.first, changed.end) | photos.c.taken_at.is_(None)
    query = select(*columns).join(photos, photos.c.id == positions.c.photo_id).where(_IS_OF_TRIP, is_then)
    return {row[0]: tuple(row) for row in connection.execute(query)}


def _rows(connection: Connection, trips: Sequence[GroupedTrip]) -> Iterator[_Row]:
    if not trips:
        return
    of_trips = photos_of_trips(connection, dict(enumerate(trips)))
    query = (
        select(of_trips.c.trip, of_trips.c.unit, of_trips.c.taken_at)
        .join(photos, photos.c.id == of_trips.c.unit)
        .outerjoin(positions, positions.c.photo_id == of_trips.c.unit)
        .where(of_trips.c.content_id.is_not(None), photos.c.origin.is_(None))
        .where(positions.c.photo_id.is_(None) | _IS_OF_TRIP)
    )
    routes: dict[int, TripRoute] = {}
    for number, photo_id, taken_at in connection.execute(query):
        route = routes.get(number) or routes.setdefault(number, TripRoute.of(trips[number]))
        yield photo_id, *route.at(taken_at), json.dumps({"trip": trips[number].id}), *route.place_at(taken_at)


@dataclass(frozen=True)
class TripRoute:
    """The visits of a trip with a known position, of all its cameras, in order of time."""

    visits: Sequence[Visit]

    @classmethod
    def of(cls, trip: GroupedTrip) -> "TripRoute":
        return cls(sorted(trip.visits, key=attrgetter("first", "last", "camera_id")))

    def at(self, taken_at: datetime) -> tuple[float, float, float, str]:
        """Where a photo was taken, in degrees, with the error in metres, and the source."""
        nearest, others = self._nearest(taken_at)
        apart_km = max(
            distance_km(nearest.latitude, nearest.longitude, each.latitude, each.longitude) for each in others
        )
        is_of_day = nearest.day == taken_at.date()
        least_m = LEAST_ERROR_M if is_of_day else LEAST_ERROR_OF_OTHER_DAYS_M
        error_m = float(round(max(least_m, 1000 * apart_km)))
        return round(nearest.latitude, 7), round(nearest.longitude, 7), error_m, str(PositionSource.TRIP)

    def place_at(self, taken_at: datetime) -> tuple[str | None, str | None, str | None]:
        """The country, and on a day with a visit the region and the city too."""
        nearest, _ = self._nearest(taken_at)
        is_of_day = nearest.day == taken_at.date()
        region, city = (nearest.place.region, nearest.place.city) if is_of_day else ("", "")
        return nearest.place.country or None, region or None, city or None

    def _nearest(self, taken_at: datetime) -> tuple[Visit, Sequence[Visit]]:
        """The visit nearest in time, and those between which the photo was taken."""
        begin, end = datetime.combine(taken_at, time.min), datetime.combine(taken_at, time.max)
        around = [each for each in self.visits if each.first <= end and each.last >= begin]
        if not around:
            place = bisect_left(self.visits, taken_at, key=attrgetter("first"))
            around = [*self.visits[max(place - 1, 0) : place], *self.visits[place : place + 1]]
        return min(around, key=lambda each: (_away(each, taken_at), -each.photos)), around


def _away(visit: Visit, at: datetime) -> timedelta:
    """The time from a moment to a visit; none during it."""
    return max(visit.first - at, at - visit.last, timedelta())
