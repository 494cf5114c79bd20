"""The title of a share that nobody named."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from tagger.database.connection import Database
from tagger.library.catalog.landmarks import find_landmark, landmarks_in_country
from tagger.library.query.options import PhotoQuery
from tagger.library.query.trip_summaries import trip_summary

PHOTOS = "Photos"
MOST_VALUES = 3
"""Names of an option that a title has. Of more, none would say what there is to see."""


def share_name(database: Database, photos: PhotoQuery | Sequence[int]) -> str:
    """The landmarks, trip, countries and years of the query. Visitors read it, so it has no folder and no other option.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, TripNotFound: a name is not in the database.
    """
    if not isinstance(photos, PhotoQuery):
        return PHOTOS
    names = [] if photos.trip is None else [trip_summary(database, photos.trip).title]
    with database.read() as connection:
        names += [name for part in _parts(connection, photos) if len(part) <= MOST_VALUES for name in part]
    return ", ".join(names) or PHOTOS


def _parts(connection: Connection, query: PhotoQuery) -> Iterator[list[str]]:
    yield [find_landmark(connection, name).display_name for name in query.landmark[: MOST_VALUES + 1]]
    yield [_country_name(connection, name) for name in query.country[: MOST_VALUES + 1]]
    yield list(map(str, sorted(query.year)))


def _country_name(connection: Connection, country: str) -> str:
    """As landmarks have it; as typed if none is there."""
    found = landmarks_in_country(connection, country, (country,))
    return (found and found[0].country) or country
