"""Areas that a query selects photos in, and their words: a circle on the ground, a box, and a country.

A photo's position decides whether it is inside. Landmarks count too, where that is not known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import asin, cos, degrees, pi, radians, sin
from typing import Any, ClassVar, Protocol, Self

from sqlalchemy import ColumnElement, Connection, Float, Row, Select, and_, func, or_, select, true

from tagger.database.tables import positions
from tagger.library.catalog.landmarks import (
    landmarks_in_country,
    landmarks_near,
    landmarks_within,
    normalize_name,
)
from tagger.library.query.option_values import BoundingBox, Near
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import Condition, off_index
from tagger.system.geo import EARTH_RADIUS_KM, distance_km
from tagger.system.text_format import number_text

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


_SPOT_KM = 0.01
"""A box that is smaller is a spot."""


def near_text(near: Near) -> str:
    """`within 5 km of 48.86, 2.29`."""
    return f"within {_km_text(near.radius_km)} km of {_position_text(near.latitude, near.longitude)}"


def box_text(box: BoundingBox) -> str:
    """`area of 12 by 8 km around 48.86, 2.29`, from west to east and from south to north; of a spot, `at 48.86, 2.29`."""
    degrees = box.east - box.west + (360 if box.east < box.west else 0)
    latitude, longitude = (box.south + box.north) / 2, (box.west + degrees / 2 + 180) % 360 - 180
    km_per_degree = EARTH_RADIUS_KM * radians(1)
    width_km = degrees * km_per_degree * cos(radians(latitude))
    height_km = (box.north - box.south) * km_per_degree
    centre = _position_text(latitude, longitude)
    if max(width_km, height_km) < _SPOT_KM:
        return f"at {centre}"
    return f"area of {_km_text(width_km)} by {_km_text(height_km)} km around {centre}"


def _position_text(latitude: float, longitude: float) -> str:
    return f"{round(latitude, 3):g}, {round(longitude, 3):g}"


def _km_text(km: float) -> str:
    return f"{km:.2g}" if km < 10 else number_text(round(km))


class Area(Protocol):
    """The conditions are for photos that are selected with their positions."""

    @property
    def landmarks(self) -> frozenset[int]:
        """The ids of the landmarks inside."""
        ...

    @property
    def counts_located(self) -> bool:
        """Whether landmarks count for photos with a position elsewhere, too."""
        ...

    @property
    def has_position(self) -> Condition:
        """Whether the photo's position is inside; true for some others too, so that `contains` decides."""
        ...

    @property
    def landmarks_count(self) -> Condition:
        """Whether the photo is in the area if it shows a landmark inside, although its position is not."""
        ...

    def contains(self, row: Row[Any]) -> bool:
        """Whether the position of the photo of `row` is inside."""
        ...

    def counts_landmarks(self, row: Row[Any]) -> bool:
        """The same as `landmarks_count`."""
        ...


@dataclass(frozen=True)
class Circle:
    """Photos with a position in the circle. For photos without a position, their landmarks count."""

    near: Near
    landmarks: frozenset[int]
    counts_located: ClassVar[bool] = False

    @classmethod
    def resolve(cls, connection: Connection, near: Near) -> Self:
        """Find the landmarks inside."""
        found = landmarks_near(connection, near.latitude, near.longitude, near.radius_km)
        return cls(near, frozenset(landmark.id for landmark in found))

    @property
    def has_position(self) -> Condition:
        return self.box.condition

    @property
    def landmarks_count(self) -> Condition:
        return positions.c.photo_id.is_(None)

    def contains(self, row: Row[Any]) -> bool:
        near = self.near
        return (
            row.source is not None
            and distance_km(near.latitude, near.longitude, row.latitude, row.longitude) <= near.radius_km
        )

    def counts_landmarks(self, row: Row[Any]) -> bool:
        return row.source is None

    @property
    def box(self) -> Box:
        return Box.around(self.near)


@dataclass(frozen=True)
class Rectangle:
    """Photos with a position in the box. For photos without a position, their landmarks count."""

    bounds: BoundingBox
    landmarks: frozenset[int]
    counts_located: ClassVar[bool] = False

    @classmethod
    def resolve(cls, connection: Connection, bounds: BoundingBox) -> Self:
        """Find the landmarks inside."""
        found = landmarks_within(connection, bounds.contains)
        return cls(bounds, frozenset(landmark.id for landmark in found))

    @property
    def has_position(self) -> Condition:
        return self.box.condition

    @property
    def landmarks_count(self) -> Condition:
        return positions.c.photo_id.is_(None)

    def contains(self, row: Row[Any]) -> bool:
        return row.source is not None and self.bounds.contains(row.latitude, row.longitude)

    def counts_landmarks(self, row: Row[Any]) -> bool:
        return row.source is None

    @property
    def box(self) -> Box:
        return Box.of(self.bounds)


@dataclass(frozen=True)
class Country:
    """Photos with a position in one of these countries, and those of their landmarks. `names`: the countries in positions."""

    names: tuple[str, ...]
    landmarks: frozenset[int]
    counts_located: ClassVar[bool] = True

    @classmethod
    def resolve(cls, connection: Connection, countries: Sequence[str]) -> Self:
        """Raises:
        CountryNotFound: no landmark and no position is in one of `countries`.
        """
        of_positions = position_countries(connection)
        found = [landmarks_in_country(connection, country, of_positions) for country in countries]
        normal = {normalize_name(country) for country in countries}
        names = (name for name in of_positions if normalize_name(name) in normal)
        return cls(tuple(names), frozenset(each.id for each in chain.from_iterable(found)))

    def positions_in(self, box: Box | None) -> Sequence[Select[Any]]:
        """The photos with a position in each of the countries, and in the box; None: anywhere there."""
        if box is not None:
            return [box.photo_ids(name) for name in self.names]
        return [select(positions.c.photo_id).where(positions.c.country == name) for name in self.names]

    @property
    def has_position(self) -> Condition:
        return off_index(positions.c.country).in_(self.names)

    @property
    def landmarks_count(self) -> Condition:
        return or_(positions.c.country.is_(None), positions.c.country.not_in(self.names))

    def contains(self, row: Row[Any]) -> bool:
        return row.country in self.names

    def counts_landmarks(self, row: Row[Any]) -> bool:  # noqa: ARG002 - also if the position is elsewhere
        return True


def query_areas(connection: Connection, query: PhotoQuery) -> Iterator[Area]:
    """The areas of `query`; photos must be in all of them.

    Raises:
        CountryNotFound: no landmark and no position is in the country.
    """
    if query.near is not None:
        yield Circle.resolve(connection, query.near)
    if query.box is not None:
        yield Rectangle.resolve(connection, query.box)
    if query.country:
        yield Country.resolve(connection, query.country)


def position_countries(connection: Connection) -> list[str]:
    """The countries of all positions, in order. Reads one row of the index for each."""
    first = select(func.min(positions.c.country).label("country")).cte(recursive=True)
    after = select(func.min(positions.c.country)).where(positions.c.country > first.c.country)
    countries = first.union_all(select(after.scalar_subquery()).where(first.c.country.is_not(None)))
    found = select(countries.c.country).where(countries.c.country.is_not(None))
    return sorted(connection.scalars(found))
