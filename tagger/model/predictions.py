"""What a model returns for one image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


TAUGHT_THRESHOLD = 0.9
"""A photo with at least this score gets the tag of a taught landmark."""


@dataclass(frozen=True)
class RankedLabel:
    """One landmark and its score.

    `position` is the index of the label in the model's manifest. `rank` counts from 1. `accepted`: the score reaches
    the threshold, and the image is not damaged. Verdicts, the user's own teaching and the camera's GPS may overrule it later: see
    library.acceptance.
    """

    position: int
    rank: int
    score: float
    accepted: bool


@dataclass(frozen=True)
class ImageOutput:
    """A model's output for one image: `scores`, float32 (L,), one per label, and `embedding`, float32 (D,).

    `embedding` is None for models of format 1. `is_damaged`: a part of the image is missing, so that no prediction is accepted.
    """

    scores: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32] | None
    is_damaged: bool = False

    @property
    def is_finite(self) -> bool:
        """Whether both have a finite length, which embeddings are compared by."""
        import numpy as np

        return all(
            math.isfinite(np.vdot(values, values))
            for values in (self.scores, self.embedding)
            if values is not None
        )

    def top_k(self, k: int, threshold: float) -> tuple[RankedLabel, ...]:
        """Return the `k` best predictions, best first; equal scores are in label order."""
        best = (-self.scores).argsort(kind="stable")[:k]
        scores = self.scores[best].clip(0, 1).tolist()
        least = math.inf if self.is_damaged else threshold
        return tuple(
            RankedLabel(position, rank, score, score >= least)
            for rank, (position, score) in enumerate(zip(best.tolist(), scores, strict=True), start=1)
        )
