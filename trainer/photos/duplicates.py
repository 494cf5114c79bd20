"""Near-duplicates: photos of one scene that must not be on both sides of a split.

Two photos are near-duplicates when their difference hashes, 64 bits of "is it brighter to the right?", are close, and,
where thumbnails are known, these agree too: plain skies and towers have close hashes and are no duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tagger.images import Pixels

HASH_ROWS, HASH_COLUMNS = 8, 8
NEAR_BITS = 10
"""Hashes that differ in at most so many of their 64 bits are near: the usual choice, on the careful side here."""
THUMBNAIL_SIDE = 16
ALIKE = 0.9
"""The least correlation of the thumbnails of near-duplicates. Of 4,876 photos of 61 landmarks 677 pairs had near
hashes, 503 of them with different labels; of the 18 that were also so much alike, none. Scaling, recompression, other
light and cutting off 2 % pass in 99 % of cases."""
BLANK = 1.0
"""Grey levels by which the thumbnail of a blank image varies at most, as a standard deviation."""

Thumbnail = npt.NDArray[np.uint8]  # (16, 16) grey
_Numbers = npt.NDArray[Any]
_TILE_ROWS, _TILE_COLUMNS = 1024, 4096
_PAIRS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Sketch:
    """What is kept of an image to compare it with others."""

    difference_hash: int
    thumbnail: Thumbnail

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to be seen: it is all of one shade, to less than a grey level."""
        return bool(self.thumbnail.std() < BLANK)


def sketch_of(pixels: Pixels) -> Sketch:
    grey = pixels.mean(axis=2, dtype=np.float32)[None]  # float32 (1, H, W)
    thumbnail = _pooled(grey, THUMBNAIL_SIDE, THUMBNAIL_SIDE)[0]
    return Sketch(_hashes(grey)[0], thumbnail.round().astype(np.uint8))


def group_near_duplicates(
    hashes: Sequence[int], thumbnails: Sequence[Thumbnail] | None = None, *, near_bits: int = NEAR_BITS
) -> list[int]:
    """The group of each photo; chains of near-duplicates form one group, which is named by its first member's position.

    Without `thumbnails` the hashes decide alone. Every photo is compared with every other, block by block: 100,000 take
    less than a minute.
    """
    array = np.array(hashes, dtype=np.uint64)
    flat = np.stack(thumbnails).reshape(len(hashes), -1) if thumbnails else None  # uint8 (N, 256)
    groups = _Groups(len(hashes))
    for rows, columns in _near_pairs(array, near_bits):
        for first in range(0, len(rows), _PAIRS_AT_ONCE):
            part = slice(first, first + _PAIRS_AT_ONCE)
            one, other = groups.apart(rows[part], columns[part])
            if flat is not None:
                alike = _correlations(flat[one], flat[other]) >= ALIKE
                one, other = one[alike], other[alike]
            groups.join(one, other)
    return [int(root) for root in groups.roots]


def _hashes(grey: _Numbers) -> list[int]:
    """From float32 (B, H, W)."""
    small = _pooled(grey, HASH_ROWS, HASH_COLUMNS + 1)
    # What differs by less than rounding does not differ.
    brighter = (np.diff(small, axis=2) > 1e-3).reshape(len(grey), -1)  # bool (B, 64)
    packed = np.packbits(brighter, axis=1)  # uint8 (B, 8)
    return [int.from_bytes(row.tobytes(), "big") for row in packed]


def _pooled(grey: _Numbers, rows: int, columns: int) -> _Numbers:
    """Means over a grid of areas, which share edge pixels where the sizes do not divide: float32 (B, rows, columns)."""
    _, height, width = grey.shape
    pooled: _Numbers = _areas(height, rows) @ grey @ _areas(width, columns).T
    return pooled


@cache
def _areas(size: int, bins: int) -> _Numbers:
    areas = np.zeros((bins, size), dtype=np.float32)
    for number in range(bins):
        first, end = number * size // bins, -(-(number + 1) * size // bins)
        areas[number, first:end] = 1 / (end - first)
    return areas


def _near_pairs(hashes: _Numbers, near_bits: int) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Positions of near pairs, the smaller first, a tile of the table of all pairs at a time."""
    for top in range(0, len(hashes), _TILE_ROWS):
        for left in range(top, len(hashes), _TILE_COLUMNS):
            across = hashes[top : top + _TILE_ROWS, None] ^ hashes[None, left : left + _TILE_COLUMNS]
            rows, columns = np.nonzero(np.bitwise_count(across) <= near_bits)
            rows, columns = rows + top, columns + left
            once = rows < columns
            if once.any():
                yield rows[once], columns[once]


def _correlations(one: _Numbers, other: _Numbers) -> _Numbers:
    correlations: _Numbers = (_standardised(one) * _standardised(other)).sum(axis=1)
    return correlations


def _standardised(thumbnails: _Numbers) -> _Numbers:
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True, dtype=np.float32)
    deviations = centred.std(axis=1)
    centred[deviations < BLANK] = 1  # blank ones are all alike
    standardised: _Numbers = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return standardised


class _Groups:
    """Which positions belong together; a root is its group's first position."""

    def __init__(self, count: int) -> None:
        self.roots: _Numbers = np.arange(count)

    def apart(self, one: _Numbers, other: _Numbers) -> tuple[_Numbers, _Numbers]:
        """The pairs that are not of one group yet."""
        differ = self.roots[one] != self.roots[other]
        return one[differ], other[differ]

    def join(self, one: _Numbers, other: _Numbers) -> None:
        """Make one group of each pair, and of chains of pairs."""
        while len(one):
            first = np.minimum(self.roots[one], self.roots[other])
            second = np.maximum(self.roots[one], self.roots[other])
            parents = np.arange(len(self.roots))
            np.minimum.at(parents, second, first)
            while not np.array_equal(parents, shorter := parents[parents]):
                parents = shorter
            self.roots = parents[self.roots]
            one, other = self.apart(one, other)
