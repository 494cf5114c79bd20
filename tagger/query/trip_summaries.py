"""Trips with what their photos show: numbers of photos, landmarks, a cover, and the way.

The table `trips` keeps them, and `trip_changes` and `visit_changes` the days that have changed since. Reading
computes the trips that these may have changed; `update_trip_positions` stores them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime
from typing import Any, Self

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Select,
    delete,
    exists,
    func,
    insert,
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
from tagger.database.tables import trips as stored_trips
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.query.counts import Cover
from tagger.query.photo_conditions import is_first_copy
from tagger.query.tagged_photos import TaggedPhoto
from tagger.texts.documents import document_of
from tagger.texts.text_format import reader_language
from tagger.trips import TripEdit
from tagger.trips.grouping import GroupedTrip, Span, Trip, VisitedPlace, place_name
from tagger.trips.stored import (
    ChangedTrips,
    all_trips,
    changed_trips,
    find_trip,
    find_trips,
    is_of_trip,
    photos_of_trips,
    read_edits,
)

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
    with database.snapshot() as connection:
        every = _read_trips(connection, taken_after or datetime.min, taken_before or datetime.max)  # noqa: DTZ901
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


def summarize_trips(database: Database, trips: Sequence[GroupedTrip]) -> list[TripSummary]:
    """What the photos of these trips show."""
    with database.read() as connection:
        return _summaries(connection, trips)


def _summaries(connection: Connection, trips: Sequence[GroupedTrip]) -> list[TripSummary]:
    return _named(connection, _shown(connection, trips))


@dataclass(frozen=True)
class _ShownTrip:
    """A trip with its number of photos, those of its landmarks, and its cover, by their ids."""

    trip: Trip
    photos: int
    landmarks: Sequence[tuple[int, int]]
    cover: int | None


def _shown(connection: Connection, trips: Sequence[GroupedTrip]) -> list[_ShownTrip]:
    if not trips:
        return []
    rows = photos_of_trips(connection, dict(enumerate(trips)))
    numbers, landmarks_of, best = _numbers(connection, rows)
    others = {index: trip for index, trip in enumerate(trips) if index not in best}
    if others:
        middle = _middle_photos(photos_of_trips(connection, others))
        best |= {row.trip: row.unit for row in connection.execute(middle)}
    return [
        _ShownTrip(trip.without_visits(), numbers.get(index, 0), sorted(landmarks_of[index]), best.get(index))
        for index, trip in enumerate(trips)
    ]


def _named(connection: Connection, shown: Sequence[_ShownTrip]) -> list[TripSummary]:
    """The trips with names of landmarks, of which some may have been removed, and images of covers."""
    known = landmarks_by_id(connection, {landmark_id for each in shown for landmark_id, _ in each.landmarks})
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


# A score and the id of its photo are one number, of which the greatest is found while photos are
# counted.
_SCORES, _IDS = 2**20, 2**40


def _numbers(
    connection: Connection, rows: CTE
) -> tuple[dict[int, int], Mapping[int, Sequence[tuple[int, int]]], dict[int, int]]:
    """By the trip's number: photos; those of landmarks; and the first photo with the best score.

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
    found = defaultdict[int, list[tuple[int, int]]](list)
    best: dict[int, int] = {}
    for trip, landmark_id, number, photo in found_rows:
        if landmark_id is not None:
            best[trip] = max(best.get(trip, photo), photo)
            found[trip].append((landmark_id, number))
    return numbers, found, {trip: -photo % _IDS for trip, photo in best.items()}


