"""Areas that a query selects photos in, and their words: a circle on the ground, a box, and a country.

A photo's position decides whether it is inside. Landmarks count too, where that is not known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import asin, cos, degrees, pi, radians, sin
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Float, Select, and_, func, or_, select, true

from tagger.database.statements import distinct_values, unindexed
from tagger.database.tables import landmarks, positions
from tagger.geo import EARTH_RADIUS_KM
from tagger.landmarks.landmarks import (
    Landmark,
    all_landmarks,
    country_spellings,
    landmark_countries,
    landmarks_within,
)
from tagger.query.option_values import BoundingBox, Near
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import Condition
from tagger.texts.text_format import distance_text, gettext

# Degrees that a box is larger than its circle, against rounding.
_MARGIN = 1e-6
# How much larger a circle's condition is, against rounding: 0.4 m at most, and less for a larger
# circle.
_SLACK = 2e-15


@dataclass(frozen=True)
class Box:
    """Two parallels, and ranges of longitudes between them: two across 180°, none for all; degrees.

    `circle`: only positions in this circle, which the box surrounds.
    """

    south: float
    north: float
    ranges: tuple[tuple[float, float], ...]
    circle: Near | None = None

    @classmethod
    def around(cls, circle: Near) -> Self:
        latitude, longitude = circle.latitude, circle.longitude
        angle = min(circle.radius_km / EARTH_RADIUS_KM, pi)
        height = degrees(angle) + _MARGIN
        south, north = latitude - height, latitude + height
        if south <= -90 or north >= 90:  # a pole is inside
            return cls(south, north, (), circle)
        width = degrees(asin(min(1.0, sin(angle) / cos(radians(latitude))))) + _MARGIN
        return cls(
            south,
            north,
            tuple(_ranges(longitude - width, longitude + width)),
            circle,
        )

    @classmethod
    def of(cls, bounds: BoundingBox) -> Self:
        east = bounds.east if bounds.east >= bounds.west else bounds.east + 360
        return cls(
            bounds.south,
            bounds.north,
            tuple(_ranges(bounds.west, east)),
        )

    @property
    def condition(self) -> Condition:
        """Whether a position is inside, for scans of other indexes."""
        return unindexed(positions.c.latitude).between(self.south, self.north) & self.has_longitude

    @property
    def photo_ids(self) -> Select[Any]:
        inside = positions.c.latitude.between(self.south, self.north), self.has_longitude
        return select(positions.c.photo_id).where(*inside)

    @property
    def has_longitude(self) -> Condition:
        column = unindexed(positions.c.longitude)
        in_ranges = (
            or_(*(column.between(west, east) for west, east in self.ranges))
            if self.ranges
            else true()
        )
        return in_ranges if self.circle is None else and_(in_ranges, _is_within(self.circle))


def _is_within(circle: Near) -> Condition:
    # Whether the distance is at most the radius: the haversine formula with 1 - cos x for 2 sin² (x / 2).
    def versine(degrees_: ColumnElement[float]) -> ColumnElement[float]:
        return 1 - func.cos(degrees_ * (pi / 180), type_=Float())

    latitude, longitude = positions.c.latitude, positions.c.longitude
    parallel = cos(radians(circle.latitude)) * func.cos(latitude * (pi / 180), type_=Float())
    distance = versine(latitude - circle.latitude) + parallel * versine(
        longitude - circle.longitude
    )
    return distance <= 1 - cos(min(circle.radius_km / EARTH_RADIUS_KM, pi)) + _SLACK


def _ranges(west: float, east: float) -> Iterator[tuple[float, float]]:
    # The longitudes from `west` to `east`, of which one may lie beyond 180°.
    for turn in (-360.0, 0.0, 360.0):
        if west + turn <= 180 and east + turn >= -180:
            yield west + turn, east + turn


# A box that is smaller is a spot.
_SPOT_KM = 0.01


def near_text(near: Near) -> str:
    """`within 5 km of 48.86, 2.29`."""
    place = _position_text(near.latitude, near.longitude)
    distance = distance_text(near.radius_km * 1000)
    return gettext("within %(distance)s of %(place)s", distance=distance, place=place)


def box_text(box: BoundingBox) -> str:
    """`area of 12 km by 8 km around 48.86, 2.29`: its width, then its height; of a spot, `at 48.86, 2.29`."""
    degrees = box.east - box.west + (360 if box.east < box.west else 0)
    latitude, longitude = (box.south + box.north) / 2, (box.west + degrees / 2 + 180) % 360 - 180
    km_per_degree = EARTH_RADIUS_KM * radians(1)
    width_km = degrees * km_per_degree * cos(radians(latitude))
    height_km = (box.north - box.south) * km_per_degree
    centre = _position_text(latitude, longitude)
    if max(width_km, height_km) < _SPOT_KM:
        return gettext("at %(place)s", place=centre)
    sides = {
        "width": distance_text(width_km * 1000),
        "height": distance_text(height_km * 1000),
    }
    return gettext("area of %(width)s by %(height)s around %(place)s", **sides, place=centre)


def _position_text(latitude: float, longitude: float) -> str:
    return f"{round(latitude, 3):g}, {round(longitude, 3):g}"


@dataclass(frozen=True)
class Area:
    """Photos with a position inside, and those of the landmarks inside, where the position does not count.

    The conditions are for photos that are selected with their positions.
    """

    # The ids of the landmarks inside.
    landmarks: frozenset[int]
    # Whether the photo's position is inside.
    has_position: Condition
    # Whether the photo is inside if it shows a landmark there, although its position is not.
    landmarks_count: Condition
    # Whether that is so for photos with a position elsewhere, too.
    counts_located: bool
    # Queries for the photos with a position inside.
    photo_ids: tuple[Select[Any], ...]


def query_areas(connection: Connection, query: PhotoQuery) -> Iterator[Area]:
    """The areas of `query`; photos must be in all of them.

    Raises:
        CountryNotFound: no landmark and no position is in the country.
    """
    if query.circle is not None:
        yield _area_of_box(
            Box.around(query.circle), landmarks_within(connection, query.circle.contains)
        )
    if query.box is not None:
        yield _area_of_box(
            Box.of(query.box),
            landmarks_within(connection, query.box.contains),
        )
    if query.country:
        yield _area_of_countries(connection, query.country)


def _area_of_box(box: Box, landmarks: Iterable[Landmark]) -> Area:
    return Area(
        _ids(landmarks),
        has_position=box.condition,
        landmarks_count=positions.c.photo_id.is_(None),
        counts_located=False,
        photo_ids=(box.photo_ids,),
    )


def _area_of_countries(connection: Connection, countries: Sequence[str]) -> Area:
    of_positions = position_countries(connection)
    known = {*of_positions, *landmark_countries(connection)}
    names = sorted({name for country in countries for name in country_spellings(country, known)})
    country = positions.c.country
    return Area(
        _ids(all_landmarks(connection, landmarks.c.country.in_(names))),
        has_position=unindexed(country).in_(names),
        landmarks_count=or_(country.is_(None), country.not_in(names)),
        counts_located=True,
        photo_ids=tuple(select(positions.c.photo_id).where(country == name) for name in names),
    )


def _ids(landmarks: Iterable[Landmark]) -> frozenset[int]:
    return frozenset(landmark.id for landmark in landmarks)


def position_countries(connection: Connection) -> list[str]:
    """The countries of all positions, in order. Reads one row of the index for each."""
    return sorted(connection.scalars(distinct_values(positions.c.country)))
