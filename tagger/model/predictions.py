"""What a model returns for one image."""

from dataclasses import dataclass

import numpy as np

from tagger.model.backends.protocol import Embeddings, Scores


@dataclass(frozen=True)
class Prediction:
    """One landmark and its score.

    `position` is the index of the label in the model's manifest. `rank` counts from 1. `accepted`: the score reaches
    the threshold.
    """

    position: int
    rank: int
    score: float
    accepted: bool


@dataclass(frozen=True)
class ImageOutput:
    """A model's output for one image: `scores`, float32 (L,), one per label, and `embedding`, float32 (D,).

    `embedding` is None for models of format 1.
    """

    scores: Scores
    embedding: Embeddings | None

    @property
    def is_finite(self) -> bool:
        """Whether both have a finite length, which embeddings are compared by."""
        return all(
            np.isfinite(np.vdot(values, values))
            for values in (self.scores, self.embedding)
            if values is not None
        )

    def top_k(self, k: int, threshold: float) -> tuple[Prediction, ...]:
        """Return the `k` best predictions, best first; equal scores are in label order."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return tuple(
            Prediction(position=int(position), rank=rank, score=score, accepted=score >= threshold)
            for rank, position in enumerate(order, start=1)
            for score in (min(1.0, max(0.0, float(self.scores[position]))),)
        )
