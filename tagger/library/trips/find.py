"""Trips of the photos in a database; reads only."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, or_

from tagger.database.tables import photos
from tagger.errors import TripNotFound
from tagger.library.trips.grouping import REACH, Trip, group_trips
from tagger.library.trips.homes import read_visits

_USUAL_LENGTH = timedelta(days=60)
_EARLIEST, _LATEST = datetime.min + REACH, datetime.max - REACH - _USUAL_LENGTH  # noqa: DTZ901 - local time
_DATE = len("2019-05-03")


def list_trips(connection: Connection) -> list[Trip]:
    """All trips, in order of time."""
    return group_trips(read_visits(connection))


def find_trip(connection: Connection, trip_id: str) -> Trip:
    """The trip with this id. More photos may rename a trip, so the only one that begins on the same day is found too.

    Reads only the photos of the years around it.

    Raises:
        TripNotFound: no trip has this id.
    """
    trips = find_trips(connection, [trip_id])
    if trip_id not in trips:
        raise TripNotFound(trip=trip_id)
    return trips[trip_id]


def find_trips(connection: Connection, trip_ids: Collection[str]) -> dict[str, Trip]:
    """The trips with these ids, as `find_trip`, by id; those that are not found are left out. Groups the photos around them once."""
    begins = [begin for trip_id in trip_ids if (begin := _begin(trip_id)) is not None]
    if not begins:
        return {}
    first, last = min(begins) - REACH, max(begins) + _USUAL_LENGTH
    while True:
        trips = group_trips(read_visits(connection, first, last + REACH))
        found = {trip_id: trip for trip_id in trip_ids if (trip := _match(trips, trip_id)) is not None}
        end = max((trip.last for trip in found.values()), default=last)
        if end <= last or end > _LATEST:
            return found
        last = end + _USUAL_LENGTH


def _begin(trip_id: str) -> datetime | None:
    """The day that the id names; None for no date, or one near an end of time."""
    try:
        begin = datetime.fromisoformat(trip_id[:_DATE])
    except ValueError:
        return None
    return begin if _EARLIEST <= begin <= _LATEST else None


def _match(trips: list[Trip], trip_id: str) -> Trip | None:
    same_day = [trip for trip in trips if trip.id[:_DATE] == trip_id[:_DATE]]
    return next(
        (trip for trip in same_day if trip.id == trip_id), same_day[0] if len(same_day) == 1 else None
    )


def is_of_trip(trip: Trip) -> ColumnElement[bool]:
    """The condition on `photos` that a photo belongs to the trip. Photos whose files are gone do too."""
    return or_(
        *(
            and_(photos.c.camera_id == span.camera_id, photos.c.taken_at.between(span.first, span.last))
            for span in trip.spans
        )
    )
