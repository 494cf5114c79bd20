"""The title of a share that nobody named."""

from collections.abc import Sequence

from tagger.catalog.landmarks import find_landmark
from tagger.database.connection import Database
from tagger.query import PhotoQuery
from tagger.query.trip_summaries import trip_summary

PHOTOS = "Photos"


def share_name(database: Database, photos: PhotoQuery | Sequence[int]) -> str:
    """The name of the landmark or the trip, if the query is of one and nothing else.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, TripNotFound: a name is not in the database.
    """
    if not isinstance(photos, PhotoQuery):
        return PHOTOS
    if len(photos.landmark) == 1 and photos == PhotoQuery(landmark=photos.landmark):
        with database.read() as connection:
            return find_landmark(connection, photos.landmark[0]).display_name
    if photos.trip is not None and photos == PhotoQuery(trip=photos.trip):
        summary = trip_summary(database, photos.trip)
        return f"{summary.name}, {summary.trip.dates}"
    return PHOTOS
