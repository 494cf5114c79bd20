"""The names of the places of many positions."""

from collections.abc import Iterable

import numpy as np

from tagger.library.positions.cities import nearest_cities

_MOST_CELLS = 50_000
"""Cells that are remembered, in some 10 MB."""

Place = tuple[str | None, str | None, str | None]
"""Country, region and city."""
_Cell = tuple[float, float]


class PlaceNames:
    """The country, region and city of positions. Each cell of a hundredth of a degree is looked up once: many photos are of one place.

    A city is no nearer than some hundred metres anyway.
    """

    def __init__(self) -> None:
        self._places: dict[_Cell, Place] = {}

    def find(self, positions: Iterable[_Cell]) -> list[Place]:
        """The names for latitudes and longitudes in degrees."""
        cells = [(round(latitude, 2), round(longitude, 2)) for latitude, longitude in positions]
        if len(self._places) > _MOST_CELLS:
            self._places.clear()
        unknown = list(set(cells).difference(self._places))
        cities = nearest_cities(*np.array(unknown, np.float64).reshape(-1, 2).T)
        for cell, city in zip(unknown, cities, strict=True):
            self._places[cell] = (city.country, city.region, city.name) if city else (None, None, None)
        return [self._places[cell] for cell in cells]
