"""Visits: what a camera took in one place on one day, so that a million photos are some ten thousand visits.

They follow from photos and positions, without those that follow from trips. The table `visits` keeps them.
Triggers record in `visit_changes` which days of cameras have changed since. Reading computes the visits of
these days; `update_visits` stores them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache
from itertools import chain, groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    union,
)

from tagger.cameras import is_clock_time
from tagger.database.connection import Database
from tagger.database.enums import STATED, PositionSource
from tagger.database.recorded_changes import MOST_TAKEN, follow_some, take_marks
from tagger.database.statements import PAGE, among, date_of, day_of, is_midnight, lock_tables, pages
from tagger.database.tables import photos, positions, trip_changes, visit_changes, visits

_MEASURED = (*STATED, PositionSource.TRACK)
# Places at the 180th meridian lie on both of its sides: photos of one visit lie on one.
_STRIP_DEGREES = 10


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """The city of a visit; at sea, all three are empty. Some small countries have no regions."""

    country: str = ""
    region: str = ""
    city: str = ""


class Visit(NamedTuple):
    """The photos of a camera in one place on one day, with their mean position in degrees.

    `is_measured`: by a GPS receiver, of the camera or of a track. Else all positions follow from landmarks.
    `is_dated`: the clock was set, as far as the date says. Photos of the day before make any date a true one.
    `folder`: that of all these photos; empty: they are in several, or in none.
    `is_located`: their position is known. Other visits have no place.
    """

    camera_id: int
    day: date
    place: Locality
    latitude: float
    longitude: float
    photos: int
    first: datetime
    last: datetime
    is_measured: bool = True
    is_dated: bool = True
    folder: str = ""
    is_located: bool = True


CameraDay = tuple[int, date]
_COLUMNS = tuple(column for column in visits.columns if column is not visits.c.id)
# The values of _COLUMNS.
_Values = Sequence[Any]


def read_visits(connection: Connection, begin: date = date.min, end: date = date.max) -> Iterator[Visit]:
    """The visits of all photos with a time, from one day to another; of one day without a position too."""
    changed = _changed_days(connection, begin, end)
    stored = connection.execute(select(*_COLUMNS).where(visits.c.day.between(begin, end)))
    unchanged = (row for row in stored if (row[1], row[0]) not in changed) if changed else stored
    places: dict[tuple[str, str, str], Locality] = {}
    for values in chain(unchanged, computed_visits(connection, changed)):
        day, camera_id, country, region, city, latitude, longitude, *of_photos = values
        key = country, region, city
        place = places.get(key) or places.setdefault(key, Locality(*key))
        number, first, last, is_measured, is_dated, folder = of_photos
        yield Visit(
            camera_id,
            day,
            place,
            latitude or 0.0,
            longitude or 0.0,
            number,
            first,
            last,
            is_measured,
            is_dated,
            folder,
            is_located=latitude is not None,
        )


def update_visits(database: Database, on_page: Callable[[], object] = lambda: None) -> None:
    """Store the visits that have changed, a page of days per transaction."""
    while follow_some(database, has_changed_visits, update_some_visits):
        on_page()


def record_visit_changes(connection: Connection, days: Iterable[CameraDay]) -> None:
    """Record days of cameras whose visits are computed again."""
    if rows := [{"camera_id": camera_id, "day": day} for camera_id, day in days]:
        connection.execute(insert(visit_changes), rows)


def has_changed_visits(connection: Connection) -> bool:
    """Whether photos or positions have changed since visits were stored."""
    return bool(connection.scalar(select(exists(visit_changes.c.id))))


def update_some_visits(connection: Connection) -> bool:
    """Store the visits of a page of changed days. Returns whether there were any."""
    if not has_changed_visits(connection):
        return False
    lock_tables(connection, visits)  # one update at a time
    marks = take_marks(connection, visit_changes, visit_changes.c.day)
    if marks:
        is_marked = among(photos.c.id, {each.photo_id for each in marks})
        days_of_photos = _days_of_photos().where(is_marked)
        connection.execute(insert(visit_changes).from_select(["camera_id", "day"], days_of_photos))
    if len(marks) == MOST_TAKEN:
        return True  # first all photos, so that each day is computed once
    days = _changed_days(connection, limit=PAGE)
    for table in (visit_changes, visits):
        connection.execute(delete(table).where(tuple_(table.c.camera_id, table.c.day).in_(days)))
    # A change that is too late for this is recorded again.
    names = [column.name for column in _COLUMNS]
    rows = [dict(zip(names, values, strict=True)) for values in computed_visits(connection, days)]
    if rows:
        connection.execute(insert(visits), rows)
    record_trip_changes(connection, {day for _, day in days})
    return bool(days)


def record_trip_changes(connection: Connection, days: Iterable[date]) -> None:
    """Record days with whose photos trips may have changed since the table `trips` was updated."""
    if rows := [{"day": day} for day in days]:
        connection.execute(insert(trip_changes), rows)


def outdated_days(connection: Connection) -> Iterator[CameraDay]:
    """The days whose stored visits do not follow from their causes, without those recorded as changed."""
    changed = _changed_days(connection)
    is_dated = photos.c.camera_id.is_not(None) & photos.c.taken_at.is_not(None)
    times = select(photos.c.camera_id, func.min(photos.c.taken_at), func.max(photos.c.taken_at))
    days_of = {
        camera_id: range(first.toordinal(), last.toordinal() + 1)
        for camera_id, first, last in connection.execute(times.where(is_dated).group_by(photos.c.camera_id))
    }
    for camera_id in sorted({*days_of, *connection.scalars(select(visits.c.camera_id).distinct())}):
        rows = connection.execute(select(*_COLUMNS).where(visits.c.camera_id == camera_id))
        days = ((camera_id, date.fromordinal(number)) for number in days_of.get(camera_id, ()))
        stored = Counter(map(_comparable, rows))
        found = Counter(map(_comparable, computed_visits(connection, days)))
        for day in sorted({day for day, *_ in (stored - found) + (found - stored)}):
            if (camera_id, day) not in changed:
                yield camera_id, day


def _comparable(values: _Values) -> tuple[Any, ...]:
    """The values, with means that do not depend on the order in which they were summed up."""
    return tuple(round(each, 6) if isinstance(each, float) else each for each in values)


def _changed_days(
    connection: Connection, begin: date = date.min, end: date = date.max, *, limit: int | None = None
) -> dict[CameraDay, None]:
    """The days in order, with those of marked photos."""
    columns = visit_changes.c.camera_id, visit_changes.c.day
    of_photos = _days_of_photos().join(visit_changes, visit_changes.c.photo_id == photos.c.id)
    marked = union(
        select(*columns).where(visit_changes.c.day.between(begin, end)),
        of_photos.where(date_of(photos.c.taken_at).between(begin, end)),
    ).subquery()
    query = select(*marked.c).order_by(*marked.c).limit(limit)
    return dict.fromkeys((camera_id, day) for camera_id, day in connection.execute(query))


def _days_of_photos() -> Select[Any]:
    """The days of cameras on which photos were taken."""
    return (
        select(photos.c.camera_id, date_of(photos.c.taken_at).label("day"))
        .where(photos.c.camera_id.is_not(None), photos.c.taken_at.is_not(None))
        .distinct()
    )


def computed_visits(connection: Connection, days: Iterable[CameraDay]) -> Iterator[_Values]:
    """The visits of these days, which are in order, as photos and positions say."""
    for camera_id, first, last in chain.from_iterable(map(_runs, pages(days))):
        whole_days = {"first": datetime.combine(first, time.min), "last": datetime.combine(last, time.max)}
        for row in connection.execute(_visits(), {"camera": camera_id, **whole_days}):
            if is_clock_time(row.first, row.utc_offset_s or 0):
                yield (
                    row.first.date(),
                    row.camera_id,
                    row.country or "",
                    row.region or "",
                    row.city or "",
                    row.latitude,
                    row.longitude,
                    row.photos,
                    row.first,
                    row.last,
                    bool(row.is_measured),
                    is_clock_time(row.first, row.utc_offset_s),
                    _common_folder(row.first_path, row.last_path, row.depth),
                )


def _runs(days: Iterable[CameraDay]) -> Iterator[tuple[int, date, date]]:
    """The first and last of days of a camera that follow each other."""
    numbered = enumerate(days)
    for _, some in groupby(numbered, lambda each: (each[1][0], each[1][1].toordinal() - each[0])):
        run = [day for _, day in some]
        yield *run[0], run[-1][1]


def _common_folder(first: str, last: str, depth: int) -> str:
    """The folder of all paths between two, whose deepest has `depth` slashes; empty: they are in several."""
    folder = first[: first.rfind("/") + 1]
    return folder if last.startswith(folder) and folder.count("/") == depth else ""


@cache
def _visits() -> Select[Any]:
    """The query for visits. Dates at midnight or without a zone may come from no clock, so they are apart."""
    # Built once: it runs for each day, and to build it takes longer than to run it.
    keys = (
        photos.c.camera_id,
        day_of(photos.c.taken_at),
        positions.c.country,
        positions.c.region,
        positions.c.city,
        cast((positions.c.longitude + 180) / _STRIP_DEGREES, Integer),
        is_midnight(photos.c.taken_at),
        photos.c.utc_offset_s.is_(None),
    )
    return (
        select(
            photos.c.camera_id,
            positions.c.country,
            positions.c.region,
            positions.c.city,
            func.avg(positions.c.latitude).label("latitude"),
            func.avg(positions.c.longitude).label("longitude"),
            func.count().label("photos"),
            func.min(photos.c.taken_at).label("first"),
            func.max(photos.c.taken_at).label("last"),
            func.min(photos.c.utc_offset_s).label("utc_offset_s"),
            func.max(case((positions.c.source.in_(_MEASURED), 1), else_=0)).label("is_measured"),
            # The database would take longer to find the folder of each path than for all else.
            func.min(photos.c.path).label("first_path"),
            func.max(photos.c.path).label("last_path"),
            func.max(func.length(photos.c.path) - func.length(func.replace(photos.c.path, "/", ""))).label(
                "depth"
            ),
        )
        .outerjoin(
            positions, and_(positions.c.photo_id == photos.c.id, positions.c.source != PositionSource.TRIP)
        )
        .where(photos.c.gone_since.is_(None), photos.c.origin.is_(None))
        .where(
            photos.c.camera_id == bindparam("camera"),
            photos.c.taken_at.between(bindparam("first"), bindparam("last")),
        )
        .group_by(*keys)
    )
