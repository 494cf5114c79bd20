"""The map of the library: a dot for each landmark, parts of the world to look at more closely, and the same as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from tagger.landmarks import folded
from tagger.query import LandmarkCount
from tagger.web.pages.tiles import landmark_address
from tagger.web.world import HEIGHT, WIDTH, project

LEAST_DOT, LARGEST_DOT = 4.0, 12.0
WORTH_A_PART = 2
"""Fewer landmarks are seen well enough on the map of the world."""


@dataclass(frozen=True)
class Dot:
    """A landmark on the map, the larger the more photos show it."""

    x: float
    y: float
    radius: float
    name: str
    photos: int
    address: str


@dataclass(frozen=True)
class Part:
    """A part of the world, in the shape of the whole map, so that the page does not move from one to the other."""

    name: str
    left: float = 0.0
    top: float = 0.0
    width: float = WIDTH

    @property
    def address(self) -> str:
        return "/map" if self is WORLD else f"/map?{urlencode({'part': self.name})}"

    @property
    def view_box(self) -> str:
        return f"{self.left:g} {self.top:g} {self.width:g} {self.width * HEIGHT / WIDTH:g}"

    @property
    def scale(self) -> float:
        """How large one unit of the whole map is to be drawn here to look the same."""
        return self.width / WIDTH

    def has(self, x: float, y: float) -> bool:
        """Whether that place of the whole map is in it."""
        height = self.width * HEIGHT / WIDTH
        return self.left <= x <= self.left + self.width and self.top <= y <= self.top + height


def _part(name: str, north: float, west: float, south: float, east: float) -> Part:
    """The part that holds these parallels and meridians, as small as the map's shape lets it be."""
    corners = [project(latitude, longitude) for latitude in (north, south) for longitude in (west, east)]
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    top, bottom = min(y for _, y in corners), max(y for _, y in corners)
    width = min(WIDTH, max(right - left, (bottom - top) * WIDTH / HEIGHT))
    across, down = (left + right - width) / 2, (top + bottom - width * HEIGHT / WIDTH) / 2
    return Part(name, round(across, 1), round(down, 1), round(width, 1))


WORLD = Part("World")
PARTS = (
    WORLD,
    _part("Europe", 62, -12, 35, 42),
    _part("Africa", 38, -20, -36, 52),
    _part("Middle East", 43, 24, 12, 64),
    _part("South Asia", 37, 60, 5, 98),
    _part("East Asia", 46, 92, -10, 148),
    _part("North America", 60, -130, 12, -60),
    _part("South America", 14, -84, -56, -34),
    _part("Oceania", -8, 110, -48, 180),
)


def parts_of(counts: Sequence[LandmarkCount]) -> list[Part]:
    """The world, and those of its parts in which there is something to tell apart."""
    places = [place for _, place in _placed(counts)]
    return [
        part for part in PARTS if part is WORLD or sum(part.has(*place) for place in places) >= WORTH_A_PART
    ]


def part_named(name: str) -> Part:
    """That part; the world, where there is none of the name."""
    return next((part for part in PARTS if part.name == name), WORLD)


def dots(counts: Sequence[LandmarkCount], part: Part = WORLD) -> list[Dot]:
    """The landmarks of the part; small ones last, so that no large one covers them."""
    most = max((count.photos for count in counts), default=1) or 1
    found = [_dot(count, most, part, *place) for count, place in _placed(counts) if part.has(*place)]
    return sorted(found, key=lambda dot: -dot.radius)


def by_country(counts: Sequence[LandmarkCount]) -> list[tuple[str, list[LandmarkCount]]]:
    """Countries with their landmarks, those with most photos first."""
    grouped: dict[str, list[LandmarkCount]] = {}
    for each in counts:
        grouped.setdefault(each.country or "Elsewhere", []).append(each)
    return sorted(
        grouped.items(), key=lambda group: (-sum(each.photos for each in group[1]), folded(group[0]))
    )


def _placed(counts: Sequence[LandmarkCount]) -> list[tuple[LandmarkCount, tuple[float, float]]]:
    return [
        (count, project(count.latitude, count.longitude))
        for count in counts
        if count.latitude is not None and count.longitude is not None
    ]


def _dot(count: LandmarkCount, most: int, part: Part, x: float, y: float) -> Dot:
    radius = max(LEAST_DOT, LARGEST_DOT * (count.photos / most) ** 0.5)  # areas compare, not widths
    address = landmark_address(count.landmark)
    return Dot(x, y, round(radius * part.scale, 2), count.name, count.photos, address)
