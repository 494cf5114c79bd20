"""The query of a share, as JSON and in words, and the title of a share that nobody named."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tagger.database.connection import Database
from tagger.errors import QueryOptionInvalid
from tagger.library.catalog.landmarks import find_landmark, landmarks_in_country
from tagger.library.query.options import PhotoQuery
from tagger.library.query.stored_queries import query_of_options, stored_options
from tagger.library.query.trip_summaries import trip_summary
from tagger.library.trips import TripMoment
from tagger.library.trips.find import find_trip
from tagger.photos.paths import path_from_json

TRIP_MOMENT = "trip_moment"


def query_document(connection: Connection, query: PhotoQuery) -> dict[str, Any]:
    """The options of the query as `parse_query` takes them, but the order; landmarks and trip by their ids, folders by their whole paths.

    A moment of the trip is stored too: another trip may have its id later.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, TripNotFound: a name is not in the database.
    """
    slugs = tuple(find_landmark(connection, name).slug for name in query.landmark)
    document = stored_options(replace(query, landmark=slugs))
    if query.trip is not None:
        trip = find_trip(connection, query.trip)
        document["trip"] = trip.id
        document[TRIP_MOMENT] = [trip.moment.camera_id, trip.moment.taken_at.isoformat()]
    return document


def query_of_document(document: Mapping[str, Any]) -> PhotoQuery:
    """The query of which `query_document` made the document. Its landmarks are found by their slugs alone.

    Raises:
        QueryOptionInvalid: this version makes no such documents.
    """
    try:
        query = query_of_options(query_options(document))
    except ValueError as error:
        raise QueryOptionInvalid(option="share", reason=str(error)) from error
    return replace(query, by_slug=bool(query.landmark), trip_moment=_moment(document))


def query_options(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a person chose of the document."""
    return {name: value for name, value in document.items() if name != TRIP_MOMENT}


def document_text(document: Mapping[str, Any]) -> str:
    """The options in words: `country Italy, taken after 2024-06-01`."""
    parts = []
    for name, value in query_options(document).items():
        words = name.replace("_", " ")
        if name == "any_rank":
            parts.append("all classified photos")
        elif name == "under":
            parts += [f"under {path_from_json(folder)}" for folder in value]
        elif isinstance(value, list):
            parts += [f"{words} {each}" for each in value]
        else:
            parts.append(words if value is True else f"{words} {value}")
    return ", ".join(parts)


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


def _moment(document: Mapping[str, Any]) -> TripMoment | None:
    if TRIP_MOMENT not in document:
        return None
    camera_id, taken_at = document[TRIP_MOMENT]
    return TripMoment(camera_id, datetime.fromisoformat(taken_at))


def _parts(connection: Connection, query: PhotoQuery) -> Iterator[list[str]]:
    yield [find_landmark(connection, name).display_name for name in query.landmark[: MOST_VALUES + 1]]
    yield [_country_name(connection, name) for name in query.country[: MOST_VALUES + 1]]
    yield list(map(str, sorted(query.year)))


def _country_name(connection: Connection, country: str) -> str:
    """As landmarks have it; as typed if none is there."""
    found = landmarks_in_country(connection, country, (country,))
    return (found and found[0].country) or country
