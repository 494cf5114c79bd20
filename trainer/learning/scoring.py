"""Scores, from the linear layer and from the photos of training that are nearest.

Which landmark: the linear layer's logits, and the nearest photos of each landmark. Whether it is a landmark:
the linear layer's odds against its background classes, and how much nearer the nearest photos of landmarks
are than those of other things. Other landmarks lie between the known ones in every feature space, so the
distance from the nearest known one alone says little.

The neighbours help more for photos that were taken where and when those of training were, the linear layer
for all others. The weights are a compromise, chosen on photos with and without neighbours of the same
collection (docs/reference/model-card.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.model.artifact import Range

DIMENSIONS = 96
# Times the mean variance within labels, added to every variance: few photos do not determine them.
SHRINKAGE = 1.0
NEIGHBOURS = 3
# Photos of landmarks, and as many others, that the model file keeps: 192 bytes each.
MOST_POINTS = 20_000
# The width of the kernel as a share of the typical distance: hardly more than the nearest photo
# counts.
WIDTH = 1 / 40
KERNEL_WEIGHT = 0.25
NEARNESS_WEIGHT = 7.0
# The highest magnitude of the logarithm of the linear layer's odds: far from all photos, it says
# nothing.
MOST_ODDS = 10.0
EXTENT = 3.0
# Without other photos, scores are halved at three times the typical distance; at twice they keep 98
# %.
SLOPE = 9.6 / NEARNESS_WEIGHT
# Other photos in validation from which slope and midpoint can be fitted.
LEAST_OTHERS = 20
LEAST_SLOPE = 0.1
# The share of other photos that scores are calibrated for. With few, all photos of landmarks have
# scores near 1, and differ more by which landmark they may show than by whether they show one.
OTHERS_SHARE = 0.5
# The candidates. The loss has a single minimum, and steps of 1/90 are finer than photos can
# resolve.
TEMPERATURES = torch.logspace(-1.3, 1, 461, dtype=torch.float64)
# Photos whose highest score is in this range are looked at again, mirrored: 3 % of a family's. With
# the mean of both scores, two in a hundred more landmark photos get their tag at the same
# precision.
SECOND_LOOK: Range = (0.4, 0.97)
# Scores are scaled by this factor, so that rounding never takes their sum above 1.
SUM_LIMIT = 1 - 1e-6
# Smaller variances within labels, relative to the overall variance, are rounding errors.
LEAST_VARIANCE_SHARE = 1e-6
LEAST_DISTANCE = 1e-3
LEAST_KERNEL = 1e-30


@dataclass(frozen=True)
class ScoreRule:
    """score of label l = softmax(v / temperature)[l] · sigmoid(slope · (evidence - midpoint)).

    v[l] = logit[l] + `KERNEL_WEIGHT` · log(sum of exp(-distance / width) over the photos of l).

    evidence = log odds of the labels against the background classes + `NEARNESS_WEIGHT` · log(o / d), with
    the mean distances d from the nearest photos of landmarks and o from the nearest other photos, at most
    `reach`, which rejects what is far from everything, and stands in for other photos where there are none.
    """

    temperature: float
    width: float
    reach: float
    slope: float
    midpoint: float


class Neighbours(nn.Module):
    """The distances of embeddings from the photos of training, in the directions in which labels differ.

    Embeddings of one label have variance 1 in each direction. The nearest photos reject well even in networks
    that were not trained for it (Sun et al., 2022, arXiv:2204.06507). They are stored in half precision.
    """

    offset: Tensor  # (F,), subtracted from embeddings first
    directions: Tensor  # (F, D)
    landmarks: Tensor  # (N, D), photos of landmarks
    labels: Tensor  # int64 (N,), theirs
    others: Tensor  # (M, D), all other photos

    def __init__(
        self, offset: Tensor, directions: Tensor, landmarks: Tensor, labels: Tensor, others: Tensor
    ) -> None:
        super().__init__()
        self.register_buffer("offset", offset)
        self.register_buffer("directions", directions.half())
        self.register_buffer("landmarks", landmarks.half())
        self.register_buffer("labels", labels)
        self.register_buffer("others", others.half())

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F) → float32 (B, N), distances from the photos of landmarks, and (B, M), from the others."""
        points = (embeddings.float() - self.offset.float()) @ self.directions.float()  # (B, D)
        return distances_of(points, self.landmarks.float()), distances_of(points, self.others.float())


