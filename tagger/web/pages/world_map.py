"""The outline of the world: positions projected onto static/world.svg, which has the land in the same projection."""

import math

WIDTH, HEIGHT = 1000.0, 435.0
VIEW_BOX = f"0 0 {WIDTH:g} {HEIGHT:g}"
_NORTH = 84.0
"""The latitude of the upper edge; only ice is north of it."""


def project(latitude: float, longitude: float) -> tuple[float, float]:
    """Project degrees onto the map, x to the right and y downwards, in the Natural Earth projection."""
    x, y = _natural_earth(math.radians(latitude), math.radians(longitude))
    return round(WIDTH / 2 + _SCALE * x, 1), round(_SCALE * (_TOP - y), 1)


def _natural_earth(latitude: float, longitude: float) -> tuple[float, float]:
    """Tom Patterson's projection, as the polynomials of Šavrič, Jenny and others (2011); radians."""
    p2 = latitude * latitude
    p4 = p2 * p2
    x_factor = 0.8707 - 0.131979 * p2 + p4 * (-0.013791 + p4 * (0.003971 * p2 - 0.001529 * p4))
    y_factor = 1.007226 + p2 * (0.015085 + p4 * (-0.044475 + 0.028874 * p2 - 0.005916 * p4))
    return longitude * x_factor, latitude * y_factor


_SCALE = WIDTH / 2 / _natural_earth(0.0, math.pi)[0]
_TOP = _natural_earth(math.radians(_NORTH), 0.0)[1]