def _middle_photos(rows: CTE) -> Select[Any]:
    """The classified photo in the middle of each trip."""
    place = func.row_number().over(partition_by=rows.c.trip, order_by=(rows.c.taken_at, rows.c.unit))
    number = func.count().over(partition_by=rows.c.trip)
    ordered = select(rows.c.trip, rows.c.unit, (place - number // 2).label("place"))
    at = ordered.where(rows.c.content_id.is_not(None)).subquery()
    return select(at.c.trip, at.c.unit).where(at.c.place == 1)


def _covers(connection: Connection, photo_ids: Collection[int]) -> dict[int, Cover]:
    query = select(photos.c.id, contents.c.digest).join(contents, contents.c.id == photos.c.content_id)
    rows = connection.execute(query.where(among(photos.c.id, photo_ids)))
    return {row.id: Cover(row.id, row.digest) for row in rows}


# ----- the table -----


def _read_trips(connection: Connection, first: datetime, end: datetime) -> list[_ShownTrip]:
    """The trips with photos from a time until before another, in no order."""
    changed = changed_trips(connection)
    is_then = (stored_trips.c.last_at >= first) & (stored_trips.c.first_at < end)
    edits = {edit.id: edit for edit in read_edits(connection)}
    stored = connection.execute(
        select(stored_trips.c.first_at, stored_trips.c.last_at, stored_trips.c.summary).where(is_then)
    )
    found = [
        _restored(summary, edits) for *times, summary in stored if changed is None or not changed.have(*times)
    ]
    if changed is not None:
        then = [trip for trip in changed.trips if trip.last >= first and trip.first < end]
        found += _shown(connection, then)
    return found


def trip_rows(connection: Connection, trips: Sequence[GroupedTrip]) -> list[dict[str, Any]]:
    """The rows of trips in the table, without ids."""
    return [
        {"first_at": each.trip.first, "last_at": each.trip.last, "summary": _document(each)}
        for each in _shown(connection, trips)
    ]


def store_trips(connection: Connection, changed: ChangedTrips, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the trips of a time by these rows."""
    is_changed = (stored_trips.c.last_at >= changed.first) & (stored_trips.c.first_at < changed.end)
    connection.execute(delete(stored_trips).where(is_changed))
    if rows:
        connection.execute(insert(stored_trips), rows)


def outdated_trips(connection: Connection) -> Iterator[tuple[str, set[date]]]:
    """The ids of trips that are not what visits, tags and edits say, each with days on which it is wrong."""
    computed = {each.trip.id: each for each in _shown(connection, all_trips(connection))}
    every = _read_trips(connection, datetime.min, datetime.max)  # noqa: DTZ901 - cameras' times have no zone
    read = {each.trip.id: each for each in every}
    for trip_id in sorted({*computed, *read}):
        both = [each[trip_id] for each in (computed, read) if trip_id in each]
        if len(both) == 1 or _document(both[0]) != _document(both[1]):
            times = (time for each in both for time in (each.trip.first, each.trip.last))
            yield trip_id, {time.date() for time in times}


def _document(shown: _ShownTrip) -> dict[str, Any]:
    trip = shown.trip
    return {
        "id": trip.id,
        "name": trip.name,
        "spans": [[each.camera_id, each.first.isoformat(), each.last.isoformat()] for each in trip.spans],
        "places": [list(astuple(place)) for place in trip.places],
        "days": [day.isoformat() for day in trip.days],
        "given_name": trip.given_name,
        "edits": [edit.id for edit in trip.edits],
        "photos": shown.photos,
        "landmarks": [list(each) for each in shown.landmarks],
        "cover": shown.cover,
    }


def _restored(document: Mapping[str, Any], edits: Mapping[int, TripEdit]) -> _ShownTrip:
    first, last = map(date.fromisoformat, document["days"])
    trip = Trip(
        document["id"],
        document["name"],
        tuple(
            Span(camera_id, datetime.fromisoformat(begin), datetime.fromisoformat(end))
            for camera_id, begin, end in document["spans"]
        ),
        tuple(VisitedPlace(*place) for place in document["places"]),
        (first, last),
        document["given_name"],
        tuple(edits[edit_id] for edit_id in document["edits"] if edit_id in edits),
    )
    landmarks = [(landmark_id, number) for landmark_id, number in document["landmarks"]]
    return _ShownTrip(trip, document["photos"], landmarks, document["cover"])
