"""Photos between two parallels and two meridians: an index scan over positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import asin, cos, degrees, pi, radians, sin, sqrt
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, or_, select, true

from tagger.database.tables import positions
from tagger.geo import EARTH_RADIUS_KM
from tagger.query.index_scan import Condition, Key, PageRequest, ScanPage, count_rows, is_id, off_index
from tagger.query.options import BoundingBox

_MARGIN = 1e-6
"""Degrees that a box is larger than its circle, against rounding."""
STRIPS = 16
"""A circle's strips cover a twelfth more than the circle, its box a quarter more."""
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


@dataclass(frozen=True)
class Strips:
    """Boxes one north of the other that cover a circle on the ground and little else."""

    boxes: tuple[Box, ...]

    @classmethod
    def of_circle(cls, latitude: float, longitude: float, radius_km: float) -> Self:
        """One box alone if a pole is in the circle."""
        whole = Box.around(latitude, longitude, radius_km)
        if not whole.ranges:
            return cls((whole,))
        edges = [whole.south + (whole.north - whole.south) * n / STRIPS for n in range(STRIPS + 1)]
        widths = (_half_width(latitude, radius_km, *edge) for edge in pairwise(edges))
        return cls(
            tuple(
                Box(south, north, tuple(_ranges(longitude - width, longitude + width)))
                for (south, north), width in zip(pairwise(edges), widths, strict=True)
            )
        )

    @property
    def condition(self) -> Condition:
        """For any scan."""
        return or_(*(box.condition for box in self.boxes))


def _half_width(latitude: float, radius_km: float, south: float, north: float) -> float:
    """Degrees of longitude from the centre of a circle without a pole to its edge, where it is widest between two parallels."""
    angle, phi = radius_km / EARTH_RADIUS_KM, radians(latitude)
    widest = asin(max(-1.0, min(1.0, sin(phi) / cos(angle))))
    other = min(max(widest, radians(south)), radians(north))
    haversine = sin((angle + other - phi) / 2) * sin((angle - other + phi) / 2) / (cos(phi) * cos(other))
    return degrees(2 * asin(sqrt(max(0.0, min(1.0, haversine))))) + _MARGIN


def _ranges(west: float, east: float) -> Iterator[tuple[float, float]]:
    """The longitudes from `west` to `east`, of which one may lie beyond 180°."""
    for turn in (-360.0, 0.0, 360.0):
        if west + turn <= 180 and east + turn >= -180:
            yield west + turn, east + turn


@dataclass(frozen=True)
class BoxScan:
    """Photos with a position in the box, or in these strips of it, from south to north, of the same latitude from west to east."""

    box: Box
    strips: Strips | None = None
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
        if self.strips is not None:
            yield self.strips.condition
