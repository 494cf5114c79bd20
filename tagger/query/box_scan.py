"""Photos between two parallels and two meridians: an index scan over positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, or_, select, true

from tagger.database.tables import positions
from tagger.geo import EARTH_RADIUS_KM
from tagger.query.index_scan import Condition, Key, PageRequest, ScanPage, count_rows, is_id, off_index
from tagger.query.options import BoundingBox

_MARGIN = 1e-6
"""Degrees that a box is larger than its circle, against rounding."""
_KEYS = (positions.c.latitude, positions.c.longitude, positions.c.photo_id)


@dataclass(frozen=True)
class Box:
    """Two parallels, and ranges of longitudes between them, in degrees: two where the box crosses 180°; none: all longitudes."""

    south: float
    north: float
    ranges: tuple[tuple[float, float], ...]

    @classmethod
    def around(cls, latitude: float, longitude: float, radius_km: float) -> Self:
        """The box around a circle on the ground."""
        angle = min(radius_km / EARTH_RADIUS_KM, pi)
        height = degrees(angle) + _MARGIN
        south, north = latitude - height, latitude + height
        if south <= -90 or north >= 90:  # a pole is inside
            return cls(south, north, ())
        width = degrees(asin(min(1.0, sin(angle) / cos(radians(latitude))))) + _MARGIN
        return cls(south, north, tuple(_ranges(longitude - width, longitude + width)))

    @classmethod
    def of(cls, bounds: BoundingBox) -> Self:
        """The box with these bounds."""
        east = bounds.east if bounds.east >= bounds.west else bounds.east + 360
        return cls(bounds.south, bounds.north, tuple(_ranges(bounds.west, east)))

    @property
    def condition(self) -> Condition:
        """For other scans."""
        return off_index(positions.c.latitude).between(self.south, self.north) & self.has_longitude

    @property
    def has_longitude(self) -> Condition:
        column = off_index(positions.c.longitude)
        return or_(*(column.between(west, east) for west, east in self.ranges)) if self.ranges else true()


def _ranges(west: float, east: float) -> Iterator[tuple[float, float]]:
    """The longitudes from `west` to `east`, of which one may lie beyond 180°."""
    for turn in (-360.0, 0.0, 360.0):
        if west + turn <= 180 and east + turn >= -180:
            yield west + turn, east + turn


@dataclass(frozen=True)
class BoxScan:
    """Photos with a position in the box, from south to north, of the same latitude from west to east."""

    box: Box
    landmark_id: None = None

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        query = request.select(_KEYS).where(*self._conditions(request)).limit(request.rows)
        found = connection.execute(query).all()
        return ScanPage(found, self.key(found[-1]) if len(found) == request.rows else None)

    def key(self, row: Row[Any]) -> Key:
        return row.latitude, row.longitude, row.id

    def contains(self, connection: Connection, row: Row[Any]) -> bool:  # noqa: ARG002 - the row is enough
        return row.latitude is not None and self.box.south <= row.latitude <= self.box.north

    def size(self, connection: Connection, limit: int) -> int:
        return count_rows(connection, self.photo_ids(), limit)

    def photo_ids(self) -> Select[Any]:
        within = positions.c.latitude.between(self.box.south, self.box.north), self.box.has_longitude
        return select(positions.c.photo_id).where(*within)

    def accepts(self, key: Key) -> bool:
        return len(key) == 3 and type(key[0]) is type(key[1]) is float and is_id(key[2])

    def _conditions(self, request: PageRequest) -> Iterator[Condition]:
        """The key of the previous page is one limit; with a second one, SQLite may begin at that."""
        if request.after is None or request.backwards:
            yield positions.c.latitude >= self.box.south
        if request.after is None or not request.backwards:
            yield positions.c.latitude <= self.box.north
        yield self.box.has_longitude
