"""Metrics of predictions, with 95 % confidence intervals; docs/reference/evaluation.md has the formulas.

Shares of photos have Wilson's score interval, all other figures a percentile bootstrap. Functions with a
plural name take rows of photos, (R, N), and return a figure per row: the figure and its resamples.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 1000
SEED = 0
_Z = 1.959964
_TAILS = (0.025, 0.975)
_BLOCK = 4_000_000
"""The most photos sampled at once. Larger resamples are split into blocks, to limit memory."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def estimate_share(is_part: Tensor) -> Estimate:
    """The share of photos for which `is_part`, bool (N,), holds; 0 without photos."""
    count = len(is_part)
    share = int(is_part.sum()) / count if count else 0.0
    return Estimate(share, *wilson_interval(share, count))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The interval of a share measured on `count` photos (Wilson's score interval)."""
    if count == 0:
        return 0.0, 1.0
    centre = (share + _Z * _Z / (2 * count)) / (1 + _Z * _Z / count)
    variance = share * (1 - share) / count + _Z * _Z / (4 * count * count)
    spread = _Z * math.sqrt(variance) / (1 + _Z * _Z / count)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def bootstrap(figure: Callable[..., Tensor], *groups: tuple[Tensor, ...]) -> Estimate:
    """A figure, and the middle 95 % of its values on `RESAMPLES` resamples of the photos, with a fixed seed.

    Args:
        figure: maps the groups' tensors as rows, each (R, N), to a figure per row, float (R,)
        groups: tensors (N,) about the same photos; photos are resampled within their group
    """
    generator = torch.Generator().manual_seed(SEED)
    sizes = [len(group[0]) for group in groups]
    rows = max(1, _BLOCK // max(1, *sizes))
    resampled = []
    for first in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - first)
        indices = [torch.randint(max(1, size), (count, size), generator=generator) for size in sizes]
        resampled.append(figure(*_select(groups, indices)))
    whole = figure(*_select(groups, [torch.arange(size)[None] for size in sizes])).item()
    return interval(whole, torch.cat(resampled).tolist())


def interval(value: float, resampled: Iterable[float]) -> Estimate:
    """A figure, and the middle 95 % of its values on resamples of the photos."""
    values = torch.tensor(list(resampled), dtype=torch.float64)
    low, high = values.quantile(torch.tensor(_TAILS, dtype=torch.float64)).tolist()
    return Estimate(value, low, high)


def _select(groups: tuple[tuple[Tensor, ...], ...], indices: list[Tensor]) -> list[Tensor]:
    return [values[index] for group, index in zip(groups, indices, strict=True) for values in group]


RELIABILITY_BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos with a top score in one part of 0…1: their mean score and the share that is right."""

    confidence: float
    right: Estimate


def top_k_accuracy(scores: Tensor, targets: Tensor, k: int) -> float:
    """The share of photos whose right label is among the `k` best."""
    return in_top_k(scores, targets, k).double().mean().item()


def in_top_k(scores: Tensor, targets: Tensor, k: int) -> Tensor:
    """Whether the right label is among the `k` best, bool (N,).

    Args:
        scores: float (N, L)
        targets: int64 (N,), the right label of each
        k: the number of labels to accept; at most all labels
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # int64 (N, k)
    return (best == targets[:, None]).any(dim=1)


def macro_accuracies(correct: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean accuracy over labels with photos, float64 (R,).

    Args:
        correct: bool (R, N)
        targets: int64 (R, N), the right label of each
        labels: L
    """
    photos = _sums(torch.ones_like(correct, dtype=torch.float64), targets, labels)  # float64 (R, L)
    right = _sums(correct.double(), targets, labels)
    return (right / photos.clamp(min=1)).sum(dim=1) / (photos > 0).sum(dim=1)


def confusion_counts(predicted: Tensor, targets: Tensor, labels: int) -> Tensor:
    """Photos by right label (row) and predicted label (column), int64 (L, L)."""
    return torch.bincount(targets * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def reliability(confidence: Tensor, correct: Tensor) -> tuple[ReliabilityBin, ...]:
    """Group top scores and whether they are right, both (N,), into bins of equal width."""
    numbers = _bin_numbers(confidence)
    groups = [numbers == number for number in torch.unique(numbers)]
    return tuple(
        ReliabilityBin(confidence[group].double().mean().item(), estimate_share(correct[group]))
        for group in groups
    )


def calibration_errors(confidence: Tensor, correct: Tensor) -> Tensor:
    """The expected calibration error with bins of equal width, of rows (R, N), float64 (R,)."""
    distance = confidence.double() - correct.double()
    sums = _sums(distance, _bin_numbers(confidence), RELIABILITY_BINS)
    return sums.abs().sum(dim=1) / confidence.shape[1]


def aurocs(positives: Tensor, negatives: Tensor) -> Tensor:
    """The probability that a positive's score is above a negative's, float64 (R,); ties count half."""
    ordered, positives = negatives.sort(dim=1).values.contiguous(), positives.contiguous()
    below = torch.searchsorted(ordered, positives)  # int64 (R, P), negatives strictly below each positive
    below_or_equal = torch.searchsorted(ordered, positives, right=True)
    return (below + below_or_equal).double().mean(dim=1) / (2 * negatives.shape[1])


def false_positive_rates_at(recall: float, positives: Tensor, negatives: Tensor) -> Tensor:
    """The share of negatives with at least the lowest score among the best `recall` of the positives.

    One share for each row of (R, P) and (R, M): float64 (R,).
    """
    needed = math.ceil(recall * positives.shape[1])
    cut = positives.sort(dim=1, descending=True).values[:, needed - 1, None]  # float (R, 1)
    return (negatives >= cut).double().mean(dim=1)


def average_precisions(confidence: Tensor, correct: Tensor, distractors: Tensor) -> Tensor:
    """µAP, also called GAP: the mean precision at each right one of all first predictions, by score.

    Among equal scores, wrong predictions come first, so that the order of the photos does not matter.

    Args:
        confidence: float (R, N), the top score of each photo of a landmark
        correct: bool (R, N), whether its label is right
        distractors: float (R, M), the top score of each distractor; its label is always wrong
    """
    right = torch.cat([correct, torch.zeros_like(distractors, dtype=torch.bool)], dim=1)
    scores = torch.cat([confidence, distractors], dim=1)
    wrong_first = right.long().argsort(dim=1, stable=True)
    order = scores.gather(1, wrong_first).argsort(dim=1, descending=True, stable=True)
    ranked = right.gather(1, wrong_first).gather(1, order).double()
    precision = ranked.cumsum(dim=1) / torch.arange(1, ranked.shape[1] + 1)
    return (precision * ranked).sum(dim=1) / confidence.shape[1]


def _bin_numbers(confidence: Tensor) -> Tensor:
    return (confidence * RELIABILITY_BINS).long().clamp(0, RELIABILITY_BINS - 1)


def _sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The sum of the values, float64 (R, N), in each group, float64 (R, count)."""
    return values.new_zeros(len(values), count).scatter_add_(1, groups, values)
