"""Photos on a map of any scale: clusters of positions that do not cover each other; reads only.

The database counts positions by the cells of a grid, whose number depends on the size of the map, not of the library.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import asinh, floor, pi, radians, tan

from tagger.database.connection import Database
from tagger.library.query.options import BoundingBox
from tagger.library.query.position_cells import FINEST_DEGREES, PositionCell, merge_cells, position_cells

SPACING_PX = 46
"""The least distance of clusters: with it, each has room for a mark of 44 pixels, the size for a finger."""
_CELL_PX = 32
_WORLD_PX = 512
"""The width of the world at zoom 0."""
_MOST_CELLS = 128
"""Along each side of the map."""
_MOST_LATITUDE = 85.0
"""The Mercator projection ends there."""


@dataclass(frozen=True)
class PositionCluster:
    """Photos near each other on a map, and the least box around their positions. `photos`: by the source of their positions.

    `latitude` and `longitude` are of its mark. `photo_id` is one of the photos. `place`: city and country, as far as all share them.
    """

    photos: Mapping[str, int]
    latitude: float
    longitude: float
    bounds: BoundingBox
    place: str
    photo_id: int

    @property
    def total(self) -> int:
        return sum(self.photos.values())


def needs_fine_cells(zoom: float) -> bool:
    """Whether a map of this zoom shows more than the finest cells of `position_cells` tell."""
    return _cell_degrees(zoom) < FINEST_DEGREES


def cells_within(database: Database, bounds: BoundingBox, zoom: float) -> list[PositionCell]:
    """The cells of a map that shows these bounds at this zoom: level 0 has the world in 512 pixels, each level twice as many."""
    width = bounds.east - bounds.west + (360 if bounds.east < bounds.west else 0)
    least_degrees = max(width, bounds.north - bounds.south) / _MOST_CELLS
    return position_cells(database, max(_cell_degrees(zoom), least_degrees), bounds)


def cluster_cells(cells: Iterable[PositionCell], bounds: BoundingBox, zoom: float) -> list[PositionCluster]:
    """Join the cells within the bounds until no mark covers another, most photos first."""
    inside = [cell for cell in cells if bounds.contains(cell.latitude, cell.longitude)]
    merged = merge_cells(inside, _cell_degrees(zoom)) if not needs_fine_cells(zoom) else inside
    ordered = sorted(merged, key=lambda cell: (-cell.photos, cell.latitude, cell.longitude, cell.source))
    squares: dict[tuple[int, int], list[_Group]] = {}
    for cell in ordered:
        x, y = _pixels(cell.latitude, cell.longitude, zoom)
        near = _nearest_group(squares, x, y)
        if near is None:
            near = _Group(x, y, [])
            squares.setdefault(_square(x, y), []).append(near)
        near.cells.append(cell)
    clusters = [_cluster(group.cells) for square in squares.values() for group in square]
    return sorted(clusters, key=lambda cluster: (-cluster.total, cluster.latitude, cluster.longitude))


@dataclass(frozen=True)
class _Group:
    """Cells whose mark is at the first one, in pixels."""

    x: float
    y: float
    cells: list[PositionCell]


def _cell_degrees(zoom: float) -> float:
    return _CELL_PX * 360 / (_WORLD_PX * 2**zoom)


def _pixels(latitude: float, longitude: float, zoom: float) -> tuple[float, float]:
    """The point of the map, in the Mercator projection."""
    world = _WORLD_PX * 2**zoom
    limited = max(-_MOST_LATITUDE, min(_MOST_LATITUDE, latitude))
    return world * (longitude + 180) / 360, -world * asinh(tan(radians(limited))) / (2 * pi)


def _square(x: float, y: float) -> tuple[int, int]:
    return floor(x / SPACING_PX), floor(y / SPACING_PX)


def _nearest_group(squares: Mapping[tuple[int, int], list[_Group]], x: float, y: float) -> _Group | None:
    """The group nearest to a point, of those whose mark would be covered by one at the point."""
    column, row = _square(x, y)
    groups = [
        ((group.x - x) ** 2 + (group.y - y) ** 2, group.x, group.y, group)
        for right in (-1, 0, 1)
        for down in (-1, 0, 1)
        for group in squares.get((column + right, row + down), ())
    ]
    near = [group for group in groups if group[0] < SPACING_PX**2]
    return min(near)[-1] if near else None


def _cluster(cells: list[PositionCell]) -> PositionCluster:
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell.source] = counts.get(cell.source, 0) + cell.photos
    first = cells[0]
    bounds = BoundingBox(
        min(cell.south for cell in cells),
        min(cell.west for cell in cells),
        max(cell.north for cell in cells),
        max(cell.east for cell in cells),
    )
    parts = (_shared(cell.city for cell in cells), _shared(cell.country for cell in cells))
    place = ", ".join(part for part in parts if part)
    return PositionCluster(counts, first.latitude, first.longitude, bounds, place, first.photo_id)


def _shared(texts: Iterable[str | None]) -> str | None:
    """The text, if all are the same."""
    found = set(texts)
    return found.pop() if len(found) == 1 else None
