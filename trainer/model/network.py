"""The classifier as it is trained, measured and exported: pixels → features → calibrated scores.

Plain attributes, buffers and modules only, so that it can be scripted. Everything runs in the precision of the
parameters, whatever that has been cast to.
"""

from typing import Final

import torch
from torch import Tensor, nn

from trainer.backbones import Backbone
from trainer.model.rejection import SUM_LIMIT, FeatureSpace, ScoreRule


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


class Trainee(nn.Module):
    """What is trained: images → logits."""

    def __init__(self, encoder: Encoder, head: nn.Linear, *, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Of 0…255, uint8 or float (B, 3, H, W) → logits (B, C)."""
        logits: Tensor = self.head(self.dropout(self.encoder(images)))
        return logits


class Distance(nn.Module):
    """How far features lie from the nearest label's centre in a feature space."""

    offset: Tensor  # (F,)
    directions: Tensor  # (F, D)
    centres: Tensor  # (L, D)

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__()
        self.register_buffer("offset", space.offset)
        self.register_buffer("directions", space.directions)
        self.register_buffer("centres", space.centres)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) → float32 (B,)."""
        placed = (features.float() - self.offset.float()) @ self.directions.float()  # (B, D)
        apart = placed[:, None] - self.centres.float()[None]  # (B, L, D)
        return apart.square().sum(dim=2).amin(dim=1).sqrt()


class Classifier(nn.Module):
    """Encoder, linear head and score rule. An output of the head beyond `labels` stands for "none of them" and is not returned."""

    labels: Final[int]
    temperature: Final[float]
    slope: Final[float]
    reach: Final[float]
    sum_limit: Final[float]

    def __init__(
        self, encoder: Encoder, head: nn.Linear, distance: Distance, *, labels: int, rule: ScoreRule
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.distance = distance
        self.labels = labels
        self.temperature = rule.temperature
        self.slope = rule.slope
        self.reach = rule.reach
        self.sum_limit = SUM_LIMIT

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) → calibrated scores, float32 (B, L), each row's sum at most 1."""
        return self.scores_of(self.encoder(images))

    def scores_of(self, features: Tensor) -> Tensor:
        """The scores of features (B, F) that the encoder gave; what `trainer.model.rejection.ScoreRule` says."""
        logits = self.head(features).float()  # (B, L), or (B, L + 1) with a background
        near = torch.sigmoid(self.slope * (self.reach - self.distance(features)))  # (B,)
        scores = torch.softmax(logits / self.temperature, dim=1)
        return scores[:, : self.labels] * near[:, None] * self.sum_limit
