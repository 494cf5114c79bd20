"""Positions in words: the country, region and city that people name for them, offline.

The table tagger/shipped/cities.npz has the cities of GeoNames with at least 5,000 inhabitants, and smaller
places along borders of countries and time zones.

A position belongs to the country of the nearest place of any size. Its city is not simply the nearest place:
at the Eiffel Tower, that is a quarter. A city fills a disc with its inhabitants, 3,000 per km², and the city
of a position is the one of its country with the smallest distance from its centre less the radius of its
disc. A quarter or suburb inside a large disc is therefore never the answer; a town of its own outside of it
is. The region is the city's.

Of the 164 landmarks of landmarks-164-v5, 163 get their country, and 138 of 147 get their city, counting other
spellings. The nearest place gave the city of 43 of 84, and densities of 1,500 or 6,000 inhabitants per km²
that of 78.

The nearest place is found exactly, with numpy alone: distances are chords through the earth. They order
places as distances on the ground do, obey the triangle inequality, and know neither poles nor a date line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tagger.geo import EARTH_RADIUS_KM
from tagger.landmarks import normalize_name
from tagger.sphere import (
    Columns,
    Floats,
    chords_km,
    ground_km,
    read_shipped,
    texts_of,
    unit_vectors,
)

Indices = npt.NDArray[np.intp]

# A position farther from every place is in no country: at sea, or in Antarctica.
MAX_DISTANCE_KM = 300

_INHABITANTS_PER_KM2 = 3000


@dataclass(frozen=True, slots=True)
class City:
    """Some small countries have no regions."""

    name: str
    region: str | None
    country: str


def nearest_cities(latitudes: Floats, longitudes: Floats) -> list[City | None]:
    """The cities of positions in degrees, both (N,): None if none is within 300 km, or one is not finite.

    Large batches are faster, as positions near each other share work: 100,000 at once take some 100 MB.
    """
    table = _load()
    known = np.flatnonzero(np.isfinite(latitudes) & np.isfinite(longitudes))
    positions = unit_vectors(latitudes[known], longitudes[known])
    places = nearest_discs(
        positions,
        table.places,
        np.zeros(table.places.shape[1]),
    )
    is_near = ground_km(positions, table.places[:, places]) <= MAX_DISTANCE_KM
    known = known[is_near]
    positions = positions[:, is_near]
    places = places[is_near]
    countries = table.place_countries[places]
    # The city of each position among those of its country.
    cities = np.empty(len(countries), dtype=np.intp)
    city_countries = table.place_countries[: len(table.names)]
    for country in np.unique(countries):
        rows = np.flatnonzero(countries == country)
        first, end = np.searchsorted(city_countries, [country, country + 1])
        in_country = nearest_discs(
            positions[:, rows],
            table.places[:, first:end],
            table.radii_km[first:end],
        )
        cities[rows] = first + in_country
    city_of: list[City | None] = [None] * len(latitudes)
    for index, city in zip(
        known.tolist(),
        cities.tolist(),
        strict=True,
    ):
        city_of[index] = table.city(city)
    return city_of


def edge_distances_km(
    latitudes: Floats, longitudes: Floats, least_inhabitants: int
) -> Floats:
    """How far positions are from the nearest city with so many inhabitants; inside of its disc, below 0."""
    table = _load()
    is_large = table.radii_km >= disc_radii_km(np.array(least_inhabitants))
    centres = table.places[:, : len(table.names)][:, is_large]
    radii_km = table.radii_km[is_large]
    positions = unit_vectors(latitudes, longitudes)
    nearest = nearest_discs(positions, centres, radii_km)
    return ground_km(positions, centres[:, nearest]) - radii_km[nearest]


def find_cities(text: str, limit: int) -> list[City]:
    """The cities whose names start with a text: those of this name, then the largest first.

    After a comma, the text names the region or country. Case and accents do not matter.
    """
    name, *rest = (normalize_name(part) for part in text.split(",", 1))
    area = rest[0] if rest else ""
    table, names = _load(), _folded_names()
    same_start = [
        index for index, folded in enumerate(names) if folded.startswith(name)
    ]
    same_start.sort(key=lambda index: (names[index] != name, -table.radii_km[index]))
    cities = (table.city(index) for index in same_start)
    in_area = (
        city
        for city in cities
        if any(
            normalize_name(each).startswith(area)
            for each in (city.country, city.region or "")
        )
    )
    return list(islice(in_area, limit))


def time_zone(latitude: float, longitude: float) -> str:
    """The time zone of a position, like `Europe/Paris`; farther than 300 km from every place, that of ships.

    Ships use the zones of 15 degrees of longitude around each whole hour, like `Etc/GMT+2` west of Africa.
    """
    return _zone_of_cell(round(latitude, 2), round(longitude, 2))


@lru_cache(10_000)  # many photos are of one place, and a search takes a millisecond
def _zone_of_cell(latitude: float, longitude: float) -> str:
    table = _load()
    position = unit_vectors(np.array([latitude]), np.array([longitude]))
    place = nearest_discs(
        position,
        table.places,
        np.zeros(table.places.shape[1]),
    )
    is_near = ground_km(position, table.places[:, place])[0] <= MAX_DISTANCE_KM
    # In these names, zones west of Greenwich have the sign +.
    return (
        table.zones[table.place_zones[place[0]]]
        if is_near
        else f"Etc/GMT{-round(longitude / 15):+d}"
    )


@cache
def _folded_names() -> list[str]:
    return [normalize_name(name) for name in _load().names]


def is_name_of_city(text: str) -> bool:
    """As it is called there, in English or in another language."""
    name = normalize_name(text)
    return name in _folded_names() or any(
        name in names for names in names_of_cities().values()
    )


@cache
def names_of_cities() -> dict[City, list[str]]:
    """Folded as search compares them."""
    table = _load()
    return {
        table.city(index): names.split("\t")
        for index, names in enumerate(table.other_names)
        if names
    }


def disc_radii_km(populations: npt.NDArray[Any]) -> Floats:
    return np.sqrt(
        np.asarray(populations, dtype=np.float64) / (np.pi * _INHABITANTS_PER_KM2)
    )


@dataclass(frozen=True)
class _Table:
    # Cities by country, then places along borders. Regions, countries and zones are indices of names.
    names: list[str]  # of cities
    other_names: list[str]
    city_regions: list[int]
    radii_km: Floats
    places: Floats  # (3, number of cities and of places along borders)
    place_countries: npt.NDArray[np.uint8]
    place_zones: npt.NDArray[np.uint16]
    regions: list[str]
    countries: list[str]
    zones: list[str]

    def city(self, index: int) -> City:
        return City(
            self.names[index],
            self.regions[self.city_regions[index]] or None,
            self.countries[self.place_countries[index]],
        )


@cache
def _load() -> _Table:
    return read_shipped("cities.npz", _table)


def _table(columns: Columns) -> _Table:
    latitudes, longitudes = (
        columns["latitudes"] / 10_000,
        columns["longitudes"] / 10_000,
    )
    return _Table(
        names=texts_of(columns["names"]),
        other_names=texts_of(columns["other_names"]),
        city_regions=columns["regions"].tolist(),
        radii_km=disc_radii_km(columns["populations"]),
        places=unit_vectors(latitudes, longitudes),
        place_countries=columns["countries"],
        place_zones=columns["zones"],
        regions=texts_of(columns["region_names"]),
        countries=texts_of(columns["country_names"]),
        zones=texts_of(columns["zone_names"]),
    )


# Country, region and city.
PlaceNames = tuple[str | None, str | None, str | None]


def places_of(positions: Iterable[tuple[float, float]]) -> list[PlaceNames]:
    """The country, region and city of latitudes and longitudes in degrees. Each cell is looked up once.

    A city is no nearer than some hundred metres anyway.
    """
    cells = [
        (round(latitude, 2), round(longitude, 2)) for latitude, longitude in positions
    ]
    nowhere: PlaceNames = (None, None, None)
    places = dict.fromkeys(cells, nowhere)
    cities = nearest_cities(*np.array(list(places), np.float64).reshape(-1, 2).T)
    for cell, city in zip(places, cities, strict=True):
        if city is not None:
            places[cell] = city.country, city.region, city.name
    return [places[cell] for cell in cells]


# The most distances in one matrix. Larger groups are halved: nearby positions have few candidates.
_MAX_DISTANCES = 20_000
_MIN_POSITIONS = 8
_ROUNDING_KM = 0.001


def nearest_discs(positions: Floats, centres: Floats, radii_km: Floats) -> Indices:
    """The index of the disc with the smallest distance from its centre less its radius: (N,).

    Branch and bound: the discs that can be nearest to any of a group of positions are those whose distance
    from the group's middle exceeds the smallest one by at most the group's diameter. Groups are halved until
    few discs are left.

    Args:
        positions: unit vectors (3, N).
        centres: unit vectors (3, M), M > 0.
        radii_km: (M,), 0 for points.
    """
    nearest = np.empty(positions.shape[1], dtype=np.intp)
    groups = [
        _PointGroup(
            np.arange(positions.shape[1]),
            positions,
            np.arange(centres.shape[1]),
        )
    ]
    while groups:
        group = groups.pop()
        if not len(group.rows):
            continue
        # Discs that can be nearest to a position in the box between two corners.
        low, high = group.points.min(axis=1), group.points.max(axis=1)
        middle = (low + high) / 2
        diameter_km = EARTH_RADIUS_KM * float(np.linalg.norm(high - low))
        cosines = _cosines(middle[:, None], centres[:, group.discs])[0]
        squares = np.maximum(0.0, 1 + middle @ middle - 2 * cosines)
        distances_km = EARTH_RADIUS_KM * np.sqrt(squares) - radii_km[group.discs]
        limit_km = distances_km.min() + diameter_km + _ROUNDING_KM
        discs = group.discs[distances_km <= limit_km]
        size = len(group.rows)
        if size * len(discs) <= _MAX_DISTANCES or size <= _MIN_POSITIONS:
            edges_km = (
                chords_km(_cosines(group.points, centres[:, discs])) - radii_km[discs]
            )
            nearest[group.rows] = discs[edges_km.argmin(axis=1)]
        else:
            # In two halves, at the median of the longest side.
            side = int(np.argmax(high - low))
            order = np.argpartition(group.points[side], size // 2)
            groups += [
                _PointGroup(group.rows[half], group.points[:, half], discs)
                for half in (order[: size // 2], order[size // 2 :])
            ]
    return nearest


@dataclass(frozen=True)
class _PointGroup:
    # Positions near each other, and the discs that can be nearest to them.
    rows: Indices  # (n,)
    points: Floats  # (3, n)
    discs: Indices


def _cosines(positions: Floats, others: Floats) -> Floats:
    # The cosines between unit vectors (3, n) and (3, m): (n, m). Without BLAS, whose threads mostly wait.
    return np.asarray(np.einsum("in,im->nm", positions, others))
