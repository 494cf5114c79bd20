"""Positions of the photos of trips that have no other: where the trip was when they were taken.

A camera without GPS is on a trip with phones that have it. Its photos get the place of the visit nearest in
time: of that day with the city, on a day without any with the country alone. The error says how far apart the
visits are. These positions locate nothing else: neither photos nor visits nor tags follow from them.
"""

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Text, cast, delete, exists, select

from tagger.database.enums import PositionSource
from tagger.database.statements import among, insert_page
from tagger.database.tables import photos, positions, trip_changes
from tagger.geo import distance_km
from tagger.query.trip_summaries import update_trips
from tagger.trips.grouping import GroupedTrip
from tagger.trips.stored import ChangedTrips, changed_trips, photos_of_trips
from tagger.trips.visits import Visit

LEAST_ERROR_M = 10_000.0
"""The least error on a day with a visit: that within a city."""
LEAST_ERROR_OF_OTHER_DAYS_M = 100_000.0
_NAMES = ("photo_id", "latitude", "longitude", "error_m", "source", "evidence", "country", "region", "city")

_Row = tuple[Any, ...]
"""The values of _NAMES."""


def are_due(connection: Connection) -> bool:
    """Whether trips may have changed since they were stored, and their photos located."""
    return bool(connection.scalar(select(exists(trip_changes.c.id))))


def update_trip_positions(connection: Connection) -> int:
    """Store the trips that may have changed, and locate their photos that have no other position.

    Returns how many moved.
    """
    # First: a change that is too late for this is recorded again.
    days = set(connection.scalars(delete(trip_changes).returning(trip_changes.c.day)))
    changed = changed_trips(connection, days)
    if changed is None:
        return 0
    update_trips(connection, changed)
    stored = _stored(connection, changed)
    found = {row[0]: row for row in _rows(connection, changed.trips)}
    old = [photo_id for photo_id, row in stored.items() if found.get(photo_id) != row]
    connection.execute(delete(positions).where(among(positions.c.photo_id, old), _IS_OF_TRIP))
    new = [row for photo_id, row in sorted(found.items()) if stored.get(photo_id) != row]
    insert_page(connection, positions, _NAMES, new)
    return len({*old, *(row[0] for row in new)})


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
