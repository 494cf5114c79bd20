"""The sight at which a photo was taken: one of some 20,000 of the world, offline.

The table tagger/shipped/sights.npz has for each sight a position, the radius of its ground and how far it
reaches: a statue 80 m, a palace some hundred metres, a famous tower as far as people go to photograph it.

Of the sights that reach a position, the one counts with the largest share of what is photographed there. Each
sight has photos in proportion to its popularity, spread around its middle as wide as its ground, so a small
sight comes before the large one that it stands in, and a famous one before its neighbours. An error of the
position spreads them further: a wide estimate names no statue. docs/explanation/positions.md has the figures.

A landmark of the library is the sight of its name nearby: what people say of the one holds for the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Text, cast, select

from tagger.database.tables import landmarks
from tagger.geo import EARTH_RADIUS_KM, distance_km
from tagger.landmarks import normalize_name
from tagger.sphere import Columns, Floats, read_shipped, texts_of, unit_vectors
from tagger.texts.names import name_in_language

Indices = npt.NDArray[np.int64]

# Sights are listed by the cells that they reach, of so many degrees.
CELLS_PER_DEGREE = 20
CELLS_AROUND = 360 * CELLS_PER_DEGREE
# More pairs of a position and a sight are not compared at once: 20 MB.
MAX_PAIRS = 250_000
NO_SIGHT = -1
# Sights that one name can mean: many museums are called Museum of Something.
MOST_SIGHTS = 200
# A landmark is the sight of its name at most so far away, or so many radii of its ground; farther away
# if a person has moved it.
SAME_SIGHT_M, SAME_SIGHT_RADII, MOVED_M = 2_000, 10, 25_000


@dataclass(frozen=True, slots=True)
class Sight:
    """A sight of the table. `names` are those in other languages by code; "" is the code of another name."""

    name: str
    kind: str
    latitude: float
    longitude: float
    names: tuple[tuple[str, str], ...] = field(repr=False)

    def name_in(self, language: str | None) -> str:
        """Its name in a language, like `de` or `pt-BR`; its English or local name if that is unknown."""
        return name_in_language(self.name, dict(self.names), language)

    def distance_m(self, latitude: float, longitude: float) -> float:
        return 1000 * distance_km(latitude, longitude, self.latitude, self.longitude)


@dataclass(frozen=True, eq=False)
class Sights:
    """A table of sights, the most popular first. `landmark_ids`: the landmarks that are sights, by index."""

    names: list[str]
    other_names: list[str]
    kind_names: list[str]
    kinds: npt.NDArray[np.uint8]
    latitudes: Floats
    longitudes: Floats
    popularities: Floats
    sizes_m: Floats
    reaches_m: Floats
    landmark_ids: Mapping[int, int] = field(default_factory=dict)

    def at(self, latitudes: Floats, longitudes: Floats, errors_m: Floats) -> Indices:
        """The sight at each position: its index in the table, -1 at none.

        Args:
            latitudes: degrees, (N,), finite.
            longitudes: degrees, (N,), finite.
            errors_m: how far the positions may be wrong, (N,).
        """
        reached_cells, sights_of_cells = self._reached_cells
        cells = cells_of(latitudes, longitudes)
        first = np.searchsorted(reached_cells, cells, side="left")
        counts = np.searchsorted(reached_cells, cells, side="right") - first
        half = len(cells) // 2
        if half and counts.sum() > MAX_PAIRS:
            fixes = latitudes, longitudes, errors_m
            halves = (
                self.at(*(axis[part] for axis in fixes)) for part in np.s_[:half, half:]
            )
            return np.concatenate(list(halves))
        # One pair for each position and each sight that reaches its cell.
        rows = np.repeat(np.arange(len(cells)), counts)
        sights = sights_of_cells[_ranges(first, counts)]
        # How much of what is photographed at a position is the sight; 0 beyond its reach.
        positions = unit_vectors(latitudes, longitudes)[:, rows]
        chords = np.linalg.norm(self._positions[:, sights] - positions, axis=0)
        distances_m = 1000 * EARTH_RADIUS_KM * chords
        spreads = self.sizes_m[sights] ** 2 + errors_m[rows] ** 2
        densities = (
            self.popularities[sights] / spreads / (1 + distances_m**2 / spreads) ** 2
        )
        is_reached = np.maximum(distances_m, errors_m[rows]) <= self.reaches_m[sights]
        strengths = np.where(is_reached, densities, 0.0)
        # Of equal indices, an assignment keeps the last: the strongest.
        order = np.argsort(strengths, kind="stable")
        order = order[strengths[order] > 0]
        strongest = np.full(len(cells), NO_SIGHT, dtype=np.int64)
        strongest[rows[order]] = sights[order]
        return strongest

    @cached_property
    def _positions(self) -> Floats:
        # Unit vectors, (3, number of sights).
        return unit_vectors(self.latitudes, self.longitudes)

    @cached_property
    def _reached_cells(self) -> tuple[Indices, Indices]:
        # The cells in order, one for each sight that reaches it, and these sights.
        cells, sights = cells_in_reach(self.latitudes, self.longitudes, self.reaches_m)
        order = np.argsort(cells, kind="stable")
        return cells[order], sights[order]

    def sight(self, index: int) -> Sight:
        entries = (
            entry.partition("=")
            for entry in self.other_names[index].split("\t")
            if entry
        )
        return Sight(
            self.names[index],
            self.kind_names[self.kinds[index]],
            float(self.latitudes[index]),
            float(self.longitudes[index]),
            tuple((code, name) for code, _, name in entries),
        )

    def nearest(
        self, latitude: float, longitude: float, radius_km: float
    ) -> list[Sight]:
        """The sights whose middle is so near to a position, the nearest first."""
        position = unit_vectors(np.array([latitude]), np.array([longitude]))
        distances_km = EARTH_RADIUS_KM * np.linalg.norm(
            self._positions - position, axis=0
        )
        near = np.flatnonzero(distances_km <= radius_km)
        return [
            self.sight(index) for index in near[np.argsort(distances_km[near])].tolist()
        ]

    def named(self, name: str, latitude: float, longitude: float) -> Sight | None:
        """The sight of a name that is nearest to a position; None in another version of the table."""
        sights = map(self.sight, self.called(name))
        return min(
            sights, key=lambda each: each.distance_m(latitude, longitude), default=None
        )

    def name_in(self, name: str, language: str | None) -> str:
        for index in self.called(name) if language else ():
            if self.names[index] == name:
                return self.sight(index).name_in(language)
        return name

    def called(self, *names: str) -> list[int]:
        """The sights that have one of these names in a language, the most popular first."""
        indices = (
            self._indices_by_name.get(normalize_name(name), ()) for name in names
        )
        return sorted(set().union(*indices))

    def find(self, text: str, limit: int = MOST_SIGHTS) -> list[Sight]:
        """The sights with this name, else with all its words in one name, the most popular first.

        Case and accents do not matter.
        """
        indices = self.called(text)
        if not indices:
            words = normalize_name(text).split()
            names = set.intersection(
                *(self._names_by_word.get(word, set()) for word in words)
            )
            indices = self.called(*names)
        return [self.sight(index) for index in indices[:limit]]

    @cached_property
    def _indices_by_name(self) -> dict[str, list[int]]:
        indices: dict[str, list[int]] = {}
        for index in range(len(self.names)):
            for name in self._normal_names(index):
                indices.setdefault(name, []).append(index)
        return indices

    def _normal_names(self, index: int) -> set[str]:
        entries = filter(None, self.other_names[index].split("\t"))
        others = (entry.partition("=")[2] for entry in entries)
        return set(map(normalize_name, (self.names[index], *others)))

    def called_near(
        self, names: set[str], latitude: float, longitude: float, farthest_m: Floats
    ) -> list[int]:
        """The sights with one of these normal names whose middle is at most so far away, a distance each.

        The names of the others are not read: normalising all of them takes a quarter of a second.
        """
        # As far north or south first, and then by chords: neither is longer than the way on the ground.
        radius_m = 1000 * EARTH_RADIUS_KM
        north_m = radius_m * np.radians(np.abs(self.latitudes - latitude))
        band = np.flatnonzero(north_m <= farthest_m + 1)
        position = unit_vectors(np.array([latitude]), np.array([longitude]))
        chords = np.linalg.norm(self._positions[:, band] - position, axis=0)
        near = band[radius_m * chords <= farthest_m[band] + 1]
        return [
            index
            for index in near.tolist()
            if names & self._normal_names(index)
            if self.sight(index).distance_m(latitude, longitude) <= farthest_m[index]
        ]

    @cached_property
    def _names_by_word(self) -> dict[str, set[str]]:
        names: dict[str, set[str]] = {}
        for name in self._indices_by_name:
            for word in name.split():
                names.setdefault(word, set()).add(name)
        return names


@cache
def world_sights() -> Sights:
    """The table, without what a library says."""
    return read_shipped("sights.npz", _table)


def _table(columns: Columns) -> Sights:
    return Sights(
        names=texts_of(columns["names"]),
        other_names=texts_of(columns["other_names"]),
        kind_names=texts_of(columns["kind_names"]),
        kinds=columns["kinds"],
        latitudes=columns["latitudes"] / 10_000,
        longitudes=columns["longitudes"] / 10_000,
        popularities=columns["popularities"].astype(np.float64),
        sizes_m=columns["sizes_m"].astype(np.float64),
        reaches_m=columns["reaches_m"].astype(np.float64),
    )


def library_sights(connection: Connection) -> Sights:
    """The sights with the names of the library's landmarks, and the positions that people gave these."""
    columns = (landmarks.c[name] for name in ("id", "name", "latitude", "longitude"))
    documents = (
        cast(landmarks.c[name], Text) for name in ("names", "aliases", "edited")
    )
    query = (
        select(*columns, *documents)
        .where(landmarks.c.latitude.is_not(None), landmarks.c.longitude.is_not(None))
        .order_by(landmarks.c.id)
    )
    return _with_landmarks(tuple(map(tuple, connection.execute(query))))


