"""How many photos were taken where, by cells of a grid and by where their positions come from; reads only."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from math import ceil, floor, pi

from sqlalchemy import func, select

from tagger.database.connection import Database
from tagger.database.statements import rounded_down
from tagger.database.tables import photos, positions
from tagger.library.query.box_scan import Box
from tagger.library.query.options import BoundingBox
from tagger.system.geo import EARTH_RADIUS_KM, distance_km

FINEST_DEGREES = 0.25
"""The size of a cell in the database. Coarser ones are twice, four times, … as large, so that each has whole finer ones."""

_EXTREMES = (positions.c.latitude, positions.c.longitude, positions.c.city, positions.c.country)


@dataclass(frozen=True)
class PositionCell:
    """The photos of one cell whose positions come from `source`, and the least box around these positions, in degrees.

    `city` and `country`: those of all its photos; None if they are several, or unknown. `photo_id` is one of them; 0: not known.
    """

    source: str
    photos: int
    south: float
    north: float
    west: float
    east: float
    city: str | None
    country: str | None
    photo_id: int = 0

    @property
    def latitude(self) -> float:
        """Of the centre."""
        return (self.south + self.north) / 2

    @property
    def longitude(self) -> float:
        """Of the centre."""
        return (self.west + self.east) / 2

    @property
    def radius_km(self) -> float:
        """The radius of a circle around the centre with all positions, in whole tenths."""
        if self.east - self.west > 90:  # the corners may not be what is farthest
            return ceil(pi * EARTH_RADIUS_KM)
        corners = product((self.south, self.north), (self.west, self.east))
        farthest_km = max(distance_km(self.latitude, self.longitude, *corner) for corner in corners)
        return ceil(10 * farthest_km + 1) / 10

    @property
    def place(self) -> str:
        """City and country, as far as all photos share them."""
        return ", ".join(part for part in (self.city, self.country) if part)


def position_cells(
    database: Database, degrees: float = FINEST_DEGREES, bounds: BoundingBox | None = None
) -> list[PositionCell]:
    """The cells with photos, except photos whose file is gone, and only photos within the bounds. Reads all their positions."""
    latitude, longitude = positions.c.latitude, positions.c.longitude
    query = (
        select(
            positions.c.source,
            func.count().label("photos"),
            func.max(positions.c.photo_id).label("photo_id"),
            *(func.min(column).label(f"least_{column.name}") for column in _EXTREMES),
            *(func.max(column).label(f"greatest_{column.name}") for column in _EXTREMES),
        )
        .join(photos, photos.c.id == positions.c.photo_id)
        .where(photos.c.gone_since.is_(None))
        .group_by(
            positions.c.source,
            rounded_down((latitude + 90) / degrees),
            rounded_down((longitude + 180) / degrees),
        )
    )
    if bounds is not None:
        box = Box.of(bounds)
        query = query.where(latitude.between(box.south, box.north), box.has_longitude)
    with database.read() as connection:
        return [
            PositionCell(
                source=row.source,
                photos=row.photos,
                south=row.least_latitude,
                north=row.greatest_latitude,
                west=row.least_longitude,
                east=row.greatest_longitude,
                city=_if_equal(row.least_city, row.greatest_city),
                country=_if_equal(row.least_country, row.greatest_country),
                photo_id=row.photo_id,
            )
            for row in connection.execute(query)
        ]


def merge_cells(cells: Iterable[PositionCell], degrees: float) -> list[PositionCell]:
    """Merge cells into those of at least this size, in order of latitude and longitude."""
    size = FINEST_DEGREES
    while size < degrees:
        size *= 2
    merged: dict[tuple[int, int, str], list[PositionCell]] = {}
    for cell in cells:
        key = floor((cell.latitude + 90) / size), floor((cell.longitude + 180) / size), cell.source
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
        photo_id=max(cell.photo_id, other.photo_id),
    )


def _if_equal(text: str | None, other: str | None) -> str | None:
    return text if text == other else None
