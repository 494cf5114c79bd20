"""Embeddings as the database stores them: 4 bits for each dimension, between the embedding's lowest and highest value.

That teaches as well as 16 bits, and takes a quarter of the space (see docs/explanation/teaching.md).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Embeddings = npt.NDArray[np.float32]

_BOUND = np.dtype("<f4")
BOUNDS_BYTES = 2 * _BOUND.itemsize
"""A stored embedding begins with its lowest and highest value."""
_LEVELS = 15


def quantize(embeddings: Embeddings) -> list[bytes]:
    """What is stored for embeddings (N, D): the two bounds, then one byte for a dimension of each half."""
    low, high = embeddings.min(axis=1, keepdims=True), embeddings.max(axis=1, keepdims=True)
    step = np.where(high > low, (high - low) / _LEVELS, 1)
    levels = np.clip(np.rint((embeddings - low) / step), 0, _LEVELS).astype(np.uint8)
    half = _packed_bytes(embeddings.shape[1])
    packed = levels[:, :half] << 4
    packed[:, : levels.shape[1] - half] |= levels[:, half:]
    bounds = np.hstack([low, high]).astype(_BOUND)
    return [bound.tobytes() + row.tobytes() for bound, row in zip(bounds, packed, strict=True)]


def restore(rows: Sequence[bytes], dimension: int) -> Embeddings:
    """The embeddings (N, D) of stored rows.

    Raises:
        ValueError: a row has another dimension.
    """
    size = stored_bytes(dimension)
    if not {size}.issuperset(map(len, rows)):
        raise ValueError(f"a stored embedding has not the {size} bytes of {dimension} dimensions")
    stored = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), size)
    bounds = stored[:, :BOUNDS_BYTES].copy().view(_BOUND).astype(np.float32)
    packed, half = stored[:, BOUNDS_BYTES:], _packed_bytes(dimension)
    embeddings = np.empty((len(rows), dimension), np.float32)
    embeddings[:, :half] = packed >> 4
    embeddings[:, half:] = packed[:, : dimension - half] & _LEVELS
    low, high = bounds[:, :1], bounds[:, 1:]
    embeddings *= (high - low) / _LEVELS
    embeddings += low
    return embeddings


def stored_bytes(dimension: int) -> int:
    """The size of a stored embedding."""
    return BOUNDS_BYTES + _packed_bytes(dimension)


def _packed_bytes(dimension: int) -> int:
    return (dimension + 1) // 2
