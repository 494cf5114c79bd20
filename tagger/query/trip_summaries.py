"""Trips with what their photos show: numbers of photos, landmarks and a cover. Reads only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, exists, func, select, true

from tagger.catalog.dismissals import is_dismissed
from tagger.catalog.landmarks import Landmark, all_landmarks
from tagger.database.connection import Database
from tagger.database.tables import contents, photos, tags
from tagger.query.covers import Cover
from tagger.query.landmark_counts import photos_by_landmark
from tagger.query.tag_conditions import is_rejected
from tagger.trips.find import find_trip, is_of_trip, list_trips
from tagger.trips.grouping import Trip

_NAMING_SHARE = 0.5
"""A landmark in this share of the photos of a trip without a night names it: `Mont-Saint-Michel, Avranches`."""


@dataclass(frozen=True)
class TripLandmark:
    """A landmark and its number of photos in a trip."""

    landmark: str
    name: str
    photos: int


@dataclass(frozen=True)
class TripSummary:
    """A trip with its number of photos; of each landmark too, most photos first."""

    trip: Trip
    photos: int
    landmarks: tuple[TripLandmark, ...]
    cover: Cover | None

    @property
    def name(self) -> str:
        """The place; on a trip without a night also the landmark that most photos show."""
        trip = self.trip
        if self.landmarks and trip.first.date() == trip.last.date():
            top = self.landmarks[0]
            if top.photos >= _NAMING_SHARE * self.photos:
                return f"{top.name}, {trip.name}"
        return trip.name

    @property
    def title(self) -> str:
        """The name with the dates: `Arles and Avignon, 3 May 2019`."""
        return f"{self.name}, {self.trip.dates}"


def trip_summaries(
    database: Database, taken_after: datetime | None = None, taken_before: datetime | None = None
) -> list[TripSummary]:
    """The trips with photos from `taken_after` until before `taken_before`, the newest first."""
    with database.read() as connection:
        landmarks = _landmarks(connection)
        return [
            _summary(connection, trip, landmarks)
            for trip in reversed(list_trips(connection))
            if (taken_after is None or trip.last >= taken_after)
            and (taken_before is None or trip.first < taken_before)
        ]


def trip_summary(database: Database, trip_id: str) -> TripSummary:
    """Raises:
    TripNotFound: no trip has this id.
    """
    with database.read() as connection:
        return _summary(connection, find_trip(connection, trip_id), _landmarks(connection))


def trip_of_photo(
    database: Database, summaries: Sequence[TripSummary], photo_id: int, taken_at: datetime | None
) -> TripSummary | None:
    """The trip among these to which a photo belongs; None: to none."""
    if taken_at is None:
        return None
    then = [each for each in summaries if each.trip.first <= taken_at <= each.trip.last]
    with database.read() as connection:
        for summary in then:
            if connection.scalar(select(exists().where(photos.c.id == photo_id, is_of_trip(summary.trip)))):
                return summary
    return None


def _landmarks(connection: Connection) -> Mapping[int, Landmark]:
    return {landmark.id: landmark for landmark in all_landmarks(connection)}


def _summary(connection: Connection, trip: Trip, landmarks: Mapping[int, Landmark]) -> TripSummary:
    of_trip = is_of_trip(trip) & photos.c.gone_since.is_(None)
    number = connection.scalar(select(func.count()).select_from(photos).where(of_trip)) or 0
    return TripSummary(
        trip=trip,
        photos=number,
        landmarks=tuple(_trip_landmarks(photos_by_landmark(connection, of_trip), landmarks)),
        cover=_cover(connection, of_trip, number),
    )


def _trip_landmarks(numbers: Mapping[int, int], landmarks: Mapping[int, Landmark]) -> Sequence[TripLandmark]:
    found = [
        TripLandmark(landmarks[landmark_id].slug, landmarks[landmark_id].display_name, number)
        for landmark_id, number in numbers.items()
    ]
    return sorted(found, key=lambda each: (-each.photos, each.landmark))


def _cover(connection: Connection, of_trip: ColumnElement[bool], number: int) -> Cover | None:
    """The photo with the best score of an accepted landmark; if there is none, the one in the middle."""
    stored = select(photos.c.id, contents.c.digest).join(contents, contents.c.id == photos.c.content_id)
    best = (
        stored.join(tags, tags.c.content_id == photos.c.content_id)
        .where(of_trip, tags.c.accepted == true(), ~is_rejected(tags), ~is_dismissed(tags.c.content_id))
        .order_by(tags.c.score.desc(), photos.c.id)
    )
    middle = stored.where(of_trip).order_by(photos.c.taken_at, photos.c.id).offset(number // 2)
    row = connection.execute(best.limit(1)).first() or connection.execute(middle.limit(1)).first()
    return None if row is None else Cover(row.id, row.digest)
