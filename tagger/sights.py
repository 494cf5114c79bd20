"""The sight at which a photo was taken: one of some 20,000 of the world, offline.

The table tagger/shipped/sights.npz has for each sight a position, the radius of its ground and how far it
reaches: a statue 80 m, a palace some hundred metres, a famous tower as far as people go to photograph it.

Of the sights that reach a position, the one counts with the largest share of what is photographed there. Each
sight has photos in proportion to its popularity, spread around its middle as wide as its ground, so a small
sight comes before the large one that it stands in, and a famous one before its neighbours. An error of the
position spreads them further: a wide estimate names no statue. docs/explanation/positions.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tagger.geo import EARTH_RADIUS_KM, distance_km
from tagger.landmarks.landmarks import normalize_name
from tagger.sphere import Columns, Floats, read_shipped, texts_of, unit_vectors
from tagger.texts.names import name_in_language

Indices = npt.NDArray[np.int64]

# Sights are listed by the cells that they reach, of so many degrees.
CELLS_PER_DEGREE = 20
CELLS_AROUND = 360 * CELLS_PER_DEGREE
# Pairs of a position and a sight that are compared at once: 20 MB.
MAX_PAIRS = 250_000
NO_SIGHT = -1
# Sights that one name can mean: many museums are called Museum of Something.
MOST_SIGHTS = 200


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
        """How far its middle is from a position."""
        return 1000 * distance_km(latitude, longitude, self.latitude, self.longitude)


def sights_of(latitudes: Floats, longitudes: Floats, errors_m: Floats) -> Indices:
    """The sight at each position: its index in the table, -1 at none.

    Args:
        latitudes: degrees, (N,), finite.
        longitudes: degrees, (N,), finite.
        errors_m: how far the positions may be wrong, (N,).
    """
    table = load_table()
    cells = cells_of(latitudes, longitudes)
    first = np.searchsorted(table.cells, cells, side="left")
    counts = np.searchsorted(table.cells, cells, side="right") - first
    positions = unit_vectors(latitudes, longitudes)
    sights = np.full(len(cells), NO_SIGHT, dtype=np.int64)
    for rows in _blocks(counts):
        # One pair for each position and each sight that reaches its cell.
        pair_rows = np.repeat(rows, counts[rows])
        pair_sights = table.cell_sights[_ranges(first[rows], counts[rows])]
        strengths = _strengths(table, pair_sights, positions[:, pair_rows], errors_m[pair_rows])
        is_near = strengths > 0
        pair_rows, pair_sights, strengths = (
            pair_rows[is_near],
            pair_sights[is_near],
            strengths[is_near],
        )
        # Of equal indices, an assignment keeps the last: the strongest.
        order = np.argsort(strengths, kind="stable")
        sights[pair_rows[order]] = pair_sights[order]
    return sights


def sight_names(positions: Sequence[tuple[float, float, float]]) -> list[str | None]:
    """The names of the sights at positions in degrees, each with its error in metres."""
    indices = sights_of(*np.array(positions, np.float64).reshape(-1, 3).T)
    names = load_table().names
    return [None if index == NO_SIGHT else names[index] for index in indices.tolist()]


def sight(index: int) -> Sight:
    """A row of the table."""
    table = load_table()
    return Sight(
        table.names[index],
        table.kind_names[table.kinds[index]],
        float(table.latitudes[index]),
        float(table.longitudes[index]),
        _codes_and_names(table.other_names[index]),
    )


def _codes_and_names(column: str) -> tuple[tuple[str, str], ...]:
    """The codes of languages and the names of `de=Eiffelturm` and others, between tabs."""
    entries = (entry.partition("=") for entry in column.split("\t") if entry)
    return tuple((code, name) for code, _, name in entries)


def named_sight(name: str, latitude: float, longitude: float) -> Sight | None:
    """The sight of exactly this name that is nearest to a position; None in another version of the table."""
    sights = _sights_called(name)
    return min(sights, key=lambda each: each.distance_m(latitude, longitude), default=None)


def names_of_sight(name: str) -> list[str]:
    """The names of the sights that are called so, in all languages."""
    return [name, *(other for each in _sights_called(name) for _, other in each.names)]


def _sights_called(name: str) -> list[Sight]:
    return [sight(index) for index in _indices_by_name().get(name, ())]


def find_sights(text: str, limit: int = MOST_SIGHTS) -> list[Sight]:
    """The sights with this name, else with all its words in one name, the most popular first.

    Case and accents do not matter.
    """
    words = set(normalize_name(text).split())
    names_by_word = _names_by_word()
    candidates = [names_by_word.get(word, set()) for word in words]
    if not candidates:
        return []
    found = set.intersection(*candidates)
    same = {name.sight for name in found if name.words == len(words)}
    indices = sorted(same or {name.sight for name in found})
    return [sight(index) for index in indices[:limit]]


class _Name(NamedTuple):
    """A name of a sight of this index. `number`: among its names; `words`: how many the name has."""

    sight: int
    number: int
    words: int


@cache
def _names_by_word() -> dict[str, set[_Name]]:
    table = load_table()
    names_by_word: dict[str, set[_Name]] = {}
    for index, (name, others) in enumerate(zip(table.names, table.other_names, strict=True)):
        names = [name, *(other for _, other in _codes_and_names(others))]
        for number, each in enumerate(names):
            words = set(normalize_name(each).split())
            for word in words:
                names_by_word.setdefault(word, set()).add(_Name(index, number, len(words)))
    return names_by_word


@cache
def _indices_by_name() -> dict[str, list[int]]:
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(load_table().names):
        indices.setdefault(name, []).append(index)
    return indices


@dataclass(frozen=True)
class SightTable:
    """Sights, the most popular first, and the sights that reach each cell, in the order of the cells."""

    names: list[str]
    other_names: list[str]
    kind_names: list[str]
    kinds: npt.NDArray[np.uint8]
    latitudes: Floats
    longitudes: Floats
    popularities: Floats
    sizes_m: Floats
    reaches_m: Floats
    positions: Floats  # unit vectors, (3, number of sights)
    cells: Indices
    cell_sights: Indices


@cache
def load_table() -> SightTable:
    return read_shipped("sights.npz", _table)


def _table(columns: Columns) -> SightTable:
    latitudes, longitudes = columns["latitudes"] / 10_000, columns["longitudes"] / 10_000
    reaches_m = columns["reaches_m"].astype(np.float64)
    cells, sights = cells_in_reach(latitudes, longitudes, reaches_m)
    order = np.argsort(cells, kind="stable")
    return SightTable(
        names=texts_of(columns["names"]),
        other_names=texts_of(columns["other_names"]),
        kind_names=texts_of(columns["kind_names"]),
        kinds=columns["kinds"],
        latitudes=latitudes,
        longitudes=longitudes,
        popularities=columns["popularities"].astype(np.float64),
        sizes_m=columns["sizes_m"].astype(np.float64),
        reaches_m=reaches_m,
        positions=unit_vectors(latitudes, longitudes),
        cells=cells[order],
        cell_sights=sights[order],
    )


def cells_of(latitudes: Floats, longitudes: Floats) -> Indices:
    """The cells of positions in degrees."""
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
    """The integers from each first one on, as many as counted, one range after the other."""
    starts = np.cumsum(counts) - counts
    return np.repeat(first - starts, counts) + np.arange(counts.sum())


def _blocks(counts: Indices) -> Iterator[Indices]:
    """The rows that have pairs, in blocks of at most MAX_PAIRS pairs or of one row."""
    rows = np.flatnonzero(counts)
    block = (np.cumsum(counts[rows]) - 1) // MAX_PAIRS
    return iter(np.split(rows, np.flatnonzero(np.diff(block)) + 1)) if len(rows) else iter(())


def _strengths(table: SightTable, sights: Indices, positions: Floats, errors_m: Floats) -> Floats:
    """How much of what is photographed at positions (3, N) is their sight; 0 beyond its reach."""
    chords = np.linalg.norm(table.positions[:, sights] - positions, axis=0)
    distances_m = 1000 * EARTH_RADIUS_KM * chords
    spreads = table.sizes_m[sights] ** 2 + errors_m**2
    densities = table.popularities[sights] / spreads / (1 + distances_m**2 / spreads) ** 2
    is_in_reach = np.maximum(distances_m, errors_m) <= table.reaches_m[sights]
    return np.where(is_in_reach, densities, 0.0)
