"""Models: the artifact, devices and backends; here what a model says of one photo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


# The share of a family's photos that shows landmarks of a model. The trainer chooses thresholds for
# it.
KNOWN_SHARE = 0.05
# A photo with at least this score gets the tag of a taught landmark.
TAUGHT_THRESHOLD = 0.8
# From this score on, and below `TAUGHT_THRESHOLD`, a photo is a suggestion of a taught landmark.
SUGGESTED_SCORE = 0.2
# What is assumed of photos that were probably taken where a taught landmark is, instead of its share in the
# library: that so many of them show it. A measured position within its radius says more than an estimated
# one. Of photos near a sight, a quarter to three quarters show it: at 0.3 and from a probability of 0.9 on,
# 98 of 100 tags are right. With 0.16, the same photos reach `TAUGHT_THRESHOLD`.
MEASURED_SHARE, ESTIMATED_SHARE = 0.16, 0.1


def taught_share_odds(share: float, before: float) -> float:
    """The factor of the odds of a landmark where this share of photos shows it, instead of that before."""
    return share / (1 - share) / (before / (1 - before))


def least_score(share: float | None) -> float:
    """The lowest score of a taught landmark that its place can make a suggestion; None: of any place."""
    if share is None:
        return SUGGESTED_SCORE
    odds = (
        SUGGESTED_SCORE
        / (1 - SUGGESTED_SCORE)
        / taught_share_odds(ESTIMATED_SHARE, share)
    )
    return min(SUGGESTED_SCORE, odds / (1 + odds))


# So many are sorted faster than the best are selected.
_FEW_LABELS = 1000


class LabelPrediction(NamedTuple):
    """One landmark and its score.

    `position` is the index of the label in the model's manifest. `rank` counts from 1. `accepted`: the score
    reaches the threshold, and the image is not damaged. Verdicts and others may overrule it: see tags.rule.
    """

    position: int
    rank: int
    score: float
    accepted: bool


def best_predictions(
    scores: npt.NDArray[np.float32], count: int, threshold: float, *, is_damaged: bool
) -> tuple[LabelPrediction, ...]:
    """The `count` best predictions of an image, best first, by its `scores`, float32 (L,).

    `is_damaged`: a part of the image is missing, so that no prediction is accepted.
    """
    import numpy as np

    order = -scores
    if (
        count < len(order) > _FEW_LABELS
    ):  # sorting a hundred thousand takes longer than the network
        last = np.partition(order, count - 1)[count - 1]
        candidates = np.flatnonzero(~(order > last))  # also NaN, which sorts last
    else:
        candidates = np.arange(len(order))
    best = candidates[order[candidates].argsort(kind="stable")[:count]]
    least = math.inf if is_damaged else threshold
    return tuple(
        LabelPrediction(position, rank, score, score >= least)
        for rank, (position, score) in enumerate(
            zip(best.tolist(), scores[best].clip(0, 1).tolist(), strict=True), start=1
        )
    )


def has_finite_length(vector: npt.NDArray[np.float32]) -> bool:
    """Whether scores or an embedding have a finite length, which embeddings are compared by."""
    import numpy as np

    return math.isfinite(np.vdot(vector, vector))
