"""Marks and clusters of photos on a map: where they were taken. The map of a trip has its path, too.

Photos that are near each other share a mark, so that a map has few. Photos that are located by a landmark are
at its dot.
"""

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from itertools import accumulate, groupby
from math import ceil, cos, floor, radians
from pathlib import Path as FilePath
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from tagger.errors import SettingsInvalid
from tagger.kept.trips import find_trip
from tagger.positions.cities import nearest_cities
from tagger.query import BoundingBox, parse_box
from tagger.query.counts import PathPoint, trip_path
from tagger.query.position_clusters import (
    PositionCell,
    PositionCluster,
    cells_within,
    cluster_cells,
    needs_fine_cells,
)
from tagger.search.names import Meaning
from tagger.settings import Settings
from tagger.sights import library_sights
from tagger.texts import document_of
from tagger.texts.names import city_name
from tagger.texts.text_format import N_, gettext, reader_language
from tagger.web.access import Role, requires
from tagger.web.api.photos import IMMUTABLE
from tagger.web.request_guard import COUNTING
from tagger.web.routes import DocumentResponse, QueryParams, policy_with_tiles
from tagger.web.state import AppState, State
from tagger.web.templating import asset, render, thumbnail_address

router = APIRouter(include_in_schema=False)

MOST_ZOOM = 20
# Parts of a degree, about a metre each, to which the boxes of addresses are rounded.
_ROUNDING = 100_000
# Of the longitudes and latitudes of a path: about a metre.
_DECIMALS = 5
# The largest areas that are named after a city: some 40 and 220 km.
_CITY_DEGREES, _AROUND_CITY_DEGREES = 0.35, 2.0
# Larger areas are not around one city.
_MOST_DEGREES = 40.0
# Photos of one spot are within about two kilometres.
_SPOT_DEGREES = 0.02
# A map of one spot shows the land this far around it: streets are not drawn.
_AROUND_DEGREES = 4.0


@router.get("/map/clusters", dependencies=[COUNTING])
@requires(Role.VIEWER)
def clusters(
    state: State,
    box: Annotated[str, Query(max_length=200)],
    zoom: Annotated[float, Query(ge=0, le=MOST_ZOOM)],
    trip: Annotated[str | None, Query(max_length=500)] = None,
) -> DocumentResponse:
    """Return the photos with a position in the box, for a map of this zoom; of a trip if one is named."""
    bounds = parse_box(box)
    # The finest cells of the whole library are cached; they are enough for a map of a country.
    cells: Sequence[PositionCell] | None = None
    if trip is not None:
        cells = trip_cells(_path(state, trip))
    elif not needs_fine_cells(zoom):
        cells = state.overview.position_cells.get_soon()
    if cells is None:
        cells = cells_within(state.database, bounds, zoom)
    found = cluster_cells(cells, bounds, zoom)
    sights = None
    if reader_language() and any(cluster.sight for cluster in found):
        with state.database.read() as connection:
            sights = library_sights(connection)

    def sight_of(cluster: PositionCluster) -> str | None:
        if cluster.sight and sights:
            return sights.name_in(cluster.sight, reader_language())
        return cluster.sight

    return DocumentResponse(
        {
            "photos": sum(cluster.photos for cluster in found),
            "address": _address(bounds, trip),
            "clusters": [
                {
                    "latitude": cluster.latitude,
                    "longitude": cluster.longitude,
                    "photos": cluster.photos,
                    "place": ", ".join(
                        filter(None, (sight_of(cluster), cluster.place))
                    ),
                    "estimated": cluster.is_estimated,
                    "address": _address(cluster.bounds, trip),
                    "thumbnail": thumbnail_address(cluster.photo_id, None, 256),
                }
                for cluster in found
            ],
        }
    )


@router.get("/map/near.pmtiles")
@requires(Role.VIEWER)
def near_map(state: State) -> Response:
    file = state.settings.web_map_file
    if file is None or not file.is_file():
        return Response(status_code=HTTPStatus.NOT_FOUND)
    return FileResponse(
        file,
        media_type="application/octet-stream",
        headers={"Cache-Control": IMMUTABLE},
    )


@router.get("/trips/{trip_id}/path")
@requires(Role.VIEWER)
def path(
    state: State, trip_id: Annotated[str, Path(max_length=500)]
) -> DocumentResponse:
    return DocumentResponse(path_geometry(_path(state, trip_id)))


def _path(state: AppState, trip_id: str) -> list[PathPoint]:
    with state.database.read() as connection:
        trip = find_trip(connection, trip_id)
    return list(trip_path(state.database, trip))


def extent_of(cells: Sequence[PositionCell]) -> BoundingBox:
    """Return the least box around cells, which begins east of the widest gap. It may cross 180°."""
    by_west = sorted(cells, key=lambda cell: cell.west)
    wests = [*(cell.west for cell in by_west[1:]), by_west[0].west + 360]
    easts = list(accumulate((cell.east for cell in by_west), max))
    _, west, east = max(
        (west - east, west, east) for west, east in zip(wests, easts, strict=True)
    )
    return BoundingBox(
        min(cell.south for cell in cells),
        _turned(west),
        max(cell.north for cell in cells),
        east,
    )


