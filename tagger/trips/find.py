"""Trips of the photos in a database; reads only."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, or_

from tagger.database.tables import photos
from tagger.errors import TripNotFound
from tagger.trips.grouping import REACH, Trip, group_trips
from tagger.trips.visits import read_visits

_USUAL_LENGTH = timedelta(days=60)
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
    try:
        begin = datetime.fromisoformat(trip_id[:_DATE])
        first, last = begin - REACH, begin + _USUAL_LENGTH
        while True:
            trip = _match(group_trips(read_visits(connection, first, last + REACH)), trip_id)
            if trip.last <= last:
                return trip
            last = trip.last + _USUAL_LENGTH
    except (ValueError, OverflowError):  # no date, or one near the end of time
        raise TripNotFound(trip=trip_id) from None


def _match(trips: list[Trip], trip_id: str) -> Trip:
    trip = next((trip for trip in trips if trip.id == trip_id), None)
    same_day = [trip for trip in trips if trip.id[:_DATE] == trip_id[:_DATE]]
    if trip is None and len(same_day) == 1:
        return same_day[0]
    if trip is None:
        raise TripNotFound(trip=trip_id)
    return trip


def is_of_trip(trip: Trip) -> ColumnElement[bool]:
    """The condition on `photos` that a photo belongs to the trip. Photos whose files are gone do too."""
    return or_(
        *(
            and_(photos.c.camera_id == span.camera_id, photos.c.taken_at.between(span.first, span.last))
            for span in trip.spans
        )
    )
