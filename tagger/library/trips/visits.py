"""Visits: what a camera took in one place on one day. The database sums them up, so a million photos are some ten thousand visits."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, case, cast, func, select

from tagger.database.column_parts import day_of, is_midnight
from tagger.database.enums import PositionSource
from tagger.database.tables import photos, positions
from tagger.library.catalog.camera_times import is_clock_time

PERIOD = timedelta(days=183)
"""Sorted at a time: memory does not grow with the years of a library."""
_FIRST, _LAST = datetime.min, datetime.max  # noqa: DTZ901 - cameras' times have no zone
_MEASURED = (PositionSource.CAMERA, PositionSource.TRACK)
_STRIP_DEGREES = 10
"""Places at the 180th meridian lie on both of its sides: photos of one visit lie on one."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """The city of a visit; at sea, all three are empty. Some small countries have no regions."""

    country: str = ""
    region: str = ""
    city: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """The photos of a camera in one place on one day, with their mean position in degrees and their first and last local time.

    `is_measured`: a GPS receiver says so, of the camera or of a track. Otherwise all positions follow from landmarks.
    `is_dated`: the date is not one at which clocks begin that were never set. Photos of the day before make it a true one.
    """

    camera_id: int
    day: date
    place: Place
    latitude: float
    longitude: float
    photos: int
    first: datetime
    last: datetime
    is_measured: bool = True
    is_dated: bool = True


def read_visits(connection: Connection, begin: datetime = _FIRST, end: datetime = _LAST) -> Iterator[Visit]:
    """The visits of all photos with a position and a time, in local time from `begin` until before `end`."""
    while (first := _first_time(connection, begin, end)) is not None:
        midnight = datetime.combine(first, time())
        until = end if end - midnight <= PERIOD else midnight + PERIOD
        for row in connection.execute(_visits().where(_is_between(first, until))):
            if row.camera_id is not None and is_clock_time(row.first, row.utc_offset_s or 0):
                yield Visit(
                    row.camera_id,
                    row.first.date(),
                    Place(row.country or "", row.region or "", row.city or ""),
                    row.latitude,
                    row.longitude,
                    row.photos,
                    row.first,
                    row.last,
                    bool(row.is_measured),
                    is_clock_time(row.first, row.utc_offset_s),
                )
        begin = until


def _first_time(connection: Connection, begin: datetime, end: datetime) -> datetime | None:
    first: datetime | None = connection.scalar(
        select(func.min(photos.c.taken_at)).where(_is_between(begin, end))
    )
    return first


def _is_between(begin: datetime, end: datetime) -> ColumnElement[bool]:
    return and_(photos.c.taken_at >= begin, photos.c.taken_at < end)


def _visits() -> Select[Any]:
    """Dates that may be none of a clock are grouped apart: those at midnight, and those without a time zone."""
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
        )
        .join(positions, positions.c.photo_id == photos.c.id)
        .where(
            photos.c.gone_since.is_(None),
            photos.c.origin.is_(None),
        )
        .group_by(*keys)
    )
