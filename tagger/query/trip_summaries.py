"""Trips with what their photos show: numbers of photos, landmarks, a cover, and the way."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from sqlalchemy import Connection, exists, select

from tagger.database.connection import Database
from tagger.database.enums import STATED, PositionSource
from tagger.database.statements import among
from tagger.database.tables import contents, photos, positions
from tagger.kept.stored_trips import CountedTrip, count_trips, read_trips
from tagger.kept.trips import find_trip, find_trips, is_of_trip
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.query.counts import Cover
from tagger.query.tagged_photos import TaggedPhoto
from tagger.tags.contents import is_first_copy
from tagger.texts.documents import document_of
from tagger.texts.text_format import reader_language
from tagger.trips.grouping import GroupedTrip, Trip, VisitedPlace, place_name

_MEASURED = (*STATED, PositionSource.TRACK)


@dataclass(frozen=True, slots=True)
class PathPoint:
    """The position of a photo in degrees, and where it comes from."""

    photo_id: int
    camera_id: int
    taken_at: datetime
    latitude: float
    longitude: float
    city: str | None
    country: str | None
    source: str

    @property
    def is_measured(self) -> bool:
        """Whether a GPS receiver measured it, the camera's or that of a track. Others are estimated."""
        return self.source in _MEASURED


def trip_path(database: Database, trip: Trip) -> Iterator[PathPoint]:
    """The photos with positions, camera by camera; of copies the first."""
    is_of_path = is_of_trip(trip), positions.c.photo_id.is_not(None)
    query = (
        select(photos.c.camera_id, photos.c.taken_at, positions)
        .join(positions, positions.c.photo_id == photos.c.id)
        .where(*is_of_path, photos.c.gone_since.is_(None), is_first_copy(is_of_path))
        .order_by(photos.c.camera_id, photos.c.taken_at, photos.c.id)
    )
    with database.read() as connection:
        for row in connection.execute(query):
            yield document_of(PathPoint, row)


def has_positions(database: Database) -> bool:
    """Whether any photo has a position."""
    with database.read() as connection:
        return bool(connection.scalar(select(exists(positions.c.photo_id))))


# A landmark in this share of the photos of a trip names it: Machu Picchu, not the nearest town.
_NAMING_SHARE = 0.5


@dataclass(frozen=True)
class TripLandmark:
    """A landmark and its number of photos in a trip."""

    landmark: str
    name: str
    photos: int


@dataclass(frozen=True)
class TripSummary:
    """A trip with its number of photos; of each landmark too, most photos first. Copies count once."""

    trip: Trip
    photos: int
    landmarks: tuple[TripLandmark, ...]
    cover: Cover | None

    @property
    def name(self) -> str:
        """The name that a person gave it; else the landmark that most of its photos show; else the place."""
        if name := self._name_without_place:
            return name
        trip = self.trip
        return trip.name if reader_language() is None else place_name(trip.places, for_reader=True)

    @property
    def _name_without_place(self) -> str | None:
        if self.trip.given_name is not None:
            return self.trip.given_name
        is_named = self.landmarks and self.landmarks[0].photos >= _NAMING_SHARE * self.photos
        return self.landmarks[0].name if is_named else None

    @property
    def title(self) -> str:
        """The name with the dates: `Arles and Avignon, 3 May 2019`."""
        return f"{self.name}, {self.trip.dates}"

    def with_names(self, names: Mapping[str, str]) -> Self:
        """The summary with other names of landmarks, by their slugs."""
        landmarks = tuple(
            replace(each, name=names.get(each.landmark, each.name)) for each in self.landmarks
        )
        return replace(self, landmarks=landmarks)


@dataclass(frozen=True)
class TripDocument:
    """A trip. `first` and `last` are local times; `places` and `landmarks` have most photos first."""

    trip: str
    name: str
    dates: str
    first: datetime
    last: datetime
    photos: int
    places: Sequence[VisitedPlace]
    landmarks: Sequence[TripLandmark]


def trip_document(summary: TripSummary) -> TripDocument:
    """A trip for programs."""
    return document_of(
        TripDocument,
        summary.trip,
        trip=summary.trip.id,
        name=summary.name,
        photos=summary.photos,
        landmarks=summary.landmarks,
    )


def trip_summaries(
    database: Database, taken_after: datetime | None = None, taken_before: datetime | None = None
) -> list[TripSummary]:
    """The trips with photos from `taken_after` until before `taken_before`, the newest first."""
    with database.snapshot() as connection:
        every = read_trips(connection, taken_after or datetime.min, taken_before or datetime.max)  # noqa: DTZ901
        newest = sorted(every, key=lambda each: (each.trip.first, each.trip.spans), reverse=True)
        return _named(connection, newest)


def summaries_of_trips(database: Database, trip_ids: Collection[str]) -> dict[str, TripSummary]:
    """The trips with these ids, by id; those that are not found are left out."""
    with database.read() as connection:
        trips = find_trips(connection, trip_ids)
    return dict(zip(trips, summarize_trips(database, list(trips.values())), strict=True))


def trip_summary(database: Database, trip_id: str) -> TripSummary:
    """Raises:
    TripNotFound: no trip has this id.
    """
    with database.read() as connection:
        trip = find_trip(connection, trip_id)
    (summary,) = summarize_trips(database, [trip])
    return summary


def trips_of_photos(
    database: Database, summaries: Sequence[TripSummary], shown: Sequence[TaggedPhoto]
) -> dict[int, TripSummary]:
    """The trips among these to which photos belong, by the photos' ids."""
    found: dict[int, TripSummary] = {}
    with database.read() as connection:
        for summary in summaries:
            first, last = summary.trip.first, summary.trip.last
            then = [each.id for each in shown if each.taken_at and first <= each.taken_at <= last]
            if then:
                query = select(photos.c.id).where(
                    among(photos.c.id, then), is_of_trip(summary.trip)
                )
                found |= dict.fromkeys(connection.scalars(query), summary)
    return found


def summarize_trips(database: Database, trips: Sequence[GroupedTrip]) -> list[TripSummary]:
    """What the photos of these trips show."""
    with database.read() as connection:
        return _named(connection, count_trips(connection, trips))


def _named(connection: Connection, shown: Sequence[CountedTrip]) -> list[TripSummary]:
    # The trips with names of landmarks, of which some may have been removed, and images of covers.
    known = landmarks_by_id(
        connection, {landmark_id for each in shown for landmark_id, _ in each.landmarks}
    )
    covers = _covers(connection, {each.cover for each in shown if each.cover is not None})
    summaries = []
    for each in shown:
        found = [
            TripLandmark(known[landmark_id].slug, known[landmark_id].display_name, number)
            for landmark_id, number in each.landmarks
            if landmark_id in known
        ]
        found.sort(key=lambda landmark: (-landmark.photos, landmark.landmark))
        cover = None if each.cover is None else covers.get(each.cover)
        summaries.append(TripSummary(each.trip, each.photos, tuple(found), cover))
    return summaries


def _covers(connection: Connection, photo_ids: Collection[int]) -> dict[int, Cover]:
    query = select(photos.c.id, contents.c.digest).join(
        contents, contents.c.id == photos.c.content_id
    )
    rows = connection.execute(query.where(among(photos.c.id, photo_ids)))
    return {row.id: Cover(row.id, row.digest) for row in rows}
