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
NO_DISTRACTORS_SLOPE = 0.5
SUM_LIMIT = 1 - 1e-6
"""Scores are scaled by this, so that rounding never takes their sum above 1."""
LEAST_CHANCE = 1e-9
LEAST_PART = 1e-6
"""Of the variance of features; less within labels is rounding."""
LEAST_REACH = 1e-3
PRIOR_PHOTOS = 0.1
"""What a rule is like before any photo was seen counts as so many: of a few photos, an endless slope or none would be learned."""


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
    """The rule that makes the right answers of validation photos most likely.

    Args:
        logits: float (N, C), C = L or, with a background, L + 1
        distances: float (N,)
        targets: int64 (N,); L: none of them
        labels: L
    """
    logits, distances = logits.double(), distances.double()
    known = targets < labels
    typical = distances[known].median().item()
    start = [0.5, 0.3, max(2 * typical, LEAST_REACH)]
    fixed = bool(known.all())  # without others, nothing is known of the distance they have
    if fixed:
        start = [0.5, NO_DISTRACTORS_SLOPE, distances.quantile(0.99).item() + 3 / NO_DISTRACTORS_SLOPE]
    expected = torch.tensor(start, dtype=torch.float64).log()
    logs = expected.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logs], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        temperature, slope, reach = logs.exp()
        scores = scores_of(logits, distances, labels, temperature, slope, reach)
        unusual = (logs - expected).square().sum() / 2
        value = _surprise(scores, targets, labels) + PRIOR_PHOTOS / len(targets) * unusual
        value.backward()  # type: ignore[no-untyped-call]
        if fixed and logs.grad is not None:
            logs.grad[1:] = 0
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    fitted = logs.detach().exp()
    temperature, slope, reach = fitted.tolist() if bool(fitted.isfinite().all()) else start
    return ScoreRule(temperature, slope, reach)


def scores_of(
    logits: Tensor, distances: Tensor, labels: int, temperature: Tensor, slope: Tensor, reach: Tensor
) -> Tensor:
    """Float (N, L), as `ScoreRule` says, scaled by `SUM_LIMIT`."""
    near = torch.sigmoid(slope * (reach - distances))
    return torch.softmax(logits / temperature, dim=1)[:, :labels] * near[:, None] * SUM_LIMIT


def _surprise(scores: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean negative logarithm of the chance that was given to the right answer."""
    none_of_them = 1 - scores.sum(dim=1, keepdim=True)
    chances = torch.cat([scores, none_of_them], dim=1).clamp(min=LEAST_CHANCE)
    return functional.nll_loss(chances.log(), targets.clamp(max=labels))
