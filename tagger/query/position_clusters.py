"""Photos on a map of any scale: clusters of positions that do not cover each other; reads only.

The database counts positions by the cells of a grid. The number of cells depends on the size of the
map, not of the library.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from math import asinh, ceil, dist, floor, inf, pi, radians, tan
from typing import Any

from sqlalchemy import ColumnElement, Connection, Subquery, func, literal, select

from tagger.database.connection import Database
from tagger.database.statements import rounded_down
from tagger.database.tables import photos, positions
from tagger.geo import EARTH_RADIUS_KM, distance_km
from tagger.kept import FINEST_DEGREES, IS_FIRST_THERE, kept_places
from tagger.query import BoundingBox
from tagger.query.photo_conditions import Box
from tagger.texts import document_of
from tagger.texts.names import place_text


@dataclass(frozen=True)
class PositionCell:
    """The photos of one cell, and the least box around these positions, in degrees.

    `sight`, `city` and `country`: those of all its photos; None: several, or unknown. `photo_id`: one of
    them, or 0.
    `is_estimated`: no position was measured, or stated beside the photo; known of trips.
    """

    photos: int
    south: float
    north: float
    west: float
    east: float
    city: str | None
    country: str | None
    photo_id: int = 0
    is_estimated: bool = False
    sight: str | None = None

    @property
    def latitude(self) -> float:
        return (self.south + self.north) / 2

    @property
    def longitude(self) -> float:
        return (self.west + self.east) / 2

    @property
    def radius_km(self) -> float:
        if self.east - self.west > 90:  # the corners may not be what is farthest
            return ceil(pi * EARTH_RADIUS_KM)
        corners = product((self.south, self.north), (self.west, self.east))
        farthest_km = max(
            distance_km(self.latitude, self.longitude, *corner) for corner in corners
        )
        return ceil(10 * farthest_km + 1) / 10

    @property
    def place(self) -> str:
        return place_text(self.city, self.country)


def position_cells(database: Database) -> list[PositionCell]:
    """The finest cells with photos that exist. Copies at one position count once."""
    with database.snapshot() as connection:
        return _cells(connection, kept_places(connection))


def located_photos(located: Subquery) -> Iterator[ColumnElement[Any]]:
    """The number of photos in rows like those of `kept_places`, one of them, and the box around them."""
    yield func.sum(located.c.located).label("photos")
    yield func.max(located.c.photo_id).label("photo_id")
    for least, greatest in (("south", "north"), ("west", "east")):
        yield func.min(located.c[least]).label(least)
        yield func.max(located.c[greatest]).label(greatest)


def cells_within(
    database: Database, bounds: BoundingBox, zoom: float
) -> list[PositionCell]:
    """The cells of a map with these bounds at this zoom: at 0 the world has 512 pixels, at 1 1,024."""
    width = bounds.east - bounds.west + (360 if bounds.east < bounds.west else 0)
    degrees = max(
        _cell_degrees(zoom),
        max(width, bounds.north - bounds.south) / _MOST_CELLS,
    )
    box = Box.of(bounds)
    latitude = positions.c.latitude
    longitude = positions.c.longitude
    extremes = {
        "south": latitude,
        "north": latitude,
        "west": longitude,
        "east": longitude,
    }
    inside = (
        select(
            literal(1).label("located"),
            positions.c.photo_id,
            *(column.label(name) for name, column in extremes.items()),
            positions.c.city,
            positions.c.country,
            positions.c.sight,
            rounded_down((latitude + 90) / degrees).label("cell_row"),
            rounded_down((longitude + 180) / degrees).label("cell_column"),
        )
        .join(photos, photos.c.id == positions.c.photo_id)
        .where(latitude.between(box.south, box.north), box.has_longitude)
        .where(photos.c.gone_since.is_(None), IS_FIRST_THERE)
    )
    with database.read() as connection:
        return _cells(connection, inside.subquery())


def _cells(connection: Connection, located: Subquery) -> list[PositionCell]:
    # The cells of rows like those of `kept_places`.
    rows = located.c
    query = (
        select(
            *located_photos(located),
            *(
                each(rows[name]).label(f"{end}_{name}")
                for name in ("city", "country", "sight")
                for end, each in (("least", func.min), ("greatest", func.max))
            ),
        )
        .where(rows.located > 0)
        .group_by(rows.cell_row, rows.cell_column)
    )
    return [
        document_of(
            PositionCell,
            row,
            city=_if_equal(row.least_city, row.greatest_city),
            country=_if_equal(row.least_country, row.greatest_country),
            sight=_if_equal(row.least_sight, row.greatest_sight),
            is_estimated=False,
        )
        for row in connection.execute(query)
    ]


def _merge_cells(cells: Iterable[PositionCell], degrees: float) -> list[PositionCell]:
    # Merge cells into those of at least this size, in order of latitude and longitude.
    size = FINEST_DEGREES
    while size < degrees:
        size *= 2
    merged: dict[tuple[int, int], list[PositionCell]] = {}
    for cell in cells:
        key = floor((cell.latitude + 90) / size), floor((cell.longitude + 180) / size)
        merged.setdefault(key, []).append(cell)
    return [reduce(_merged, merged[key]) for key in sorted(merged)]


def _merged(cell: PositionCell, other: PositionCell) -> PositionCell:
    return replace(
        cell,
        photos=cell.photos + other.photos,
        south=min(cell.south, other.south),
        north=max(cell.north, other.north),
        west=min(cell.west, other.west),
        east=max(cell.east, other.east),
        city=_if_equal(cell.city, other.city),
        country=_if_equal(cell.country, other.country),
        sight=_if_equal(cell.sight, other.sight),
        photo_id=max(cell.photo_id, other.photo_id),
        is_estimated=cell.is_estimated and other.is_estimated,
    )


def _if_equal(text: str | None, other: str | None) -> str | None:
    return text if text == other else None


# The least distance of clusters: each has room for the thumbnail of a photo.
SPACING_PX = 68
_CELL_PX = 32
# The width of the world at zoom 0.
_WORLD_PX = 512
# The most cells along each side of the map.
_MOST_CELLS = 128
# The Mercator projection ends there.
_MOST_LATITUDE = 85.0


@dataclass(frozen=True)
class PositionCluster:
    """Photos near each other on a map, and the least box around their positions.

    `latitude` and `longitude` are of its mark. `sight`, and `place`, city and country: as far as all photos
    share them.
    """

    photos: int
    latitude: float
    longitude: float
    bounds: BoundingBox
    sight: str | None
    place: str
    photo_id: int
    is_estimated: bool


def needs_fine_cells(zoom: float) -> bool:
    """Whether a map of this zoom shows more than the finest cells of `position_cells` tell."""
    return _cell_degrees(zoom) < FINEST_DEGREES


def cluster_cells(
    cells: Iterable[PositionCell],
    bounds: BoundingBox,
    zoom: float,
) -> list[PositionCluster]:
    """Join the cells within the bounds until no mark covers another, most photos first."""
    inside = [cell for cell in cells if bounds.contains(cell.latitude, cell.longitude)]
    if not needs_fine_cells(zoom):
        inside = _merge_cells(inside, _cell_degrees(zoom))
    ordered = sorted(
        inside, key=lambda cell: (-cell.photos, cell.latitude, cell.longitude)
    )
    # Cells by the point of their mark, which is at the first one; and these points by squares.
    groups: dict[_Point, list[PositionCell]] = {}
    squares = defaultdict[tuple[int, int], list[_Point]](list)
    for cell in ordered:
        point = _pixels(cell.latitude, cell.longitude, zoom)
        near = _nearest_point(squares, point)
        if near is None:
            near = point
            squares[_square(point)].append(point)
        groups.setdefault(near, []).append(cell)
    clusters = []
    for group in groups.values():
        first, whole = group[0], reduce(_merged, group)
        clusters.append(
            document_of(
                PositionCluster,
                whole,
                latitude=first.latitude,
                longitude=first.longitude,
                bounds=BoundingBox(
                    whole.south,
                    whole.west,
                    whole.north,
                    whole.east,
                ),
                photo_id=first.photo_id,
            )
        )
    return sorted(
        clusters,
        key=lambda cluster: (-cluster.photos, cluster.latitude, cluster.longitude),
    )


def _cell_degrees(zoom: float) -> float:
    return _CELL_PX * 360 / (_WORLD_PX * 2**zoom)


_Point = tuple[float, float]  # in pixels


def _pixels(latitude: float, longitude: float, zoom: float) -> _Point:
    # The point of the map, in the Mercator projection.
    world = _WORLD_PX * 2**zoom
    limited = max(-_MOST_LATITUDE, min(_MOST_LATITUDE, latitude))
    return world * (longitude + 180) / 360, -world * asinh(tan(radians(limited))) / (
        2 * pi
    )


def _square(point: _Point) -> tuple[int, int]:
    return floor(point[0] / SPACING_PX), floor(point[1] / SPACING_PX)


def _nearest_point(
    squares: Mapping[tuple[int, int], list[_Point]], point: _Point
) -> _Point | None:
    # The nearest of the points whose mark would be covered by one at this point.
    column, row = _square(point)
    points = [
        (dist(other, point), other)
        for right, down in product((-1, 0, 1), (-1, 0, 1))
        for other in squares.get((column + right, row + down), ())
    ]
    distance_px, nearest = min(points, default=(inf, None))
    return nearest if distance_px < SPACING_PX else None
