"""The score from which a landmark is accepted, chosen on validation photos."""

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_THRESHOLD = 0.05


@dataclass(frozen=True)
class Threshold:
    """The chosen score, and what it does on the validation photos (ordinary photos weighted as stated)."""

    value: float
    precision: float
    accepted: float  # share of landmark photos that get their right label accepted
    false_tags: float  # share of ordinary photos that get any label accepted; 0 without ordinary photos
    reason: str


def choose_threshold(top: Tensor, correct: Tensor, ordinary: Tensor, *, precision: float) -> Threshold:
    """The least score from which on accepted labels are right in `precision` of the photos.

    Where there are ordinary photos, they count as half of all, whatever their number: a folder of photos is not
    a collection of landmarks.

    Args:
        top: float (N,), the highest score of each landmark photo
        correct: bool (N,), whether it belongs to the right label
        ordinary: float (M,), the highest score of each ordinary photo
        precision: what is asked for, 0…1
    """
    scale = len(top) / len(ordinary) if len(ordinary) else 0.0
    candidates = torch.cat([top, ordinary]).sort().values  # ascending
    right = torch.stack([(correct & (top >= c)).sum() for c in candidates]).double()
    wrong = torch.stack([(~correct & (top >= c)).sum() + scale * (ordinary >= c).sum() for c in candidates])
    reached = right / (right + wrong).clamp(min=1e-12)  # float64 (C,)
    value = max(_least(candidates, reached, precision), LEAST_THRESHOLD)
    return _describe(value, top, correct, ordinary, precision)


def _least(candidates: Tensor, reached: Tensor, precision: float) -> float:
    enough = reached >= precision
    chosen = int(enough.long().argmax()) if bool(enough.any()) else int(reached.argmax())
    below = candidates[chosen - 1] if chosen else candidates[chosen] * 0
    # Halfway to the next lower score, then rounded up: a last bit of rounding elsewhere changes no outcome.
    return round(float((candidates[chosen] + below) / 2), 4)


def _describe(value: float, top: Tensor, correct: Tensor, ordinary: Tensor, asked: float) -> Threshold:
    right = int((correct & (top >= value)).sum())
    wrong = int((~correct & (top >= value)).sum())
    false = int((ordinary >= value).sum())
    scale = len(top) / len(ordinary) if len(ordinary) else 0.0
    reached = right / max(right + wrong + scale * false, 1e-12)
    reason = (
        f"least score with at least {asked:.0%} of accepted labels right on {len(top)} validation photos of landmarks"
        + (f" and {len(ordinary)} ordinary photos, these weighted as half of all" if len(ordinary) else "")
        + f": {reached:.1%} right, {right / len(top):.1%} of landmark photos accepted rightly"
        + (f", {false / len(ordinary):.1%} of ordinary photos accepted falsely" if len(ordinary) else "")
    )
    false_share = false / len(ordinary) if len(ordinary) else 0.0
    return Threshold(value, reached, right / len(top), false_share, reason)
