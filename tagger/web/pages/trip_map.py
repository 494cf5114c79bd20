"""The map of a trip: its part of the world, its path, and its photos as cells for clusters."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from tagger.library.query.option_values import BoundingBox
from tagger.library.query.position_clusters import PositionCell
from tagger.library.query.trip_summaries import PathPoint

_DECIMALS = 5
"""About a metre."""
_SPOT_DEGREES = 0.02
"""Photos of one spot are within about two kilometres."""
_AROUND_DEGREES = 4.0
"""A map of one spot shows the land this far around it: streets are not drawn."""


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


def is_one_spot(path: Sequence[PathPoint]) -> bool:
    """Whether all photos of a path are near each other."""
    bounds = _least_bounds(path)
    return max(bounds.north - bounds.south, (bounds.east - bounds.west) % 360) < _SPOT_DEGREES


def trip_bounds(path: Sequence[PathPoint]) -> BoundingBox:
    """The part of the world that the map of a trip shows: the least box around its photos, or that around one spot. It may cross 180°."""
    bounds = _least_bounds(path)
    if not is_one_spot(path):
        return bounds
    return BoundingBox(
        max(bounds.south - _AROUND_DEGREES, -85.0),
        _turned(bounds.west - _AROUND_DEGREES),
        min(bounds.north + _AROUND_DEGREES, 85.0),
        _turned(bounds.east + _AROUND_DEGREES),
    )


def _least_bounds(path: Sequence[PathPoint]) -> BoundingBox:
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
