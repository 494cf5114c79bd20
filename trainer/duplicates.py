"""Near-duplicates: photos of one scene that must not be on both sides of a split.

Two photos are near-duplicates when their difference hashes, 64 bits of "is it brighter to the right?", are close.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

HASH_ROWS, HASH_COLUMNS = 8, 8
NEAR_BITS = 10
"""Hashes that differ in at most so many of their 64 bits are near: the usual choice, on the careful side here."""


def difference_hashes(images: Tensor) -> list[int]:
    """One 64-bit hash per image, which survives scaling, recompression and small changes of light.

    Args:
        images: uint8 (B, 3, H, W)
    """
    grey = images.float().mean(dim=1, keepdim=True)  # float32 (B, 1, H, W)
    small = functional.adaptive_avg_pool2d(grey, (HASH_ROWS, HASH_COLUMNS + 1))
    brighter = (small.diff(dim=3) > 0).flatten(1)  # bool (B, 64)
    packed = np.packbits(brighter.numpy(force=True), axis=1)  # uint8 (B, 8)
    return [int.from_bytes(row.tobytes(), "big") for row in packed]


def group_near_duplicates(hashes: Sequence[int], *, near_bits: int = NEAR_BITS) -> list[int]:
    """The group of each hash; chains of near hashes form one group, which is named by its first member's position."""
    array = np.array(hashes, dtype=np.uint64)
    parents = list(range(len(hashes)))
    for position in range(len(hashes)):
        distances = np.bitwise_count(array[position + 1 :] ^ array[position])
        for near in np.flatnonzero(distances <= near_bits):
            _join(parents, position, position + 1 + int(near))
    return [_root(parents, position) for position in range(len(hashes))]


def _root(parents: list[int], position: int) -> int:
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = parents[position]
    return position


def _join(parents: list[int], one: int, other: int) -> None:
    first, second = sorted((_root(parents, one), _root(parents, other)))
    parents[second] = first
