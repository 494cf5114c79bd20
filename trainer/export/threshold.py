"""The thresholds of a model: from which score on its labels are tags, or suggestions, in a library."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.evaluation.mixture import ORDINARY, OTHERS, Mixture

LEAST_THRESHOLD = 0.05
SUGGESTED_PRECISION = 0.5
TAIL = 0.1
"""The share of a kind's photos, those with the highest scores, from which the tail of the kind follows."""
LEAST_TAIL = 5
"""The photos from which a tail can be estimated."""
LOGIT_LIMIT = 1e-7


@dataclass(frozen=True)
class ValidationScores:
    """The highest score of each photo: of landmarks, with whether it is right, and by kind of others."""

    top: Tensor
    correct: Tensor
    others: Mapping[str, Tensor]


@dataclass(frozen=True)
class Threshold:
    """The chosen thresholds and their effect on validation photos. Suggestions begin at `suggested_from`."""

    value: float
    suggested_from: float
    precision: float  # in a library
    accepted: float  # share of landmark photos whose right label is accepted
    false_tags: dict[str, float]  # by kind of other photos, the share with an accepted label
    reason: str


def choose_threshold(
    scores: ValidationScores, mixture: Mixture, precision: float, least: float = LEAST_THRESHOLD
) -> Threshold:
    """Choose the lowest threshold, at least `least`, from which `precision` of a library's tags are right.

    Suggestions begin at the lowest score from which on `SUGGESTED_PRECISION` of all names are right.
    """
    value = max(_lowest_score(scores, mixture, precision), least)
    return _threshold(
        value, min(value, _lowest_score(scores, mixture, SUGGESTED_PRECISION)), scores, mixture, precision
    )


def _lowest_score(scores: ValidationScores, mixture: Mixture, precision: float) -> float:
    candidates = torch.cat([scores.top, *scores.others.values()]).sort().values  # ascending
    precisions = library_precisions(scores, mixture, candidates)
    sufficient = precisions >= precision
    index = int(sufficient.long().argmax()) if bool(sufficient.any()) else int(precisions.argmax())
    below = candidates[index - 1] if index else candidates[index] * 0
    # Halfway to the next lower score, and rounded, so that rounding errors elsewhere change no outcome.
    return max(round(float((candidates[index] + below) / 2), 4), LEAST_THRESHOLD)


def library_precisions(scores: ValidationScores, mixture: Mixture, thresholds: Tensor) -> Tensor:
    """The share of accepted labels that are right in a library, by threshold (C,): float64 (C,).

    A kind without photos here counts as if it were like the other.
    """
    accepted = mixture.known * _shares_above(scores.top, thresholds)
    right = mixture.known * _shares_above(scores.top.where(scores.correct, -1), thresholds)
    kinds = list(scores.others.values())
    for kind, share in ((OTHERS, mixture.other), (ORDINARY, mixture.ordinary)) if kinds else ():
        accepted = accepted + share * tail_shares(scores.others.get(kind, kinds[0]), thresholds)
    return right / accepted.clamp(min=1e-12)


def tail_shares(scores: Tensor, thresholds: Tensor) -> Tensor:
    """The share of a kind of photos with at least a score, by threshold (C,): float64 (C,).

    In a library, thousands of such photos are rejected for each tag, and here are some hundred: where the
    threshold should lie, hardly one is left to count. The highest scores' logits fall off exponentially
    ("peaks over threshold", Davison and Smith, 1990), which gives shares between and above the photos that
    are here. Their median says how fast; the mean would follow the odd photo that shows a landmark.
    """
    counted = _shares_above(scores, thresholds)
    count = math.ceil(TAIL * len(scores))
    if count < LEAST_TAIL:
        return counted
    logits, at = _logits(scores).sort(descending=True).values, _logits(thresholds)
    start = logits[count]
    excess = ((logits[:count] - start).median() / math.log(2)).clamp(min=LOGIT_LIMIT)
    return torch.where(at > start, count / len(scores) * torch.exp((start - at) / excess), counted)


def _shares_above(scores: Tensor, thresholds: Tensor) -> Tensor:
    below = torch.searchsorted(scores.double().sort().values, thresholds.double())
    return 1 - below.double() / max(len(scores), 1)


def _logits(scores: Tensor) -> Tensor:
    return scores.double().logit(LOGIT_LIMIT)


def _threshold(
    value: float, suggested_from: float, scores: ValidationScores, mixture: Mixture, precision: float
) -> Threshold:
    accepted = scores.top >= value
    right = float((scores.correct & accepted).double().mean())
    actual = float(library_precisions(scores, mixture, torch.tensor([value]))[0])
    false_tags = {kind: float((highest >= value).double().mean()) for kind, highest in scores.others.items()}
    counts = "".join(f", {len(highest)} {kind}" for kind, highest in scores.others.items())
    reason = (
        f"lowest score with at least {100 * precision:g}% of accepted labels right in a library of {mixture} "
        "known landmarks, others and "
        f"anything else, estimated from {len(scores.top)} validation photos of landmarks{counts}: "
        f"{actual:.1%} right, {right:.1%} of landmark photos accepted rightly"
        + "".join(f", {share:.1%} of {kind} accepted falsely" for kind, share in false_tags.items())
    )
    return Threshold(value, suggested_from, actual, right, false_tags, reason)