def area_name(box: BoundingBox, cities: Iterable[Meaning]) -> str | None:
    """Return the name of an area by its city; of a larger one, by the one in it with most photos.

    `cities`: most photos first.
    """
    width = (box.east - box.west) % 360
    size = max(box.north - box.south, width * cos(radians(box.north)))
    name = ""
    if size <= _AROUND_CITY_DEGREES:
        centre = (
            np.array([(box.south + box.north) / 2]),
            np.array([_turned(box.west + width / 2)]),
        )
        (city,) = nearest_cities(*centre)
        if city is not None:
            name = city_name(city.name, city.region or city.country)
    elif size <= _MOST_DEGREES:
        for each in cities:
            latitude, longitude = map(float, str(each.options["near"]).split(","))
            is_inside = box.south <= latitude <= box.north
            if is_inside and (longitude - box.west) % 360 <= width:
                name = city_name(
                    each.label, each.detail.rpartition(", ")[2] or each.label
                )
                break
    text = N_("in %(city)s") if size <= _CITY_DEGREES else N_("around %(city)s")
    return gettext(text, city=name) if name else None


def render_map(
    request: Request, settings: Settings, name: str, **values: object
) -> HTMLResponse:
    response = render(request, name, 200, **values)
    if settings.web_map_tiles is not None:
        response.headers["content-security-policy"] = policy_with_tiles(
            settings.web_map_tiles
        )
    return response


def check_map_file(file: FilePath | None) -> None:
    """Raises:
    SettingsInvalid: the map file of the settings cannot be read, or has no vector tiles.
    """
    if file is None:
        return
    try:
        with file.open("rb") as opened:
            header = opened.read(_HEADER_BYTES)
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        is_map = (
            header.startswith(b"PMTiles\x03") and header[_TILE_TYPE:] == _VECTOR_TILES
        )
        reason = "" if is_map else "it is no PMTiles file, version 3, of vector tiles"
    if reason:
        raise SettingsInvalid(
            reason=f"web_map_file (TAGGER_WEB_MAP_FILE): {file}: {reason}"
        )


# By the specification of PMTiles, version 3.
_HEADER_BYTES, _TILE_TYPE, _VECTOR_TILES = 100, 99, b"\x01"


def live_map(settings: Settings, bounds: BoundingBox) -> dict[str, object]:
    file = settings.web_map_file
    near = (
        f"/map/near.pmtiles?v={file.stat().st_mtime_ns:x}"
        if file and file.is_file()
        else ""
    )
    return {
        "library": asset("vendor/map/maplibre-gl.mjs"),
        "worker": asset("vendor/map/maplibre-gl-worker.mjs"),
        "style": asset("vendor/map/maplibre-gl.css"),
        "reader": asset("vendor/map/pmtiles.js"),
        "world": asset("world.pmtiles"),
        "near": near,
        "near-style": asset("vendor/map/basemaps.js"),
        "bounds": bounds,
        "tiles": settings.web_map_tiles or "",
        "attribution": settings.web_map_attribution,
    }


# The map around a position shows so much on each side.
MAP_DEGREES = 0.2


def map_around(
    settings: Settings, latitude: float, longitude: float
) -> dict[str, object]:
    south, north = max(-90.0, latitude - MAP_DEGREES), min(90.0, latitude + MAP_DEGREES)
    box = BoundingBox(south, longitude - MAP_DEGREES, north, longitude + MAP_DEGREES)
    return live_map(settings, box) | {
        "tiles": "",
        "latitude": latitude,
        "longitude": longitude,
    }


def _address(box: BoundingBox, trip: str | None) -> str:
    # The photos in a box. It is rounded so that none at its edge is lost.
    south, west = (
        floor(degrees * _ROUNDING) / _ROUNDING for degrees in (box.south, box.west)
    )
    north, east = (
        ceil(degrees * _ROUNDING) / _ROUNDING for degrees in (box.north, box.east)
    )
    outer = BoundingBox(
        max(-90.0, south), max(-180.0, west), min(90.0, north), min(180.0, east)
    )
    return QueryParams.of(trip=trip, box=str(outer)).address("/photos")


def trip_cells(path: Sequence[PathPoint]) -> list[PositionCell]:
    return [
        document_of(
            PositionCell,
            point,
            photos=1,
            is_estimated=not point.is_measured,
            south=point.latitude,
            north=point.latitude,
            west=point.longitude,
            east=point.longitude,
        )
        for point in path
    ]


def trip_bounds(path: Sequence[PathPoint]) -> BoundingBox:
    """What the map of a trip shows: the least box around its photos, or a spot. It may cross 180°."""
    bounds = extent_of(trip_cells(path))
    if (
        max(bounds.north - bounds.south, (bounds.east - bounds.west) % 360)
        >= _SPOT_DEGREES
    ):
        return bounds
    return BoundingBox(
        max(bounds.south - _AROUND_DEGREES, -85.0),
        _turned(bounds.west - _AROUND_DEGREES),
        min(bounds.north + _AROUND_DEGREES, 85.0),
        _turned(bounds.east + _AROUND_DEGREES),
    )


def path_geometry(path: Sequence[PathPoint]) -> dict[str, Any]:
    ways = (
        list(_way(list(points)))
        for _, points in groupby(path, key=lambda point: point.camera_id)
    )
    return {
        "type": "MultiLineString",
        "coordinates": [way for way in ways if len(way) > 1],
    }


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
    return (degrees + 180) % 360 - 180
