"""The map of a trip: the one that the script draws, and one that needs no script.

The script gets the trip's path, and its photos as cells for clusters. The other is a drawing with the path as a line and the photos as
dots. A trip of up to some hundred kilometres has a map of its own, without land: the outlines of the world map are too coarse. A longer
one is drawn on a part of the world map. So is one of a single spot, whose own map would be empty: with the land around it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tagger.library.query.option_values import BoundingBox
from tagger.library.query.position_clusters import PositionCell
from tagger.library.query.trip_summaries import PathPoint
from tagger.library.trips.names import VisitedPlace
from tagger.system.geo import distance_km
from tagger.web.pages import world_map

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


WIDTH, HEIGHT, MARGIN = 640.0, 400.0, 56.0
_LOCAL_DEGREES = 6.0
"""Trips that extend farther are drawn on the world map."""
_LEAST_KM = 2.0
"""Width of the smallest map: photos of one square are a few dots, not a path."""
_LEAST_UNITS = 20.0
"""The same on the world map."""
_AROUND_UNITS = 110.0
"""Width of the world map around a single spot: that shows the coasts and borders of its part of a continent."""
_CELLS = (80, 56, 40, 28, 20, 14)
_MOST_DOTS = 60
_MOST_LABELS = 6
_LETTER, _LINE = 11.0, 26.0
"""The size of letters in labels on a phone, where they are largest."""

Point = tuple[float, float]


@dataclass(frozen=True)
class TripDot:
    """Photos that lie near each other on the map. `is_measured`: a GPS receiver knows where some of them were taken."""

    x: float
    y: float
    radius: float
    text: str
    address: str
    is_measured: bool


@dataclass(frozen=True)
class TripLabel:
    """The name of a place. `anchor` is where its text has the point: at its `start` or `end`."""

    x: float
    y: float
    name: str
    anchor: str


@dataclass(frozen=True)
class ScaleBar:
    """A round distance, and its length on the map."""

    text: str
    length: float


@dataclass(frozen=True)
class TripMap:
    """A drawing of 640 by 400 units. `land` transforms the world map into it; None: there is no land. `lines` are points of SVG polylines."""

    dots: tuple[TripDot, ...]
    lines: tuple[str, ...]
    labels: tuple[TripLabel, ...]
    land: str | None
    scale_bar: ScaleBar | None
    has_estimates: bool


@dataclass(frozen=True)
class _Projection:
    """Degrees to points of the drawing."""

    project: Callable[[float, float], Point]
    left: float
    top: float
    scale: float
    land: str | None
    units_per_km: float | None

    def __call__(self, latitude: float, longitude: float) -> Point:
        x, y = self.project(latitude, longitude)
        return round((x - self.left) * self.scale, 1), round((y - self.top) * self.scale, 1)


def draw_trip(
    path: Sequence[PathPoint], places: Sequence[VisitedPlace], address: Callable[[int], str]
) -> TripMap | None:
    """The map of photos in order of time, camera by camera; None without photos. `address` is that of a photo's page."""
    if not path:
        return None
    projection = _projection(path)
    dots = _dots(path, projection, address)
    return TripMap(
        dots=tuple(sorted(dots, key=lambda dot: -dot.radius)),
        lines=tuple(_lines(path, projection)),
        labels=tuple(_labels(places, projection)),
        land=projection.land,
        scale_bar=None if projection.units_per_km is None else _scale_bar(projection.units_per_km),
        has_estimates=any(not dot.is_measured for dot in dots),
    )


def _projection(path: Sequence[PathPoint]) -> _Projection:
    latitudes = [point.latitude for point in path]
    origin = path[0].longitude
    easts = [(point.longitude - origin + 180) % 360 - 180 for point in path]
    north, south = max(latitudes), min(latitudes)
    middle = origin + (max(easts) + min(easts)) / 2
    if max(north - south, max(easts) - min(easts)) > _LOCAL_DEGREES:
        return _fitted(path, world_map.position, _LEAST_UNITS, has_land=True)
    if is_one_spot(path):
        return _fitted(path, world_map.position, _AROUND_UNITS, has_land=True)
    narrowing = math.cos(math.radians((north + south) / 2))
    km_per_degree = distance_km(0, 0, 1, 0)

    def project(latitude: float, longitude: float) -> Point:
        east = (longitude - middle + 180) % 360 - 180
        return east * narrowing * km_per_degree, -latitude * km_per_degree

    return _fitted(path, project, _LEAST_KM, has_land=False)