@lru_cache(maxsize=4)
def _with_landmarks(rows: tuple[tuple[Any, ...], ...]) -> Sights:
    world = world_sights()
    names, other_names = list(world.names), list(world.other_names)
    latitudes, longitudes = world.latitudes.copy(), world.longitudes.copy()
    landmark_ids: dict[int, int] = {}
    farthest_m = np.maximum(SAME_SIGHT_M, SAME_SIGHT_RADII * world.sizes_m)
    for landmark_id, name, latitude, longitude, *documents in rows:
        by_language, aliases, edited = map(json.loads, documents)
        is_moved = "latitude" in edited
        others = [*by_language.items(), *(("", alias) for alias in aliases)]
        normal_names = {
            normalize_name(each) for each in (name, *(other for _, other in others))
        }
        within_m = np.maximum(farthest_m, MOVED_M) if is_moved else farthest_m
        for index in world.called_near(normal_names, latitude, longitude, within_m):
            if index in landmark_ids:
                continue
            landmark_ids[index] = landmark_id
            known = [("", names[index]), *others]
            other_names[index] += "".join(f"\t{code}={other}" for code, other in known)
            names[index] = name
            if is_moved:
                latitudes[index], longitudes[index] = latitude, longitude
    return replace(
        world,
        names=names,
        other_names=other_names,
        latitudes=latitudes,
        longitudes=longitudes,
        landmark_ids=landmark_ids,
    )


