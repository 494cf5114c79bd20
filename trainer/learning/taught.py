"""The classifier of few landmarks: each is told from strangers as if it was taught.

Its rejection needs no photos of other things. The file of the shipped model has the statistics of thousands
of strangers, from which `tagger.teaching.classifiers` learns what tells few photos from all else.
"""

from typing import Final

import torch
from torch import Tensor, nn

from tagger.model.artifact import BackgroundStatistics
from tagger.teaching.classifiers import EmbeddingSpace, calibrate, fit_direction
from trainer.learning.classifier import Encoder, PhotoClassifier, embedding_of
from trainer.learning.scoring import SUM_LIMIT


class TaughtClassifier(PhotoClassifier):
    """Encoder, and a linear layer from embeddings to the log-odds of each landmark against all else."""

    limit: Final[float]

    def __init__(self, encoder: Encoder, head: nn.Linear) -> None:
        super().__init__(encoder, head)
        self.limit = SUM_LIMIT

    def scores_of(self, features: Tensor) -> Tensor:
        """Features (B, F) → probabilities of the landmarks (B, L), scaled down where their sum is above 1."""
        scores = torch.sigmoid(self.head(embedding_of(features).to(self.head.weight.dtype)).float())
        return scores / scores.sum(dim=1, keepdim=True).clamp(min=1.0) * self.limit


def fit_taught(
    background: BackgroundStatistics, embeddings: Tensor, targets: Tensor, labels: int
) -> nn.Linear:
    """Learn each landmark from its photos, for libraries of which nothing else is known.

    Args:
        background: the statistics of strangers
        embeddings: float32 (N, F), of the training photos
        targets: int64 (N,), 0 to L - 1
        labels: L
    """
    space, photos = EmbeddingSpace.of(background), embeddings.numpy()
    none = photos[:0]
    head = nn.Linear(photos.shape[1], labels)
    for label in range(labels):
        direction = fit_direction(space, photos[(targets == label).numpy()], negatives=none)
        fitted = calibrate(direction, library=none, logit_per_likeness=0)
        with torch.no_grad():
            head.weight[label] = torch.from_numpy(fitted.weights[:, 0])
            head.bias[label] = float(fitted.bias[0])
    return head
