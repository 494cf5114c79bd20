"""Positions in words: the country, region and city that people name for them, offline.

The table tagger/shipped/cities.npz has the cities of GeoNames with at least 5,000 inhabitants, and smaller places along borders.

A position belongs to the country of the nearest place of any size. Its city is not simply the nearest place: at the Eiffel Tower,
that is a quarter. A city fills a disc with its inhabitants, 3,000 per km², and the city of a position is the one of its country
with the smallest distance from its centre less the radius of its disc. A quarter or suburb inside a large disc is therefore
never the answer; a town of its own outside of it is. The region is the city's.

Of the 164 landmarks of the shipped model, 163 are in their country and 138 of 147 in their city, if other spellings count. With the
nearest place it was 43 of 84, and 78 with 1,500 or 6,000 inhabitants per km².

The names of the places of many positions.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tagger.library.catalog.landmarks import normalize_name
from tagger.library.positions.estimation import Floats, unit_vectors
from tagger.library.positions.neighbours import Indices, ground_km, nearest_discs

MAX_DISTANCE_KM = 300
"""A position farther from every place is in no country: at sea, or in Antarctica."""

_INHABITANTS_PER_KM2 = 3000


@dataclass(frozen=True, slots=True)
class City:
    """The city of a position. `latitude` and `longitude` are of its centre, `distance_km` is how far that is from the position.

    Some small countries have no regions.
    """

    name: str
    region: str | None
    country: str
    latitude: float
    longitude: float
    distance_km: float


def nearest_cities(latitudes: Floats, longitudes: Floats) -> list[City | None]:
    """The cities of positions in degrees, both (N,): None if no place is within 300 km, or a coordinate is not finite.

    Large batches are faster, as positions near each other share work: 100,000 at once take some 100 MB.
    """
    table = _load()
    known = np.flatnonzero(np.isfinite(latitudes) & np.isfinite(longitudes))
    positions = unit_vectors(latitudes[known], longitudes[known])
    places = nearest_discs(positions, table.places, np.zeros(table.places.shape[1]))
    is_near = ground_km(positions, table.places[:, places]) <= MAX_DISTANCE_KM
    known, positions, places = known[is_near], positions[:, is_near], places[is_near]
    cities = _cities_in_country(table, positions, table.place_countries[places])
    found: list[City | None] = [None] * len(latitudes)
    distances_km = ground_km(positions, table.places[:, cities])
    for index, city, distance_km in zip(known.tolist(), cities.tolist(), distances_km.tolist(), strict=True):
        found[index] = table.city(city, distance_km)
    return found


def find_cities(text: str, limit: int) -> list[City]:
    """The cities whose names start with a text: those of this name, then the largest first. After a comma, the text names the region or country.

    Case and accents do not matter.
    """
    name, *rest = (normalize_name(part) for part in text.split(",", 1))
    area = rest[0] if rest else ""
    table, names = _load(), _folded_names()
    same_start = [index for index, folded in enumerate(names) if folded.startswith(name)]
    same_start.sort(key=lambda index: (names[index] != name, -table.radii_km[index]))
    cities = (table.city(index, 0.0) for index in same_start)
    in_area = (
        city
        for city in cities
        if any(normalize_name(each).startswith(area) for each in (city.country, city.region or ""))
    )
    return list(islice(in_area, limit))


@cache
def _folded_names() -> list[str]:
    return [normalize_name(name) for name in _load().names]


def disc_radii_km(populations: npt.NDArray[Any]) -> Floats:
    """The radii of the discs that cities fill with their inhabitants."""
    return np.sqrt(np.asarray(populations, dtype=np.float64) / (np.pi * _INHABITANTS_PER_KM2))


@dataclass(frozen=True)
class _Table:
    """The cities, by country, then the places along borders. Regions and countries are indices of their names."""

    names: list[str]  # of cities
    city_regions: list[int]
    latitudes: list[float]  # of cities, in degrees
    longitudes: list[float]
    radii_km: Floats
    places: Floats  # (3, number of cities and of places along borders)
    place_countries: npt.NDArray[np.uint8]
    regions: list[str]
    countries: list[str]

    def city(self, index: int, distance_km: float) -> City:
        return City(
            self.names[index],
            self.regions[self.city_regions[index]] or None,
            self.countries[self.place_countries[index]],
            self.latitudes[index],
            self.longitudes[index],
            distance_km,
        )


@cache
def _load() -> _Table:
    file = importlib.resources.files("tagger") / "shipped" / "cities.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as columns:
        latitudes, longitudes = (columns[name] / 10_000 for name in ("latitudes", "longitudes"))
        names = _texts(columns["names"])
        return _Table(
            names=names,
            city_regions=columns["regions"].tolist(),
            latitudes=latitudes[: len(names)].tolist(),
            longitudes=longitudes[: len(names)].tolist(),
            radii_km=disc_radii_km(columns["populations"]),
            places=unit_vectors(latitudes, longitudes),
            place_countries=columns["countries"],
            regions=_texts(columns["region_names"]),
            countries=_texts(columns["country_names"]),
        )


def _texts(column: npt.NDArray[np.uint8]) -> list[str]:
    return column.tobytes().decode().split("\n")


def _cities_in_country(table: _Table, positions: Floats, countries: npt.NDArray[np.uint8]) -> Indices:
    """The city of each position among those of its country."""
    cities = np.empty(len(countries), dtype=np.intp)
    city_countries = table.place_countries[: len(table.names)]
    for country in np.unique(countries):
        rows = np.flatnonzero(countries == country)
        first, end = np.searchsorted(city_countries, [country, country + 1])
        found = nearest_discs(positions[:, rows], table.places[:, first:end], table.radii_km[first:end])
        cities[rows] = first + found
    return cities


Place = tuple[str | None, str | None, str | None]
"""Country, region and city."""


def places_of(positions: Iterable[tuple[float, float]]) -> list[Place]:
    """The country, region and city of latitudes and longitudes in degrees. Each cell of a hundredth of a degree is looked up once: many photos are of one place.

    A city is no nearer than some hundred metres anyway.
    """
    cells = [(round(latitude, 2), round(longitude, 2)) for latitude, longitude in positions]
    nowhere: Place = (None, None, None)
    places = dict.fromkeys(cells, nowhere)
    cities = nearest_cities(*np.array(list(places), np.float64).reshape(-1, 2).T)
    for cell, city in zip(places, cities, strict=True):
        if city is not None:
            places[cell] = city.country, city.region, city.name
    return [places[cell] for cell in cells]
