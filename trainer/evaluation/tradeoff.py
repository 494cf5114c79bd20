"""What each threshold would do: how many tags are right, how many photos get theirs, how many get a false one.

Only shows. A model's threshold is chosen on validation photos (see calibration), never on those it is reported on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tradeoff:
    """What holds from each score on, highest score first; every tensor float64 (T,).

    Distractors, if there are any, count as half of all photos in `precision`, whatever their number.
    """

    thresholds: Tensor
    precision: Tensor  # the share of accepted names that are right
    precision_on_landmarks: Tensor  # the same among photos of landmarks alone; NaN where none is accepted
    tagged_rightly: Tensor  # the share of landmark photos
    false_tags: Tensor  # the share of distractors


@dataclass(frozen=True)
class Point:
    """One threshold and what it does."""

    threshold: float
    precision: float
    tagged_rightly: float
    false_tags: float


def trade_off(confidence: Tensor, correct: Tensor, distractors: Tensor) -> Tradeoff:
    """Try every score that occurs as a threshold.

    Args:
        confidence: float (N,), the top score of each landmark photo
        correct: bool (N,), whether it belongs to the right label
        distractors: float (M,), the top score of each photo that shows none
    """
    thresholds = torch.unique(torch.cat([confidence, distractors])).flip(0)
    right = _at_least(confidence[correct], thresholds)
    wrong = _at_least(confidence[~correct], thresholds)
    false = _at_least(distractors, thresholds)
    scale = len(confidence) / len(distractors) if len(distractors) else 0.0
    return Tradeoff(
        thresholds=thresholds.double(),
        precision=right / (right + wrong + scale * false),
        precision_on_landmarks=right / (right + wrong),
        tagged_rightly=right / len(confidence),
        false_tags=false / max(len(distractors), 1),
    )


def least_for(precision: float, tradeoff: Tradeoff) -> Point | None:
    """The least threshold that reaches the precision on these photos; None where none does."""
    enough = (tradeoff.precision >= precision).nonzero()
    if not len(enough):
        return None
    at = int(enough[-1])
    return Point(
        threshold=tradeoff.thresholds[at].item(),
        precision=tradeoff.precision[at].item(),
        tagged_rightly=tradeoff.tagged_rightly[at].item(),
        false_tags=tradeoff.false_tags[at].item(),
    )


def _at_least(scores: Tensor, thresholds: Tensor) -> Tensor:
    """How many scores reach each threshold, float64 (T,)."""
    return (len(scores) - torch.searchsorted(scores.sort().values, thresholds)).double()
