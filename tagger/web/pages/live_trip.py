"""A trip on the map that the script draws: its path, and its photos as cells for clusters."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from tagger.query.options import BoundingBox
from tagger.query.position_cells import PositionCell
from tagger.query.trip_path import PathPoint

_DECIMALS = 5
"""About a metre."""


def trip_cells(path: Sequence[PathPoint]) -> list[PositionCell]:
    """A cell for each photo."""
    return [
        PositionCell(
            source=point.source,
            photos=1,
            south=point.latitude,
            north=point.latitude,
            west=point.longitude,
            east=point.longitude,
            city=point.city,
            country=point.country,
            photo_id=point.photo_id,
        )
        for point in path
    ]


def trip_bounds(path: Sequence[PathPoint]) -> BoundingBox:
    """The least box around the photos of a path, which may cross 180°."""
    latitudes = [point.latitude for point in path]
    origin = path[0].longitude
    easts = [_turned(point.longitude - origin) for point in path]
    west, east = _turned(origin + min(easts)), _turned(origin + max(easts))
    return BoundingBox(min(latitudes), west, max(latitudes), east)


def path_geometry(path: Sequence[PathPoint]) -> dict[str, Any]:
    """The way of each camera in order of time, as GeoJSON. Longitudes go on beyond 180° where it crosses that."""
    ways = (list(_way(list(points))) for _, points in groupby(path, key=lambda point: point.camera_id))
    return {"type": "MultiLineString", "coordinates": [way for way in ways if len(way) > 1]}


def _way(points: Sequence[PathPoint]) -> Iterator[tuple[float, float]]:
    longitude = points[0].longitude
    last: tuple[float, float] | None = None
    for point in points:
        longitude += _turned(point.longitude - longitude)
        place = (round(longitude, _DECIMALS), round(point.latitude, _DECIMALS))
        if place != last:
            yield place
        last = place


def _turned(degrees: float) -> float:
    """The same direction, from -180 to 180."""
    return (degrees + 180) % 360 - 180
