"""The background statistics of a model: mean and covariance of the embeddings of photos that show none of its landmarks.

They tell what is special about the few photos of a landmark that somebody teaches ("Discriminative decorrelation", Hariharan
et al., 2012). The file of a model of format 2 has them in one entry, as little-endian float32: the mean (D,), then the upper
triangle of the covariance, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from typing import Self

Values = npt.NDArray[np.float32]
STORED = np.dtype("<f4")


@dataclass(frozen=True)
class BackgroundStatistics:
    """`photos`: how many were measured. `mean`: (D,). `covariance`: (D, D)."""

    photos: int
    mean: Values
    covariance: Values

    @classmethod
    def measured(cls, embeddings: Values) -> Self:
        """The statistics of embeddings, (N, D), of at least two photos."""
        values = embeddings.astype(np.float64)
        covariance = np.cov(values, rowvar=False).reshape(values.shape[1], -1)
        return cls(len(values), values.mean(axis=0).astype(np.float32), covariance.astype(np.float32))

    def to_bytes(self) -> bytes:
        """What the model file stores."""
        triangle = self.covariance[np.triu_indices(len(self.mean))]
        return np.concatenate([self.mean, triangle]).astype(STORED).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, photos: int, dimension: int) -> Self:
        """Restore the statistics.

        Raises:
            ValueError: the data has another size, or values that are not finite.
        """
        if len(data) != stored_bytes(dimension):
            raise ValueError(
                f"its background statistics have {len(data)} bytes instead of {stored_bytes(dimension)}"
            )
        values = np.frombuffer(data, STORED).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("its background statistics have values that are not finite")
        covariance = np.zeros((dimension, dimension), np.float32)
        covariance[np.triu_indices(dimension)] = values[dimension:]
        covariance += np.triu(covariance, 1).T
        return cls(photos, values[:dimension], covariance)


def stored_bytes(dimension: int) -> int:
    """The size of the statistics in a model file."""
    return STORED.itemsize * (dimension + dimension * (dimension + 1) // 2)
