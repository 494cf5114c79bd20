"""Photos between two parallels and two meridians, or in a circle on the ground: an index scan over positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Float, Row, Select, and_, func, or_, select, true

from tagger.database.tables import positions
from tagger.library.query.index_scan import (
    Condition,
    Key,
    PageRequest,
    ScanPage,
    count_rows,
    is_id,
    off_index,
    page_along_index,
)
from tagger.library.query.options import BoundingBox, Near
from tagger.system.geo import EARTH_RADIUS_KM

_MARGIN = 1e-6
"""Degrees that a box is larger than its circle, against rounding."""
_SLACK = 2e-15
"""What a circle's condition is larger, against rounding: 0.4 m at most, and less for a larger circle."""
_KEYS = (positions.c.latitude, positions.c.longitude, positions.c.photo_id)


@dataclass(frozen=True)
class Box:
    """Two parallels, and ranges of longitudes between them, in degrees: two where they cross 180°; none: all longitudes.

    `circle`: only positions in this circle, which the box surrounds: a city in a corner may have more photos than the circle.
    """

    south: float
    north: float
    ranges: tuple[tuple[float, float], ...]
    circle: Near | None = None

    @classmethod
    def around(cls, circle: Near) -> Self:
        """The box around a circle on the ground."""
        latitude, longitude = circle.latitude, circle.longitude
        angle = min(circle.radius_km / EARTH_RADIUS_KM, pi)
        height = degrees(angle) + _MARGIN
        south, north = latitude - height, latitude + height
        if south <= -90 or north >= 90:  # a pole is inside
            return cls(south, north, (), circle)
        width = degrees(asin(min(1.0, sin(angle) / cos(radians(latitude))))) + _MARGIN
        return cls(south, north, tuple(_ranges(longitude - width, longitude + width)), circle)

    @classmethod
    def of(cls, bounds: BoundingBox) -> Self:
        """The box with these bounds."""
        east = bounds.east if bounds.east >= bounds.west else bounds.east + 360
        return cls(bounds.south, bounds.north, tuple(_ranges(bounds.west, east)))

    @property
    def condition(self) -> Condition:
        """Whether a position is inside, for scans of other indexes."""
        return off_index(positions.c.latitude).between(self.south, self.north) & self.has_longitude

    @property
    def has_longitude(self) -> Condition:
        """Whether a position between the parallels is inside."""
        column = off_index(positions.c.longitude)
        in_ranges = (
            or_(*(column.between(west, east) for west, east in self.ranges)) if self.ranges else true()
        )
        return in_ranges if self.circle is None else and_(in_ranges, _is_within(self.circle))


def _is_within(circle: Near) -> Condition:
    """Whether the great-circle distance is at most the radius: the haversine formula with 1 - cos x for 2 sin² (x / 2)."""

    def versine(degrees_: ColumnElement[float]) -> ColumnElement[float]:
        return 1 - func.cos(degrees_ * (pi / 180), type_=Float())

    latitude, longitude = positions.c.latitude, positions.c.longitude
    parallel = cos(radians(circle.latitude)) * func.cos(latitude * (pi / 180), type_=Float())
    distance = versine(latitude - circle.latitude) + parallel * versine(longitude - circle.longitude)
    return distance <= 1 - cos(min(circle.radius_km / EARTH_RADIUS_KM, pi)) + _SLACK


def _ranges(west: float, east: float) -> Iterator[tuple[float, float]]:
    """The longitudes from `west` to `east`, of which one may lie beyond 180°."""
    for turn in (-360.0, 0.0, 360.0):
        if west + turn <= 180 and east + turn >= -180:
            yield west + turn, east + turn


@dataclass(frozen=True)
class BoxScan:
    """Photos with a position in the box (None: anywhere), from south to north, of the same latitude from west to east.

    With `country`, those that are in this country too.
    """

    box: Box | None
    country: str | None = None
    landmark_id: None = None

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        conditions = (*self._limits(request), *self._rest())
        return page_along_index(connection, request, positions.c.photo_id, _KEYS, conditions)

    def key(self, row: Row[Any]) -> Key:
        return row.latitude, row.longitude, row.id

    def contains(self, connection: Connection, row: Row[Any]) -> bool:  # noqa: ARG002 - the row is enough
        if row.latitude is None or self.country not in (None, row.country):
            return False
        return self.box is None or self.box.south <= row.latitude <= self.box.north

    def size(self, connection: Connection, limit: int) -> int:
        return count_rows(connection, self.photo_ids(), limit)

    def photo_ids(self) -> Select[Any]:
        query = select(positions.c.photo_id).where(*self._rest())
        if self.box is None:
            return query
        return query.where(positions.c.latitude.between(self.box.south, self.box.north))

    def accepts(self, key: Key) -> bool:
        return len(key) == 3 and type(key[0]) is type(key[1]) is float and is_id(key[2])

    def _limits(self, request: PageRequest) -> Iterator[Condition]:
        """The key of the previous page is one limit; with a second one, SQLite may begin at that."""
        if self.box is None:
            return
        if request.after is None or request.backwards:
            yield positions.c.latitude >= self.box.south
        if request.after is None or not request.backwards:
            yield positions.c.latitude <= self.box.north

    def _rest(self) -> Iterator[Condition]:
        if self.box is not None:
            yield self.box.has_longitude
        if self.country is not None:
            yield positions.c.country == self.country
