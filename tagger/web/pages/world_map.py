"""The outline map: projecting positions onto it, and views of its parts. The land is static/world.svg, drawn in the same projection."""

import math
from dataclasses import dataclass
from urllib.parse import urlencode

from tagger.library.query.option_values import BoundingBox

WIDTH, HEIGHT = 1000.0, 435.0
VIEW_BOX = f"0 0 {WIDTH:g} {HEIGHT:g}"
_NORTH = 84.0
"""The latitude of the upper edge; only ice is north of it."""


@dataclass(frozen=True)
class MapView:
    """A section of the map with the same aspect ratio as the whole, so that the page's layout stays."""

    name: str
    left: float = 0.0
    top: float = 0.0
    width: float = WIDTH
    bounds: BoundingBox | None = None

    @property
    def address(self) -> str:
        return "/map" if self is WORLD else f"/map?{urlencode({'part': self.name})}"

    @property
    def view_box(self) -> str:
        return f"{self.left:g} {self.top:g} {self.width:g} {self.width * HEIGHT / WIDTH:g}"

    @property
    def scale(self) -> float:
        """The size of one unit of the world map in this view, for dots of constant size."""
        return self.width / WIDTH

    def contains(self, x: float, y: float) -> bool:
        """Return whether the point of the world map is inside."""
        height = self.width * HEIGHT / WIDTH
        return self.left <= x <= self.left + self.width and self.top <= y <= self.top + height


WORLD = MapView("World")


def project(latitude: float, longitude: float) -> tuple[float, float]:
    """Project degrees onto the map, x to the right and y downwards, in the Natural Earth projection; rounded for the whole map."""
    x, y = position(latitude, longitude)
    return round(x, 1), round(y, 1)


def position(latitude: float, longitude: float) -> tuple[float, float]:
    """The same, not rounded."""
    x, y = _natural_earth(math.radians(latitude), math.radians(longitude))
    return WIDTH / 2 + _SCALE * x, _SCALE * (_TOP - y)


def _natural_earth(latitude: float, longitude: float) -> tuple[float, float]:
    """Tom Patterson's projection, as the polynomials of Šavrič, Jenny and others (2011); radians."""
    p2 = latitude * latitude
    p4 = p2 * p2
    x_factor = 0.8707 - 0.131979 * p2 + p4 * (-0.013791 + p4 * (0.003971 * p2 - 0.001529 * p4))
    y_factor = 1.007226 + p2 * (0.015085 + p4 * (-0.044475 + 0.028874 * p2 - 0.005916 * p4))
    return longitude * x_factor, latitude * y_factor


_SCALE = WIDTH / 2 / _natural_earth(0.0, math.pi)[0]
_TOP = _natural_earth(math.radians(_NORTH), 0.0)[1]
