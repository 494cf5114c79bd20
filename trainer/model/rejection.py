"""Saying "none of them": what tells photos of the labels from all others, beside the highest score.

Two things are known of a photo: what the head gives to each label and to the background, and how far its features lie from those of
the photos that were learned from. Either alone misses what the other sees, so scores are the product of both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

DIMENSIONS = 64
SHRINKAGE = 0.3
"""How much of the mean variance is added to every variance: few photos know little of 1280 dimensions."""
STEEPNESS, EXTENT = 4.0, 3.0
"""A photo three times as far from the nearest landmark as is typical is given half the chance, one twice as far 98 %.

Chosen on 635 photos of 12 landmarks that were left out of training: of those that were given a false tag, where 87 % of the landmarks'
photos are tagged rightly, every fourth is not any more.
"""
TEMPERATURES = torch.logspace(-1.3, 1, 461, dtype=torch.float64)
"""Tried one by one: the loss has one minimum, and one part in ninety is closer than photos can tell."""
SUM_LIMIT = 1 - 1e-6
"""Scores are scaled by this, so that rounding never takes their sum above 1."""
LEAST_CHANCE = 1e-9
LEAST_PART = 1e-6
"""Of the variance of features; less within labels is rounding."""
LEAST_DISTANCE = 1e-3


@dataclass(frozen=True)
class FeatureSpace:
    """Directions in which features of different labels differ, scaled so that those of one label vary by 1 in each, and where each label lies.

    `offset` is taken off features first: float32 (F,). `directions`: float32 (F, D). `centres`: float32 (L, D).
    """

    offset: Tensor
    directions: Tensor
    centres: Tensor


@dataclass(frozen=True)
class ScoreRule:
    """score of label l = softmax(logits / temperature)[l] · sigmoid(slope · (reach - distance)).

    `distance` is that of the photo's features from the nearest label's centre in the feature space.
    """

    temperature: float
    slope: float
    reach: float


def feature_space(features: Tensor, targets: Tensor, labels: int) -> FeatureSpace:
    """The feature space of photos of landmarks: linear discriminant analysis with a shrunken covariance.

    Distances in it are Mahalanobis distances (Lee et al., 2018, arXiv:1807.03888) but for the directions that tell little.

    Args:
        features: float32 (N, F), of the photos that were learned from
        targets: int64 (N,); L and above: none of the labels
        labels: L
    """
    own = targets < labels
    features, targets = features[own].double(), targets[own]
    centres = torch.stack([features[targets == label].mean(dim=0) for label in range(labels)])  # (L, F)
    around = features - centres[targets]
    offset = features.mean(dim=0)
    covariance = around.T @ around / len(features)  # (F, F)
    spread = _spread(covariance.diagonal().mean().item(), (features - offset).square().mean().item())
    covariance += SHRINKAGE * spread * torch.eye(len(covariance))
    variances, axes = torch.linalg.eigh(covariance)
    whitening = axes / variances.sqrt()  # (F, F): features of one label vary by 1 in each direction
    _, _, principal = torch.linalg.svd((features - offset) @ whitening, full_matrices=False)
    directions = whitening @ principal[:DIMENSIONS].T  # (F, D)
    return FeatureSpace(offset.float(), directions.float(), ((centres - offset) @ directions).float())


def _spread(within: float, overall: float) -> float:
    """The mean variance within labels; what it is overall where no label has two photos that differ."""
    if within > LEAST_PART * overall:
        return within
    return overall or 1.0


def fit_score_rule(logits: Tensor, distances: Tensor, targets: Tensor, labels: int) -> ScoreRule:
    """The rule for a model, from validation photos: the temperature is the one that makes their right answers most likely.

    Slope and reach follow from how far photos of landmarks typically lie. They are not fitted: ordinary photos, the only
    others there are, would teach that the background knows it all, and distance is there for what it does not know.

    Args:
        logits: float (N, C), C = L or, with a background, L + 1
        distances: float (N,)
        targets: int64 (N,); L: none of them
        labels: L
    """
    logits, distances = logits.double(), distances.double()
    typical = max(distances[targets < labels].median().item(), LEAST_DISTANCE)
    slope, reach = STEEPNESS / typical, EXTENT * typical
    losses = [
        _surprise(scores_of(logits, distances, labels, temperature, slope, reach), targets, labels)
        for temperature in TEMPERATURES
    ]
    return ScoreRule(float(TEMPERATURES[int(torch.stack(losses).argmin())]), slope, reach)


def scores_of(
    logits: Tensor, distances: Tensor, labels: int, temperature: Tensor, slope: float, reach: float
) -> Tensor:
    """Float (N, L), as `ScoreRule` says, scaled by `SUM_LIMIT`."""
    near = torch.sigmoid(slope * (reach - distances))
    return torch.softmax(logits / temperature, dim=1)[:, :labels] * near[:, None] * SUM_LIMIT


def _surprise(scores: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean negative logarithm of the chance that was given to the right answer."""
    none_of_them = 1 - scores.sum(dim=1, keepdim=True)
    chances = torch.cat([scores, none_of_them], dim=1).clamp(min=LEAST_CHANCE)
    return functional.nll_loss(chances.log(), targets.clamp(max=labels))
