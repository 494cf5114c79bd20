"""Photos between two parallels and two meridians, or in a circle on the ground: an index scan over positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import asin, cos, degrees, pi, radians, sin, sqrt
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, case, or_, select, true

from tagger.database.tables import positions
from tagger.geo import EARTH_RADIUS_KM
from tagger.query.index_scan import (
    Condition,
    Key,
    PageRequest,
    ScanPage,
    count_rows,
    is_id,
    off_index,
    page_along_index,
)
from tagger.query.options import BoundingBox

BANDS = 16
"""Parts of a circle, from south to north. They reach up to 9 % of its radius beyond it, the corners of the box around it 41 %."""

_MARGIN = 1e-6
"""Degrees that a box is larger than its circle, against rounding."""
_KEYS = (positions.c.latitude, positions.c.longitude, positions.c.photo_id)


@dataclass(frozen=True)
class Band:
    """Two parallels, and ranges of longitudes between them, in degrees: two where they cross 180°; none: all longitudes."""

    south: float
    north: float
    ranges: tuple[tuple[float, float], ...]

    @property
    def has_longitude(self) -> Condition:
        column = off_index(positions.c.longitude)
        return or_(*(column.between(west, east) for west, east in self.ranges)) if self.ranges else true()


@dataclass(frozen=True)
class Box(Band):
    """A band, and its parts in which a circle is: a city in a corner of the box may have more photos than the circle. None: all of it."""

    parts: tuple[Band, ...] = ()

    @classmethod
    def around(cls, latitude: float, longitude: float, radius_km: float) -> Self:
        """The box around a circle on the ground."""
        angle = min(radius_km / EARTH_RADIUS_KM, pi)
        height = degrees(angle) + _MARGIN
        south, north = latitude - height, latitude + height
        if south <= -90 or north >= 90:  # a pole is inside
            return cls(south, north, ())
        # Lower where the circle narrows: a band of equal height would reach farther beyond it there.
        limits = (latitude - height * cos(pi * number / BANDS) for number in range(BANDS + 1))
        parts = tuple(_band(latitude, longitude, angle, *each) for each in pairwise(limits))
        width = degrees(asin(min(1.0, sin(angle) / cos(radians(latitude))))) + _MARGIN
        return cls(south, north, tuple(_ranges(longitude - width, longitude + width)), parts)

    @classmethod
    def of(cls, bounds: BoundingBox) -> Self:
        """The box with these bounds."""
        east = bounds.east if bounds.east >= bounds.west else bounds.east + 360
        return cls(bounds.south, bounds.north, tuple(_ranges(bounds.west, east)))

    @property
    def condition(self) -> Condition:
        """Whether a position is inside, for scans of other indexes."""
        return off_index(positions.c.latitude).between(self.south, self.north) & self.is_in_parts

    @property
    def is_in_parts(self) -> Condition:
        """The same for positions between the parallels of the box."""
        if not self.parts:
            return self.has_longitude
        # One comparison for each part up to the one of a position, from the south: parts share their limits.
        *others, northernmost = self.parts
        latitude = off_index(positions.c.latitude)
        return case(
            *((latitude <= part.north, part.has_longitude) for part in others),
            else_=northernmost.has_longitude,
        )


def _band(latitude: float, longitude: float, angle: float, south: float, north: float) -> Band:
    """The part of a circle between two parallels, as wide as the circle is anywhere between them."""
    # The circle is widest a little nearer to the pole than its centre is: sin φ / cos r (a right spherical triangle).
    widest = degrees(asin(sin(radians(latitude)) / cos(angle)))
    nearest = min(max(widest, south), north)
    # The haversine formula, solved for the difference of longitude.
    rest = sin(angle / 2) ** 2 - sin(radians(nearest - latitude) / 2) ** 2
    part = rest / (cos(radians(latitude)) * cos(radians(nearest)))
    width = degrees(2 * asin(sqrt(min(1.0, max(0.0, part))))) + _MARGIN
    return Band(south, north, tuple(_ranges(longitude - width, longitude + width)))


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
            yield self.box.is_in_parts
        if self.country is not None:
            yield positions.c.country == self.country
