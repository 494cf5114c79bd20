"""Figures that say how good predictions are. Pure functions of scores and answers; docs/evaluation.md has the formulas.

Those with a plural name take rows of photos, (R, N), and give a figure per row: one definition serves the figure and
its resamples.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.evaluation.intervals import Interval, wilson_interval

RELIABILITY_BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos whose top score lies in one stretch of 0…1: how sure the model was of them, how often it was right."""

    count: int
    confidence: float
    accuracy: float
    interval: Interval  # of the accuracy


def top_k_accuracy(scores: Tensor, targets: Tensor, k: int) -> float:
    """How often the right label is among the `k` best."""
    return in_top_k(scores, targets, k).double().mean().item()


def in_top_k(scores: Tensor, targets: Tensor, k: int) -> Tensor:
    """Whether the right label is among the `k` best, bool (N,).

    Args:
        scores: float (N, L)
        targets: int64 (N,), the right label of each
        k: how many of the best count; more than there are labels is all of them
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # int64 (N, k)
    return (best == targets[:, None]).any(dim=1)


def macro_accuracies(correct: Tensor, targets: Tensor, labels: int) -> Tensor:
    """The mean over labels of the share that is right, labels without photos left out, float64 (R,).

    Args:
        correct: bool (R, N)
        targets: int64 (R, N), the right label of each
        labels: how many there are
    """
    photos = _sums(torch.ones_like(correct, dtype=torch.float64), targets, labels)  # float64 (R, L)
    right = _sums(correct.double(), targets, labels)
    return (right / photos.clamp(min=1)).sum(dim=1) / (photos > 0).sum(dim=1)


def confusion_counts(predicted: Tensor, targets: Tensor, labels: int) -> Tensor:
    """Photos by right label (row) and predicted label (column), int64 (L, L)."""
    return torch.bincount(targets * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def reliability(
    confidence: Tensor, correct: Tensor, bins: int = RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """Top scores and whether they were right, both (N,), in stretches of equal width."""
    which = _stretches(confidence, bins)
    return tuple(_bin(confidence[which == number], correct[which == number]) for number in range(bins))


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """The mean distance between how sure the model was and how often it was right, over photos."""
    total = sum(entry.count for entry in bins)
    return (
        sum(entry.count * abs(entry.confidence - entry.accuracy) for entry in bins) / total if total else 0.0
    )


def calibration_errors(confidence: Tensor, correct: Tensor, bins: int = RELIABILITY_BINS) -> Tensor:
    """The expected calibration error with stretches of equal width, of rows (R, N), float64 (R,)."""
    distance = confidence.double() - correct.double()
    return _sums(distance, _stretches(confidence, bins), bins).abs().sum(dim=1) / confidence.shape[1]


def adaptive_calibration_errors(confidence: Tensor, correct: Tensor, bins: int = RELIABILITY_BINS) -> Tensor:
    """The same with stretches that hold equally many photos (to one), float64 (R,)."""
    order = confidence.argsort(dim=1, stable=True)
    distance = (confidence.double() - correct.double()).gather(1, order)
    parts = distance.tensor_split(bins, dim=1)
    return torch.stack([part.sum(dim=1).abs() for part in parts]).sum(dim=0) / confidence.shape[1]


def auroc(positives: Tensor, negatives: Tensor) -> float:
    """How often a positive's score is above a negative's; ties count half."""
    return aurocs(positives[None], negatives[None]).item()


def aurocs(positives: Tensor, negatives: Tensor) -> Tensor:
    """The same of rows, (R, P) and (R, M), float64 (R,)."""
    ordered, positives = negatives.sort(dim=1).values.contiguous(), positives.contiguous()
    below = torch.searchsorted(ordered, positives)  # int64 (R, P), negatives strictly below each positive
    below_or_equal = torch.searchsorted(ordered, positives, right=True)
    return (below + below_or_equal).double().mean(dim=1) / (2 * negatives.shape[1])


def false_positive_rate_at(recall: float, positives: Tensor, negatives: Tensor) -> float:
    """The share of negatives that score at least what the best `recall` of the positives score."""
    return false_positive_rates_at(recall, positives[None], negatives[None]).item()


def false_positive_rates_at(recall: float, positives: Tensor, negatives: Tensor) -> Tensor:
    """The same of rows, (R, P) and (R, M), float64 (R,)."""
    needed = math.ceil(recall * positives.shape[1])
    cut = positives.sort(dim=1, descending=True).values[:, needed - 1, None]  # float (R, 1)
    return (negatives >= cut).double().mean(dim=1)


def average_precisions(confidence: Tensor, correct: Tensor, distractors: Tensor) -> Tensor:
    """µAP, also called GAP: every photo's first name, the surest first; the mean precision down to each right one.

    Of equally sure names the wrong ones come first, so that the order of the photos does not matter.

    Args:
        confidence: float (R, N), the top score of each photo of a landmark
        correct: bool (R, N), whether it belongs to the right label
        distractors: float (R, M), the top score of each photo that shows none: whatever it is named is wrong
    """
    right = torch.cat([correct, torch.zeros_like(distractors, dtype=torch.bool)], dim=1)
    sureness = torch.cat([confidence, distractors], dim=1)
    wrong_first = right.long().argsort(dim=1, stable=True)
    order = sureness.gather(1, wrong_first).argsort(dim=1, descending=True, stable=True)
    ranked = right.gather(1, wrong_first).gather(1, order).double()
    precision = ranked.cumsum(dim=1) / torch.arange(1, ranked.shape[1] + 1)
    return (precision * ranked).sum(dim=1) / confidence.shape[1]


def _stretches(confidence: Tensor, bins: int) -> Tensor:
    return (confidence * bins).long().clamp(0, bins - 1)


def _sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The sum of the values, float64 (R, N), in each group, float64 (R, count)."""
    return values.new_zeros(len(values), count).scatter_add_(1, groups, values)


def _bin(confidence: Tensor, correct: Tensor) -> ReliabilityBin:
    count = len(confidence)
    if not count:
        return ReliabilityBin(0, 0.0, 0.0, wilson_interval(0.0, 0))
    accuracy = correct.double().mean().item()
    return ReliabilityBin(
        count, confidence.double().mean().item(), accuracy, wilson_interval(accuracy, count)
    )
