"""Trips with what their photos show: numbers of photos, landmarks, a cover, and the way. Reads only."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Select,
    exists,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)

from tagger.database.connection import Database
from tagger.database.enums import STATED, PositionSource
from tagger.database.statements import among, rounded_down
from tagger.database.tables import contents, effective_tags, photos, positions
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.query.counts import Cover
from tagger.query.photo_conditions import is_first_copy
from tagger.query.tagged_photos import TaggedPhoto
from tagger.texts.documents import document_of
from tagger.texts.text_format import reader_language
from tagger.trips.grouping import Trip, VisitedPlace, place_name
from tagger.trips.stored import find_trip, find_trips, is_of_trip, photos_of_trips, trips_during

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


_NAMING_SHARE = 0.5
"""A landmark in this share of the photos of a trip names it: Machu Picchu, not the nearest town."""


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

    @property
    def title_without_place(self) -> str:
        """The title without the place where photos were taken: if no other name is known, the dates."""
        return ", ".join(filter(None, (self._name_without_place, self.trip.dates)))

    def with_names(self, names: Mapping[str, str]) -> Self:
        """The summary with other names of landmarks, by their slugs."""
        landmarks = tuple(replace(each, name=names.get(each.landmark, each.name)) for each in self.landmarks)
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
    with database.read() as connection:
        trips = trips_during(connection, taken_after, taken_before)
    return summarize_trips(database, trips[::-1])


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
        (summary,) = _summaries(connection, [find_trip(connection, trip_id)])
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
                query = select(photos.c.id).where(among(photos.c.id, then), is_of_trip(summary.trip))
                found |= dict.fromkeys(connection.scalars(query), summary)
    return found


def summarize_trips(database: Database, trips: Sequence[Trip]) -> list[TripSummary]:
    """What the photos of these trips show."""
    if not trips:
        return []
    with database.read() as connection:
        return _summaries(connection, trips)


def _summaries(connection: Connection, trips: Sequence[Trip]) -> list[TripSummary]:
    rows = photos_of_trips(connection, dict(enumerate(trips)))
    numbers, shown, best = _numbers(connection, rows)
    others = {index: trip for index, trip in enumerate(trips) if index not in best}
    if others:
        middle = _middle_photos(photos_of_trips(connection, others))
        best |= {row.trip: row.unit for row in connection.execute(middle)}
    covers = _covers(connection, best)
    return [
        TripSummary(trip, numbers.get(index, 0), tuple(shown.get(index, ())), covers.get(index))
        for index, trip in enumerate(trips)
    ]


_SCORES, _IDS = 2**20, 2**40
"""A score and the id of its photo are one number, of which the greatest is found while photos are counted."""


def _numbers(
    connection: Connection, rows: CTE
) -> tuple[dict[int, int], dict[int, list[TripLandmark]], dict[int, int]]:
    """By the trip's number: photos; landmarks, most photos first; and the first photo with the best score.

    One statement counts all, for which the photos are read once. Scores that differ by less than a millionth
    are equal.
    """
    image = func.coalesce(rows.c.content_id, -rows.c.unit)
    score = rounded_down(func.coalesce(effective_tags.c.score, 0.0) * _SCORES)
    best_photo = func.max(score * literal(_IDS, BigInteger) - rows.c.unit)
    nothing = null(), func.count(image.distinct()), null()
    of_landmark = effective_tags.c.landmark_id, func.count(rows.c.content_id.distinct()), best_photo
    query = union_all(
        select(rows.c.trip, *nothing).group_by(rows.c.trip),
        select(rows.c.trip, *of_landmark)
        .join_from(rows, effective_tags, effective_tags.c.content_id == rows.c.content_id)
        .where(effective_tags.c.accepted == true())
        .group_by(rows.c.trip, effective_tags.c.landmark_id),
    )
    found_rows = connection.execute(query).all()
    numbers = {trip: number for trip, landmark_id, number, _ in found_rows if landmark_id is None}
    counted = [row for row in found_rows if row[1] is not None]
    landmarks = landmarks_by_id(connection, {landmark_id for _, landmark_id, *_ in counted})
    found = defaultdict[int, list[TripLandmark]](list)
    best: dict[int, int] = {}
    for trip, landmark_id, number, photo in counted:
        best[trip] = max(best.get(trip, photo), photo)
        if landmark_id in landmarks:  # or it was merged or removed since
            landmark = landmarks[landmark_id]
            found[trip].append(TripLandmark(landmark.slug, landmark.display_name, number))
    for each in found.values():
        each.sort(key=lambda landmark: (-landmark.photos, landmark.landmark))
    return numbers, found, {trip: -photo % _IDS for trip, photo in best.items()}


def _middle_photos(rows: CTE) -> Select[Any]:
    """The classified photo in the middle of each trip."""
    place = func.row_number().over(partition_by=rows.c.trip, order_by=(rows.c.taken_at, rows.c.unit))
    number = func.count().over(partition_by=rows.c.trip)
    ordered = select(rows.c.trip, rows.c.unit, (place - number // 2).label("place"))
    at = ordered.where(rows.c.content_id.is_not(None)).subquery()
    return select(at.c.trip, at.c.unit).where(at.c.place == 1)


def _covers(connection: Connection, photo_of: Mapping[int, int]) -> dict[int, Cover]:
    query = select(photos.c.id, contents.c.digest).join(contents, contents.c.id == photos.c.content_id)
    rows = connection.execute(query.where(among(photos.c.id, photo_of.values())))
    covers = {row.id: Cover(row.id, row.digest) for row in rows}
    return {trip: covers[photo_id] for trip, photo_id in photo_of.items() if photo_id in covers}
