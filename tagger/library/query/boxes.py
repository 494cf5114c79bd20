"""Photos between two parallels and two meridians, or in a circle on the ground, by their positions."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin
from typing import Any, Self

from sqlalchemy import ColumnElement, Float, Select, and_, func, or_, select, true

from tagger.database.tables import positions
from tagger.library.query.option_values import BoundingBox, Near
from tagger.library.query.photo_conditions import Condition, off_index
from tagger.system.geo import EARTH_RADIUS_KM

_MARGIN = 1e-6
"""Degrees that a box is larger than its circle, against rounding."""
_SLACK = 2e-15
"""What a circle's condition is larger, against rounding: 0.4 m at most, and less for a larger circle."""


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

    def photo_ids(self, country: str | None = None) -> Select[Any]:
        """The photos inside, and in this country."""
        inside = positions.c.latitude.between(self.south, self.north), self.has_longitude
        in_country = () if country is None else (positions.c.country == country,)
        return select(positions.c.photo_id).where(*inside, *in_country)

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
