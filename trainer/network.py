"""The classifier as it is trained, measured and exported: pixels → features → calibrated scores.

Plain attributes, buffers and modules only, so that it can be scripted. Everything runs in the precision of the
parameters, whatever that has been cast to.
"""

from typing import Final

import torch
from torch import Tensor, nn

from trainer.backbones import Backbone

SUM_LIMIT = 1 - 1e-6
"""Scores are scaled by this, so that rounding never takes their sum above 1."""


class Encoder(nn.Module):
    """A backbone with its normalisation: uint8 images → features."""

    mean: Tensor  # (1, 3, 1, 1)
    deviation: Tensor  # (1, 3, 1, 1)

    def __init__(self, backbone: Backbone, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        normalisation = backbone.normalisation
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(normalisation.deviation).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → features (B, F)."""
        pixels = (images.to(self.mean.dtype) - self.mean) / self.deviation
        features: Tensor = self.network(pixels)
        return features


class Classifier(nn.Module):
    """Encoder, linear head and softmax. An output of the head beyond `labels` stands for "none of them" and is not returned."""

    labels: Final[int]
    temperature: Final[float]
    sum_limit: Final[float]

    def __init__(self, encoder: Encoder, head: nn.Linear, *, labels: int, temperature: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.labels = labels
        self.temperature = temperature
        self.sum_limit = SUM_LIMIT

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → calibrated scores, float32 (B, L), each row's sum at most 1."""
        return self.scores_of(self.encoder(images))

    def scores_of(self, features: Tensor) -> Tensor:
        """The scores of features (B, F) that the encoder gave."""
        logits = self.head(features).float()  # (B, L), or (B, L + 1) with a background
        scores = torch.softmax(logits / self.temperature, dim=1)
        return scores[:, : self.labels] * self.sum_limit
