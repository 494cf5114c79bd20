"""Marks on the map for photos: where they were taken, by where their positions come from.

Photos that are near each other share a mark, so that a map has few. Photos that are located by a landmark are at its dot.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tagger.library.query.position_clusters import PositionCell, merge_cells
from tagger.web.http.query_params import QueryParams
from tagger.web.pages.world_map import MapView, project

SOURCES = {"camera": "by GPS", "track": "by a GPS track", "neighbour": "estimated"}
MOST_MARKS = 200
WORLD_DEGREES = 6.0
"""The size of the cells on the map of the world, where a mark is about as large."""
MIN_RADIUS, MAX_RADIUS = 4.0, 8.0
OFFSETS = {"camera": (-4.5, 2.5), "track": (4.5, 2.5), "neighbour": (0.0, -4.5)}
"""How far marks are moved on the map of the world, so that those of one cell do not cover each other."""


@dataclass(frozen=True)
class PhotoMark:
    """Photos on the map. The area grows with their number."""

    x: float
    y: float
    radius: float
    source: str
    name: str
    photos: int
    address: str


@dataclass(frozen=True)
class LegendEntry:
    """A source of positions with its number of photos and their address."""

    source: str
    name: str
    photos: int
    address: str


def photo_marks(cells: Sequence[PositionCell], view: MapView) -> list[PhotoMark]:
    """Return the marks of a view, the smallest last, so that large ones do not cover them."""
    inside = _merged(cells, view)
    max_photos = max((cell.photos for cell in inside), default=1)
    marks = (_mark(cell, max_photos, view) for cell in inside)
    return sorted(marks, key=lambda mark: -mark.radius)


def _merged(cells: Sequence[PositionCell], view: MapView) -> list[PositionCell]:
    """Merge cells until few are in the view."""
    degrees = WORLD_DEGREES * view.scale
    while True:
        cells = merge_cells(cells, degrees)
        inside = [cell for cell in cells if cell.source in SOURCES and view.contains(*_point(cell, view))]
        if len(inside) <= MOST_MARKS:
            return inside
        degrees *= 2


def legend(cells: Sequence[PositionCell]) -> list[LegendEntry]:
    """Return the sources that photos on the map have."""
    counts = {source: sum(cell.photos for cell in cells if cell.source == source) for source in SOURCES}
    return [
        LegendEntry(source, SOURCES[source], count, QueryParams.of(position=source).address("/photos"))
        for source, count in counts.items()
        if count
    ]


def _point(cell: PositionCell, view: MapView) -> tuple[float, float]:
    x, y = project(cell.latitude, cell.longitude)
    right, down = OFFSETS[cell.source]
    return round(x + right * view.scale, 2), round(y + down * view.scale, 2)


def _mark(cell: PositionCell, max_photos: int, view: MapView) -> PhotoMark:
    radius = max(MIN_RADIUS, MAX_RADIUS * (cell.photos / max_photos) ** 0.5)
    near = f"{cell.latitude:.4f},{cell.longitude:.4f}"
    params = QueryParams.of(near=near, radius_km=cell.radius_km, position=cell.source)
    name = f"{cell.place}, {SOURCES[cell.source]}" if cell.place else SOURCES[cell.source]
    return PhotoMark(
        *_point(cell, view),
        round(radius * view.scale, 2),
        cell.source,
        name,
        cell.photos,
        params.address("/photos"),
    )
