"""The model that leaves the import: photos → similarities to the class vectors of all regions → scores.

Modules have plain attributes and parameters only, so that TorchScript can compile them. A label's similarity
is the highest of its classes. Its score is a logistic curve of it. The best label keeps its score; those of
all others are scaled down where the sum would be above 1.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.imports.landmark_graph import LandmarkNetwork
from trainer.learning.classifier import LEAST_CONTRAST, contrast_of
from trainer.learning.scoring import SUM_LIMIT

# At a similarity of 0.05 more than the threshold of 0.9, a score of 0.9 becomes 0.985, at 0.05 less
# 0.55.
SLOPE = 40.0
LEAST_SUM = 1e-30


class Curve(NamedTuple):
    """score = 1 / (1 + exp(-`slope` · (similarity - `midpoint`)))."""

    slope: float
    midpoint: float

    @classmethod
    def through(cls, similarity: float) -> "Curve":
        """The curve of a threshold, where score and similarity are equal."""
        return cls(SLOPE, similarity - math.log(similarity / (1 - similarity)) / SLOPE)

    def score(self, similarity: float) -> float:
        return 1 / (1 + math.exp(-self.slope * (similarity - self.midpoint)))


class Block(nn.Module):
    """Labels with the same number of classes, side by side: similarities of classes → of labels."""

    first: Final[int]
    last: Final[int]
    each: Final[int]

    def __init__(self, first: int, labels: int, each: int) -> None:
        super().__init__()
        self.first = first
        self.last = first + labels * each
        self.each = each

    def forward(self, similarities: Tensor) -> Tensor:
        """(B, C) → (B, labels)."""
        own = similarities[:, self.first : self.last]
        return own if self.each == 1 else own.reshape(len(own), -1, self.each).amax(dim=2)


class Trunk(nn.Module):
    """The classifier of one region: its network, and its class vectors in the order of the labels.

    `counts`: for each block of labels, their number, and the number of classes of each.
    """

    level_factor: Final[float]
    level_offset: Final[float]
    factor: Final[float]
    offset: Final[float]

    def __init__(
        self, network: LandmarkNetwork, order: Sequence[int], counts: Sequence[tuple[int, int]]
    ) -> None:
        super().__init__()
        self.level_factor, self.level_offset = network.scaling.level_factor, network.scaling.level_offset
        self.factor, self.offset = network.scaling.factor, network.scaling.offset
        self.features = network.features
        self.hidden = network.hidden
        self.embed = network.embed
        self.classes = nn.Parameter(
            torch.from_numpy(network.classes[list(order)]), requires_grad=False
        )  # (C, D)
        blocks, first = [], 0
        for labels, each in counts:
            blocks.append(Block(first, labels, each))
            first += labels * each
        self.blocks = nn.ModuleList(blocks)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → similarities of labels (B, L), and unit embeddings (B, D), float32."""
        levels = (images.float() / 255.0 * self.level_factor + self.level_offset).to(torch.int32)
        pixels = levels.float() * self.factor + self.offset
        features = self.features(pixels.to(self.classes.dtype)).mean(dim=[2, 3])
        hidden = functional.hardswish(self.hidden(features)).clamp(min=1e-6)  # GeM, over one cell
        embedded = self.embed(hidden).float()
        unit = embedded * embedded.square().sum(dim=1, keepdim=True).clamp(min=1e-12).rsqrt()
        of_classes = unit @ self.classes.float().t()
        return torch.cat([block(of_classes) for block in self.blocks], dim=1), unit


class SimilarityClassifier(nn.Module):
    """The classifiers of several regions, on one scale."""

    slope: Final[float]
    midpoint: Final[float]
    limit: Final[float]
    least_sum: Final[float]
    least_contrast: Final[float]

    def __init__(self, trunks: Sequence[Trunk], curve: Curve) -> None:
        super().__init__()
        self.trunks = nn.ModuleList(trunks)
        self.slope = curve.slope
        self.midpoint = curve.midpoint
        self.limit = SUM_LIMIT
        self.least_sum = LEAST_SUM
        self.least_contrast = LEAST_CONTRAST

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → scores (B, L), whose rows sum to at most 1, and embeddings, float32.

        A picture with nothing in it gets scores of 0.
        """
        similarities, embeddings = self.similarities(images)
        shows_something = contrast_of(images) >= self.least_contrast
        return self.scores_of(similarities) * shows_something[:, None], embeddings

    def similarities(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → similarities of all labels, float32 (B, L), and embeddings."""
        similarities: list[Tensor] = []  # a list of pairs is more than OpenVINO converts
        embeddings: list[Tensor] = []
        for trunk in self.trunks:
            of_region, embedding = trunk(images)
            similarities.append(of_region)
            embeddings.append(embedding)
        return torch.cat(similarities, dim=1), torch.cat(embeddings, dim=1)

    def scores_of(self, similarities: Tensor) -> Tensor:
        """(B, L) → scores, in the same order."""
        scores = torch.sigmoid(self.slope * (similarities - self.midpoint))
        best, position = scores.max(dim=1, keepdim=True)
        others = (scores.sum(dim=1, keepdim=True) - best).clamp(min=self.least_sum)
        share = ((1.0 - best) / others).clamp(max=1.0)
        return (scores * share).scatter(1, position, best) * self.limit
