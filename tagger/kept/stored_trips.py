"""Trips that the database keeps, with what their photos show; and positions of photos that follow from trips.

The table `trips` keeps them. Reading computes the trips that changed days may have changed; `store_trips`
stores them.

A camera without GPS is on a trip with phones that have it. Its photos get the place of the visit nearest in
time: of that day with the city, on a day without any with the country alone. The error says how far apart the
visits are. These positions locate nothing else: no photos, visits or tags follow from them, only suggestions
of taught landmarks.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass
from datetime import date, datetime, time, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    select,
    true,
    union_all,
    update,
)

from tagger.database import KeptStep, PositionSource
from tagger.database.statements import LockTimedOut, among, insert_page, rounded_down
from tagger.database.tables import (
    changed_days,
    effective_tags,
    ledgers,
    photos,
    positions,
    trips,
    visits,
)
from tagger.geo import distance_km
from tagger.kept import trip_days
from tagger.kept.trips import (
    ChangedTrips,
    all_trips,
    photos_of_trips,
    read_edits,
    trips_around,
)
from tagger.trips import TripEdit, Visit
from tagger.trips.grouping import GroupedTrip, Span, Trip, VisitedPlace

# The least error on a day with a visit: that within a city.
LEAST_ERROR_M = 10_000.0
LEAST_ERROR_OF_OTHER_DAYS_M = 100_000.0
# Photos from the first changed day of a page to its last one.
_MOST_PHOTOS = 50_000


@dataclass(frozen=True)
class CountedTrip:
    """A trip with its number of photos, those of its landmarks, and its cover, by their ids.

    `sight`: the one at which most of its photos were taken, and their number.
    """

    trip: Trip
    photos: int
    landmarks: Sequence[tuple[int, int]]
    cover: int | None
    sight: tuple[str, int] | None


def read_trips(
    connection: Connection,
    first: datetime,
    end: datetime,
    photo_ids: Collection[int] | None = None,
) -> list[CountedTrip]:
    """The trips with photos from a time until before another, in no order.

    `photo_ids`: only those that are stored with one of these photos in their time, and all that have changed.
    """
    is_then = (trips.c.last_at >= first) & (trips.c.first_at < end)
    if photo_ids is not None:
        is_in_time = photos.c.taken_at.between(trips.c.first_at, trips.c.last_at)
        is_then &= exists().where(among(photos.c.id, photo_ids), is_in_time)
    grouped: list[GroupedTrip] = []
    if days := trip_days(connection):
        changed = trips_around(connection, min(days), max(days))
        is_then &= ~_is_in(changed)
        grouped = [
            trip for trip in changed.trips if trip.last >= first and trip.first < end
        ]
    edits = {edit.id: edit for edit in read_edits(connection)}
    stored = connection.scalars(select(trips.c.summary).where(is_then))
    return [
        *(_restored(summary, edits) for summary in stored),
        *count_trips(connection, grouped),
    ]


def _is_in(changed: ChangedTrips) -> ColumnElement[bool]:
    # Whether a stored trip has photos in the time of changed ones.
    return (trips.c.last_at >= changed.first) & (trips.c.first_at < changed.end)


def count_trips(
    connection: Connection, grouped: Sequence[GroupedTrip]
) -> list[CountedTrip]:
    """What the photos of these trips show.

    One statement counts all, for which the photos are read once. Scores that differ by less than a millionth
    are equal.
    """
    if not grouped:
        return []
    rows = photos_of_trips(connection, dict(enumerate(grouped)))
    image = func.coalesce(rows.c.content_id, -rows.c.unit)
    score = rounded_down(func.coalesce(effective_tags.c.score, 0.0) * _SCORES)
    best_photo = func.max(score * literal(_IDS, BigInteger) - rows.c.unit)
    nothing = null(), null(), func.count(image.distinct()), null()
    number_of_images = func.count(rows.c.content_id.distinct())
    of_landmark = effective_tags.c.landmark_id, null(), number_of_images, best_photo
    query = union_all(
        select(rows.c.trip, *nothing).group_by(rows.c.trip),
        select(rows.c.trip, *of_landmark)
        .join_from(
            rows, effective_tags, effective_tags.c.content_id == rows.c.content_id
        )
        .where(effective_tags.c.accepted == true())
        .group_by(rows.c.trip, effective_tags.c.landmark_id),
        # After that: PostgreSQL takes columns of nulls alone for texts.
        select(rows.c.trip, null(), positions.c.sight, number_of_images, null())
        .join_from(rows, positions, positions.c.photo_id == rows.c.unit)
        .where(positions.c.sight.is_not(None))
        .group_by(rows.c.trip, positions.c.sight),
    )
    numbers: dict[int, int] = {}
    landmarks = defaultdict[int, list[tuple[int, int]]](list)
    best: dict[int, int] = {}
    sights = defaultdict[int, list[tuple[str, int]]](list)
    for index, landmark_id, sight, number, photo in connection.execute(query):
        if sight is not None:
            sights[index].append((sight, number))
        elif landmark_id is None:
            numbers[index] = number
        else:
            landmarks[index].append((landmark_id, number))
            best[index] = max(best.get(index, photo), photo)
    covers = {index: -photo % _IDS for index, photo in best.items()}
    others = {index: trip for index, trip in enumerate(grouped) if index not in covers}
    if others:
        covers |= _middle_photos(connection, others)
    return [
        CountedTrip(
            trip.without_visits(),
            numbers.get(index, 0),
            sorted(landmarks[index]),
            covers.get(index),
            max(sights[index], key=lambda entry: (entry[1], entry[0]), default=None),
        )
        for index, trip in enumerate(grouped)
    ]


# A score and the id of its photo are one number, of which the greatest is found while photos are counted.
_SCORES, _IDS = 2**20, 2**40


def _middle_photos(
    connection: Connection, grouped: Mapping[int, GroupedTrip]
) -> dict[int, int]:
    # The classified photo in the middle of each trip.
    rows = photos_of_trips(connection, grouped)
    place = func.row_number().over(
        partition_by=rows.c.trip, order_by=(rows.c.taken_at, rows.c.unit)
    )
    number = func.count().over(partition_by=rows.c.trip)
    at = (
        select(rows.c.trip, rows.c.unit, (place - number // 2).label("place"))
        .where(rows.c.content_id.is_not(None))
        .subquery()
    )
    middle = select(at.c.trip, at.c.unit).where(at.c.place == 1)
    return {row.trip: row.unit for row in connection.execute(middle)}


def store_trips(
    reading: Connection,
    write: Callable[[], AbstractContextManager[Connection]],
    after: int,
) -> tuple[int, int] | None:
    """Store the trips of a page of changed days, the first ones after a day, and locate their photos.

    Trips are grouped while others may write; only what differs is stored in a transaction for writing.

    Returns the last day, after which the next call continues, and how many photos moved; None: no day has
    changed.

    Raises:
        LockTimedOut: another process has stored trips meanwhile.
    """
    # It loads numpy, which readers of trips do not need.
    from tagger.positions.tag_odds import record_changes

    # First the version, then the days: what is stored or changed later is noticed, or recorded again.
    version = reading.execute(select(ledgers.c.trips_version)).scalar_one()
    is_next = (changed_days.c.step == KeptStep.TRIPS) & (changed_days.c.part > after)
    first_day = reading.scalar(select(func.min(changed_days.c.part)).where(is_next))
    if first_day is None:
        return None
    is_of_page = is_next & (
        changed_days.c.part <= _last_day_of_page(reading, first_day)
    )
    query = select(changed_days.c.id, changed_days.c.part).where(is_of_page)
    day_of_mark = {row.id: row.part for row in reading.execute(query)}
    last_day = max(day_of_mark.values())
    changed = trips_around(
        reading,
        date.fromordinal(first_day),
        date.fromordinal(last_day),
    )
    rows = [_row(trip) for trip in count_trips(reading, changed.trips)]
    located = {row[0]: row for row in _located_photos(reading, changed.trips)}
    # Also of photos that have lost their time.
    is_then = photos.c.taken_at.between(
        changed.first, changed.end
    ) | photos.c.taken_at.is_(None)
    columns = (
        cast(positions.c[name], Text) if name == "evidence" else positions.c[name]
        for name in _NAMES
    )
    of_trips = (
        select(*columns)
        .join(photos, photos.c.id == positions.c.photo_id)
        .where(_IS_OF_TRIP, is_then)
    )
    stored = {row[0]: tuple(row) for row in reading.execute(of_trips)}
    old = [photo_id for photo_id, row in stored.items() if located.get(photo_id) != row]
    new = {
        photo_id: row
        for photo_id, row in located.items()
        if stored.get(photo_id) != row
    }
    with write() as connection:
        if not connection.execute(
            update(ledgers)
            .where(ledgers.c.trips_version == version)
            .values(trips_version=version + 1)
        ).rowcount:
            raise LockTimedOut
        connection.execute(
            delete(changed_days).where(among(changed_days.c.id, day_of_mark))
        )
        connection.execute(delete(trips).where(_is_in(changed)))
        if rows:
            connection.execute(insert(trips), rows)
        connection.execute(
            delete(positions).where(among(positions.c.photo_id, old), _IS_OF_TRIP)
        )
        # Meanwhile, photos may have been removed, or have got a position of their own.
        present = (
            select(photos.c.id)
            .where(among(photos.c.id, new))
            .with_for_update(read=True, key_share=True)
        )
        new_rows = [new[photo_id] for photo_id in sorted(connection.scalars(present))]
        insert_page(connection, positions, _NAMES, new_rows, skip_existing=True)
        record_changes(connection, (), estimated={*old, *new})
    return last_day, len({*old, *new})


def outdated_trips(connection: Connection) -> Iterator[tuple[str, set[date]]]:
    """The ids of trips that are not what visits, tags and edits say, each with days on which it is wrong."""
    computed_trips = count_trips(connection, all_trips(connection))
    stored_trips = read_trips(connection, datetime.min, datetime.max)  # noqa: DTZ901 - cameras' times have no zone
    computed = {counted.trip.id: _row(counted) for counted in computed_trips}
    stored = {counted.trip.id: _row(counted) for counted in stored_trips}
    for trip_id in sorted(computed.keys() | stored.keys()):
        rows = computed.get(trip_id), stored.get(trip_id)
        if rows[0] == rows[1]:
            continue
        days: set[date] = set()
        for row in rows:
            if row is not None:
                days |= {row["first_at"].date(), row["last_at"].date()}
        yield trip_id, days


def _row(counted: CountedTrip) -> dict[str, Any]:
    # The row of the table, without its id.
    trip = counted.trip
    summary = {
        "id": trip.id,
        "name": trip.name,
        "spans": [
            [
                span.camera_id,
                span.first.isoformat(),
                span.last.isoformat(),
            ]
            for span in trip.spans
        ],
        "places": [list(astuple(place)) for place in trip.places],
        "days": [day.isoformat() for day in trip.days],
        "given_name": trip.given_name,
        "edits": [edit.id for edit in trip.edits],
        "photos": counted.photos,
        "landmarks": [list(landmark) for landmark in counted.landmarks],
        "cover": counted.cover,
        "sight": counted.sight and list(counted.sight),
    }
    return {"first_at": trip.first, "last_at": trip.last, "summary": summary}


def _restored(summary: Mapping[str, Any], edits: Mapping[int, TripEdit]) -> CountedTrip:
    first, last = map(date.fromisoformat, summary["days"])
    trip = Trip(
        summary["id"],
        summary["name"],
        tuple(
            Span(camera_id, datetime.fromisoformat(begin), datetime.fromisoformat(end))
            for camera_id, begin, end in summary["spans"]
        ),
        tuple(VisitedPlace(*place) for place in summary["places"]),
        (first, last),
        summary["given_name"],
        tuple(edits[edit_id] for edit_id in summary["edits"] if edit_id in edits),
    )
    landmarks = [(landmark_id, number) for landmark_id, number in summary["landmarks"]]
    sight = summary.get("sight") and tuple(summary["sight"])
    return CountedTrip(trip, summary["photos"], landmarks, summary["cover"], sight)


def _last_day_of_page(connection: Connection, first_day: int) -> int:
    # The day with whose photos there are _MOST_PHOTOS since the first one, or the last of all days.
    per_day = (
        select(visits.c.part, func.sum(visits.c.photos))
        .where(visits.c.part >= first_day)
        .group_by(visits.c.part)
        .order_by(visits.c.part)
    )
    rest = _MOST_PHOTOS
    day: int
    for day, of_day in connection.execute(per_day):
        rest -= of_day
        if rest < 0:
            return day
    return date.max.toordinal()


# ----- positions -----

_NAMES = (
    "photo_id",
    "latitude",
    "longitude",
    "error_m",
    "source",
    "evidence",
    "country",
    "region",
    "city",
)
_IS_OF_TRIP = positions.c.source == PositionSource.TRIP


def _located_photos(
    connection: Connection, grouped: Sequence[GroupedTrip]
) -> Iterator[tuple[Any, ...]]:
    # The values of _NAMES of photos that have no other position.
    if not grouped:
        return
    of_trips = photos_of_trips(connection, dict(enumerate(grouped)))
    query = (
        select(
            of_trips.c.trip,
            of_trips.c.unit,
            of_trips.c.taken_at,
        )
        .join(photos, photos.c.id == of_trips.c.unit)
        .outerjoin(positions, positions.c.photo_id == of_trips.c.unit)
        .where(of_trips.c.content_id.is_not(None), photos.c.origin.is_(None))
        .where(positions.c.photo_id.is_(None) | _IS_OF_TRIP)
    )
    visits_of: dict[int, Sequence[Visit]] = {}
    for number, photo_id, taken_at in connection.execute(query):
        trip = grouped[number]
        if number not in visits_of:
            visits_of[number] = sorted(
                trip.visits, key=attrgetter("first", "last", "camera_id")
            )
        latitude, longitude, error_m, *place = _position_at(visits_of[number], taken_at)
        evidence = json.dumps({"trip": trip.id})
        yield (
            photo_id,
            latitude,
            longitude,
            error_m,
            PositionSource.TRIP.value,
            evidence,
            *place,
        )


def _position_at(
    route: Sequence[Visit], taken_at: datetime
) -> tuple[float, float, float, str | None, str | None, str | None]:
    # Where a photo was taken, in degrees, with the error in metres; country, region and city.
    #
    # `route`: the visits of all cameras, in order of time. On a day without a visit, only the country is
    # known.
    begin = datetime.combine(taken_at, time.min)
    end = datetime.combine(taken_at, time.max)
    around = [visit for visit in route if visit.first <= end and visit.last >= begin]
    if not around:
        place = bisect_left(route, taken_at, key=attrgetter("first"))
        around = [
            *route[max(place - 1, 0) : place],
            *route[place : place + 1],
        ]

    def distance(visit: Visit) -> tuple[timedelta, int]:
        return max(
            visit.first - taken_at,
            taken_at - visit.last,
            timedelta(),
        ), -visit.photos

    nearest = min(around, key=distance)
    apart_km = max(
        distance_km(
            nearest.latitude, nearest.longitude, visit.latitude, visit.longitude
        )
        for visit in around
    )
    is_of_day = nearest.day == taken_at.date()
    least_m = LEAST_ERROR_M if is_of_day else LEAST_ERROR_OF_OTHER_DAYS_M
    region, city = (nearest.place.region, nearest.place.city) if is_of_day else ("", "")
    return (
        round(nearest.latitude, 7),
        round(nearest.longitude, 7),
        float(round(max(least_m, 1000 * apart_km))),
        nearest.place.country or None,
        region or None,
        city or None,
    )
