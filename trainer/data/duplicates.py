"""Near-duplicates: photos of one scene, which must stay on one side of a split.

Two photos are near-duplicates if their difference hashes (64 bits of "is it brighter to the right?") are
close and their thumbnails correlate. Hashes alone are not enough: plain skies and towers have close hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tagger.photos.decoding import Pixels


HASH_ROWS, HASH_COLUMNS = 8, 8
# Hashes are near if at most this many of their 64 bits differ. The usual choice is stricter.
NEAR_BITS = 10
THUMBNAIL_SIDE = 16
# The lowest correlation of the thumbnails of near-duplicates. Among 4,876 photos of 61 landmarks,
# 677 pairs had near hashes, 503 of them with different labels; 18 pairs also had this correlation,
# all with equal labels. Scaled, recompressed, relit and slightly cropped (2 %) copies pass in 99 %
# of cases.
ALIKE = 0.9
# The highest standard deviation of a blank image's thumbnail, in grey levels.
BLANK = 1.0

Thumbnail = npt.NDArray[np.uint8]  # (16, 16) grey
_Array = npt.NDArray[Any]
_TILE_ROWS, _TILE_COLUMNS = 1024, 4096
_PAIRS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Sketch:
    """A hash and a thumbnail of an image, for comparison with others."""

    difference_hash: int
    thumbnail: Thumbnail

    @property
    def is_blank(self) -> bool:
        """Whether the whole image has a single shade, within one grey level."""
        return bool(self.thumbnail.std() < BLANK)


def sketch_of(pixels: Pixels) -> Sketch:
    """Compute the sketch of an image, uint8 (H, W, 3)."""
    grey = pixels.mean(axis=2, dtype=np.float32)  # float32 (H, W)
    thumbnail = _pooled(grey, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = _pooled(grey, HASH_ROWS, HASH_COLUMNS + 1)
    brighter = np.diff(small, axis=1) > 1e-3  # smaller differences are rounding errors
    difference_hash = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    return Sketch(difference_hash, thumbnail.round().astype(np.uint8))


def group_near_duplicates(sketches: Sequence[Sketch]) -> list[int]:
    """The group of each photo, as the position of its first photo. Chains of near-duplicates are one group.

    Compares all pairs, block by block: 100,000 photos take less than a minute.
    """
    if not sketches:
        return []
    hashes = np.array([sketch.difference_hash for sketch in sketches], dtype=np.uint64)
    thumbnails = np.stack([sketch.thumbnail for sketch in sketches]).reshape(
        len(sketches), -1
    )  # uint8 (N, 256)
    roots: _Array = np.arange(len(sketches))
    for rows, columns in _near_pairs(hashes):
        for first in range(0, len(rows), _PAIRS_AT_ONCE):
            one, other = rows[first : first + _PAIRS_AT_ONCE], columns[first : first + _PAIRS_AT_ONCE]
            apart = roots[one] != roots[other]
            one, other = one[apart], other[apart]
            products = _standardised(thumbnails[one]) * _standardised(thumbnails[other])
            alike = products.sum(axis=1) >= ALIKE  # their correlations
            for pair in zip(one[alike].tolist(), other[alike].tolist(), strict=True):
                root, merged = sorted(roots[list(pair)])
                if root != merged:
                    roots[roots == merged] = root
    return [int(root) for root in roots]


def _pooled(grey: _Array, rows: int, columns: int) -> _Array:
    """Means over a grid of areas, float32 (rows, columns), which share pixels if the sizes do not divide."""
    height, width = grey.shape
    pooled: _Array = _areas(height, rows) @ grey @ _areas(width, columns).T
    return pooled


@cache
def _areas(size: int, bins: int) -> _Array:
    areas = np.zeros((bins, size), dtype=np.float32)
    for number in range(bins):
        first, end = number * size // bins, -(-(number + 1) * size // bins)
        areas[number, first:end] = 1 / (end - first)
    return areas


def _near_pairs(hashes: _Array) -> Iterator[tuple[_Array, _Array]]:
    """Yield positions of near pairs, the smaller first, one tile of the matrix of all pairs at a time."""
    for top in range(0, len(hashes), _TILE_ROWS):
        for left in range(top, len(hashes), _TILE_COLUMNS):
            across = hashes[top : top + _TILE_ROWS, None] ^ hashes[None, left : left + _TILE_COLUMNS]
            rows, columns = np.nonzero(np.bitwise_count(across) <= NEAR_BITS)
            rows, columns = rows + top, columns + left
            upper = rows < columns  # each pair once
            if upper.any():
                yield rows[upper], columns[upper]


def _standardised(thumbnails: _Array) -> _Array:
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True, dtype=np.float32)
    deviations = centred.std(axis=1)
    centred[deviations < BLANK] = 1  # blank images are all alike
    standardised: _Array = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return standardised
