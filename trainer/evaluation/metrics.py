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
# The most photos sampled at once. Larger resamples are split into blocks, to limit memory.
_BLOCK = 4_000_000


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


def _bin_numbers(confidence: Tensor) -> Tensor:
    return (confidence * RELIABILITY_BINS).long().clamp(0, RELIABILITY_BINS - 1)


def _sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The sum of the values, float64 (R, N), in each group, float64 (R, count)."""
    return values.new_zeros(len(values), count).scatter_add_(1, groups, values)
