"""Figures that say how good predictions are. Pure functions of scores and answers; tensors in, numbers out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RELIABILITY_BINS = 15


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos whose top score lies in one stretch of 0…1: how sure the model was of them, how often it was right."""

    count: int
    confidence: float
    accuracy: float


def top_k_accuracy(scores: Tensor, targets: Tensor, k: int) -> float:
    """How often the right label is among the `k` best.

    Args:
        scores: float (N, L)
        targets: int64 (N,), the right label of each
        k: how many of the best count; more than there are labels is all of them
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # int64 (N, k)
    return (best == targets[:, None]).any(dim=1).double().mean().item()


def wilson_interval(share: float, count: int) -> Interval:
    """Where the true share lies, given the share seen in `count` photos (Wilson's score interval)."""
    if count == 0:
        return Interval(0.0, 1.0)
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return Interval(max(0.0, centre - spread), min(1.0, centre + spread))


def confusion_counts(predicted: Tensor, targets: Tensor, labels: int) -> Tensor:
    """Photos by right label (row) and predicted label (column), int64 (L, L)."""
    return torch.bincount(targets * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def reliability(
    confidence: Tensor, correct: Tensor, bins: int = RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """Top scores and whether they were right, both (N,), in stretches of equal width."""
    which = (confidence * bins).long().clamp(0, bins - 1)
    return tuple(_bin(confidence[which == number], correct[which == number]) for number in range(bins))


def expected_calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """The mean distance between how sure the model was and how often it was right, over photos."""
    total = sum(entry.count for entry in bins)
    return (
        sum(entry.count * abs(entry.confidence - entry.accuracy) for entry in bins) / total if total else 0.0
    )


def auroc(positives: Tensor, negatives: Tensor) -> float:
    """How often a positive's score is above a negative's; ties count half."""
    ordered = negatives.sort().values
    below = torch.searchsorted(ordered, positives)  # int64 (P,), negatives strictly below each positive
    below_or_equal = torch.searchsorted(ordered, positives, right=True)
    return ((below + below_or_equal).double().mean() / (2 * len(negatives))).item()


def false_positive_rate_at(recall: float, positives: Tensor, negatives: Tensor) -> float:
    """The share of negatives that score at least what the best `recall` of the positives score."""
    needed = math.ceil(recall * len(positives))
    cut = positives.sort(descending=True).values[needed - 1]
    return (negatives >= cut).double().mean().item()


def _bin(confidence: Tensor, correct: Tensor) -> ReliabilityBin:
    if not len(confidence):
        return ReliabilityBin(0, 0.0, 0.0)
    return ReliabilityBin(len(confidence), confidence.mean().item(), correct.double().mean().item())