def _fitted(
    path: Sequence[PathPoint], project: Callable[[float, float], Point], least: float, *, has_land: bool
) -> _Projection:
    points = [project(point.latitude, point.longitude) for point in path]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top, bottom = min(y for _, y in points), max(y for _, y in points)
    inner_width, inner_height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    scale = min(inner_width / max(right - left, least), inner_height / max(bottom - top, least / 2))
    left, top = (left + right - WIDTH / scale) / 2, (top + bottom - HEIGHT / scale) / 2
    land = f"scale({scale:.4f}) translate({-left:.3f} {-top:.3f})" if has_land else None
    return _Projection(project, left, top, scale, land, None if has_land else scale)


def _dots(path: Sequence[PathPoint], projection: _Projection, address: Callable[[int], str]) -> list[TripDot]:
    """A dot for the photos of each cell of a grid, in order of the first ones. The grid is as fine as the number of dots allows."""
    for cells in _CELLS:
        points_in: dict[Point, list[PathPoint]] = {}
        for point in path:
            x, y = projection(point.latitude, point.longitude)
            points_in.setdefault((x * cells // WIDTH, y * cells // WIDTH), []).append(point)
        if len(points_in) <= _MOST_DOTS:
            break
    return [_dot(points, len(path), projection, address) for points in points_in.values()]


def _dot(
    points: Sequence[PathPoint], total: int, projection: _Projection, address: Callable[[int], str]
) -> TripDot:
    ordered = sorted(points, key=lambda point: (point.taken_at, point.photo_id))
    first, last = ordered[0], ordered[-1]
    found = [projection(point.latitude, point.longitude) for point in points]
    days = f"{first.taken_at:%Y-%m-%d}"
    if last.taken_at.date() != first.taken_at.date():
        days += f" to {last.taken_at:%Y-%m-%d}"
    number = f"{len(points)} photo{'s' if len(points) > 1 else ''}"
    return TripDot(
        x=round(sum(x for x, _ in found) / len(found), 1),
        y=round(sum(y for _, y in found) / len(found), 1),
        radius=round(5 + 9 * math.sqrt(len(points) / total), 1),
        text=", ".join(part for part in (first.city, number, days) if part),
        address=address(first.photo_id),
        is_measured=any(point.is_measured for point in points),
    )


def _lines(path: Sequence[PathPoint], projection: _Projection) -> Iterator[str]:
    """The way of each camera. It is interrupted where it leaves the map on one side and comes back on the other."""
    for _, of_camera in groupby(path, key=lambda point: point.camera_id):
        line: list[Point] = []
        for point in of_camera:
            x, y = projection(point.latitude, point.longitude)
            if line and abs(x - line[-1][0]) > world_map.WIDTH / 2 * projection.scale:
                yield _points_text(line)
                line = []
            if not line or math.dist((x, y), line[-1]) >= 2:
                line.append((x, y))
        if len(line) > 1:
            yield _points_text(line)


def _points_text(line: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in line)


def _labels(places: Sequence[VisitedPlace], projection: _Projection) -> Iterator[TripLabel]:
    """The names of the places with most photos that do not cover each other."""
    boxes: list[tuple[float, float, float, float]] = []
    for place in places:
        if not place.city or len(boxes) == _MOST_LABELS:
            continue
        x, y = projection(place.latitude, place.longitude)
        width = _LETTER * len(place.city)
        is_right = x + 14 + width <= WIDTH
        left = x + 14 if is_right else x - 14 - width
        box = (left, y - _LINE / 2, left + width, y + _LINE / 2)
        if left < 0 or any(_overlap(box, other) for other in boxes):
            continue
        boxes.append(box)
        yield TripLabel(x + 14 if is_right else x - 14, y, place.city, "start" if is_right else "end")


def _overlap(box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _scale_bar(units_per_km: float) -> ScaleBar:
    """The longest of 1, 2, 5, 10 … that takes a quarter of the width at most."""
    limit_km = WIDTH / 4 / units_per_km
    power = 10.0 ** math.floor(math.log10(limit_km))
    km = max(factor * power for factor in (1, 2, 5) if factor * power <= limit_km)
    text = f"{km:g} km" if km >= 1 else f"{km * 1000:g} m"
    return ScaleBar(text, round(km * units_per_km, 1))