class Scoring(nn.Module):
    """The score rule: logits and embeddings → scores."""

    count: Final[int]
    temperature: Final[float]
    width: Final[float]
    reach: Final[float]
    slope: Final[float]
    midpoint: Final[float]
    limit: Final[float]

    def __init__(self, neighbours: Neighbours, labels: int, rule: ScoreRule) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.count = labels
        self.temperature = rule.temperature
        self.width = rule.width
        self.reach = rule.reach
        self.slope = rule.slope
        self.midpoint = rule.midpoint
        self.limit = SUM_LIMIT

    def forward(self, logits: Tensor, embeddings: Tensor) -> Tensor:
        """Logits of labels and background (B, C) and embeddings (B, F) → scores, float32 (B, L)."""
        logits = logits.float()
        from_landmarks, from_others = self.neighbours(embeddings)
        own = logits[:, : self.count] + kernel_logits(
            from_landmarks, self.neighbours.labels, self.count, self.width
        )
        evidence = evidence_of(logits, self.count, from_landmarks, from_others, self.reach)
        is_landmark = torch.sigmoid(self.slope * (evidence - self.midpoint))
        return torch.softmax(own / self.temperature, dim=1) * is_landmark[:, None] * self.limit


def distances_of(points: Tensor, photos: Tensor, least: float = LEAST_DISTANCE) -> Tensor:
    """The distances of points (B, D) from photos (N, D): float32 (B, N)."""
    lengths = points.square().sum(dim=1, keepdim=True) + photos.square().sum(dim=1)[None]
    return (lengths - 2.0 * points @ photos.t()).clamp(min=least * least).sqrt()


def kernel_logits(
    distances: Tensor,
    labels: Tensor,
    count: int,
    width: float,
    weight: float = KERNEL_WEIGHT,
    least: float = LEAST_KERNEL,
) -> Tensor:
    """The weighted logarithm of each label's kernel, but for a term that all labels share: float (B, L).

    Args:
        distances: float (B, N), from photos of landmarks
        labels: int64 (N,), theirs
        count: L
        width: see `ScoreRule`
        weight: the factor of the result
        least: the lowest value of a kernel, relative to that of the nearest photo
    """
    kernels = torch.exp((distances.amin(dim=1, keepdim=True) - distances) / width)  # (B, N)
    membership = (labels[:, None] == torch.arange(count, device=labels.device)[None]).to(distances.dtype)
    return weight * (kernels @ membership).clamp(min=least).log()


def evidence_of(
    logits: Tensor,
    count: int,
    from_landmarks: Tensor,
    from_others: Tensor,
    reach: float,
    nearest: int = NEIGHBOURS,
    weight: float = NEARNESS_WEIGHT,
    most: float = MOST_ODDS,
) -> Tensor:
    """The evidence that photos show a landmark, as defined by `ScoreRule`: float (B,).

    Args:
        logits: float (B, C), C ≥ L
        count: L
        from_landmarks: float (B, N), distances
        from_others: float (B, M), distances
        reach: see `ScoreRule`
        nearest: how many photos count
        weight: the factor of the logarithm of the ratio of distances
        most: the highest magnitude of the logarithm of the odds
    """
    near = mean_of_least(from_landmarks, nearest)
    far = torch.full_like(near, reach)
    if from_others.shape[1] > 0:
        far = mean_of_least(from_others, nearest).clamp(max=reach)
    evidence = weight * torch.log(far / near)
    if logits.shape[1] > count:
        odds = logits[:, :count].logsumexp(dim=1) - logits[:, count:].logsumexp(dim=1)
        evidence = evidence + odds.clamp(min=-most, max=most)
    return evidence


def mean_of_least(distances: Tensor, count: int) -> Tensor:
    """The mean of the lowest `count` of each row (B, N): float (B,)."""
    return torch.topk(distances, min(count, distances.shape[1]), dim=1, largest=False)[0].mean(dim=1)


def fit_neighbours(embeddings: Tensor, targets: Tensor, labels: int) -> Neighbours:
    """Find the directions by linear discriminant analysis with a shrunken covariance.

    Args:
        embeddings: float32 (N, F), of the training photos
        targets: int64 (N,); L or more means "none of the labels"
        labels: L
    """
    is_landmark = targets < labels
    photos, photo_labels = embeddings[is_landmark].double(), targets[is_landmark]
    centres = torch.stack([photos[photo_labels == label].mean(dim=0) for label in range(labels)])  # (L, F)
    deviations = photos - centres[photo_labels]
    offset = photos.mean(dim=0)
    covariance = deviations.T @ deviations / len(photos)  # (F, F)
    within, overall = covariance.diagonal().mean().item(), (photos - offset).square().mean().item()
    # If no label has two different photos, the overall variance has to do.
    variance = within if within > LEAST_VARIANCE_SHARE * overall else overall or 1.0
    covariance += SHRINKAGE * variance * torch.eye(len(covariance))
    variances, axes = torch.linalg.eigh(covariance)
    whitening = axes / variances.sqrt()  # (F, F): embeddings of one label vary by 1 in each direction
    _, _, principal = torch.linalg.svd((photos - offset) @ whitening, full_matrices=False)
    directions = whitening @ principal[:DIMENSIONS].T  # (F, D)
    points = (embeddings.double() - offset) @ directions  # (N, D)
    # The photos of labels with fewer than `NEIGHBOURS` are repeated, or others would be among the nearest.
    rows = [(targets == label).nonzero()[:, 0] for label in range(labels)]
    kept = _thin(torch.cat([each.repeat(max(1, math.ceil(NEIGHBOURS / len(each)))) for each in rows]))
    return Neighbours(
        offset.float(),
        directions.float(),
        landmarks=points[kept].float(),
        labels=targets[kept],
        others=points[_thin((~is_landmark).nonzero()[:, 0])].float(),
    )