def cells_of(latitudes: Floats, longitudes: Floats) -> Indices:
    rows = np.floor(latitudes * CELLS_PER_DEGREE).astype(np.int64)
    columns = np.floor(longitudes * CELLS_PER_DEGREE).astype(np.int64) % CELLS_AROUND
    return rows * CELLS_AROUND + columns


def cells_in_reach(
    latitudes: Floats, longitudes: Floats, reaches_m: Floats
) -> tuple[Indices, Indices]:
    """The cells that each sight reaches, and for each of these its sight."""
    degrees = np.degrees(reaches_m / (1000 * EARTH_RADIUS_KM))
    widths = degrees / np.maximum(0.02, np.cos(np.radians(latitudes)))
    south = np.floor((latitudes - degrees) * CELLS_PER_DEGREE).astype(np.int64)
    north = np.floor((latitudes + degrees) * CELLS_PER_DEGREE).astype(np.int64)
    west = np.floor((longitudes - widths) * CELLS_PER_DEGREE).astype(np.int64)
    east = np.floor((longitudes + widths) * CELLS_PER_DEGREE).astype(np.int64)
    heights = north - south + 1
    sights = np.repeat(np.arange(len(latitudes)), heights)
    rows = _ranges(south, heights)
    lengths = (east - west + 1)[sights]
    columns = _ranges(west[sights], lengths) % CELLS_AROUND
    return np.repeat(rows, lengths) * CELLS_AROUND + columns, np.repeat(sights, lengths)


def _ranges(first: Indices, counts: Indices) -> Indices:
    # The integers from each first one on, as many as counted, one range after the other.
    starts = np.cumsum(counts) - counts
    return np.repeat(first - starts, counts) + np.arange(counts.sum())