def _thin(positions: Tensor) -> Tensor:
    """At most `MOST_POINTS` of the positions (N,), evenly spread."""
    if len(positions) <= MOST_POINTS:
        return positions
    return positions[torch.arange(MOST_POINTS) * len(positions) // MOST_POINTS]


@dataclass(frozen=True)
class UnlearntPhotos:
    """Validation photos, as a linear layer and photos of training see them that have not learnt them.

    V: the photo, and its mirror image.
    """

    logits: Tensor  # float (N, V, C), C ≥ L
    embeddings: Tensor  # float (N, V, F)
    targets: Tensor  # int64 (N,); L: none of the labels
    neighbours: Neighbours

    def scores(self, labels: int, rule: ScoreRule) -> Tensor:
        """Their scores after the second look, float32 (N, L)."""
        scoring = Scoring(self.neighbours, labels, rule)
        scores, mirrored = (scoring(self.logits[:, view], self.embeddings[:, view]) for view in (0, 1))
        highest = scores.amax(dim=1, keepdim=True)
        least, limit = SECOND_LOOK
        is_near = (highest >= least) & (highest < limit)
        return torch.where(is_near, (scores + mirrored) / 2, scores)


def fit_score_rule(parts: Sequence[UnlearntPhotos], labels: int) -> ScoreRule:
    """Fit the score rule on validation photos: the temperature on landmarks, the rest by Platt scaling.

    With few other photos, slope and midpoint follow from the typical distance, as width and reach do.
    """
    distances = [tuple(each.double() for each in part.neighbours(part.embeddings[:, 0])) for part in parts]
    targets = torch.cat([part.targets for part in parts])
    is_landmark = targets < labels
    nearest = torch.cat([mean_of_least(near, NEIGHBOURS) for near, _ in distances])
    typical = nearest[is_landmark].median().item()
    width, reach = WIDTH * typical, EXTENT * typical
    own = torch.cat(
        [
            part.logits[:, 0, :labels].double() + kernel_logits(near, part.neighbours.labels, labels, width)
            for part, (near, _) in zip(parts, distances, strict=True)
        ]
    )
    losses = [
        functional.cross_entropy(own[is_landmark] / temperature, targets[is_landmark])
        for temperature in TEMPERATURES
    ]
    temperature = float(TEMPERATURES[int(torch.stack(losses).argmin())])
    slope, midpoint = SLOPE, 0.0
    if (~is_landmark).sum() >= LEAST_OTHERS:
        evidence = [
            evidence_of(part.logits[:, 0].double(), labels, near, far, reach)
            for part, (near, far) in zip(parts, distances, strict=True)
        ]
        slope, midpoint = fit_logistic(torch.cat(evidence), is_landmark, OTHERS_SHARE)
    return ScoreRule(temperature, width, reach, slope, midpoint)


@torch.enable_grad()
def fit_logistic(values: Tensor, outcomes: Tensor, share: float) -> tuple[float, float]:
    """Slope and midpoint of the logistic curve of the outcomes, by maximum likelihood with Platt's targets.

    These targets are not quite 0 and 1, so that the slope stays finite (Platt, 1999).

    Args:
        values: float64 (N,)
        outcomes: bool (N,)
        share: the share of negative outcomes, 0…1, that the curve is for; they are weighted so
    """
    positives, negatives = int(outcomes.sum()), int((~outcomes).sum())
    targets = torch.where(outcomes, (positives + 1) / (positives + 2), 1 / (negatives + 2)).double()
    sample_weights = torch.where(
        outcomes, (1 - share) / max(positives, 1), share / max(negatives, 1)
    ).double()
    centre, scale = values.mean(), values.std() + LEAST_DISTANCE
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits = weights[0] * (values - centre) / scale + weights[1]
        value = functional.binary_cross_entropy_with_logits(
            logits, targets, weight=sample_weights, reduction="sum"
        )
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    slope = max((weights[0] / scale).item(), LEAST_SLOPE)
    return slope, centre.item() - weights[1].item() / slope
