"""The thresholds of a model: from which score on its labels are tags, or suggestions, in a library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.evaluation.metrics import Estimate, interval
from trainer.evaluation.mixture import ORDINARY, OTHERS, Mixture

LEAST_THRESHOLD = 0.05
SUGGESTED_PRECISION = 0.5
# The share of a kind's photos, those with the highest scores, from which the tail of the kind
# follows.
TAIL = 0.1
# The photos from which a tail can be estimated.
LEAST_TAIL = 5
LOGIT_LIMIT = 1e-7
LEAST_SHARE = 1e-12
RESAMPLES = 300
SEED = 0


@dataclass(frozen=True)
class ValidationScores:
    """The highest score of each photo: of landmarks, with whether it is right, and by kind of others.

    `groups`: the group of each photo, int64, of landmarks first: its place or its source.
    """

    top: Tensor
    correct: Tensor
    others: Mapping[str, Tensor]
    groups: Sequence[Tensor]

    def resampled(self, generator: torch.Generator) -> "ValidationScores":
        """The photos of as many groups of each kind, drawn with replacement."""
        known, *rest = (_drawn(each, generator) for each in self.groups)
        others = {kind: each[rows] for (kind, each), rows in zip(self.others.items(), rest, strict=True)}
        return ValidationScores(self.top[known], self.correct[known], others, ())


def _drawn(groups: Tensor, generator: torch.Generator) -> Tensor:
    """The rows of as many groups (N,) as there are, drawn with replacement."""
    names, numbers = np.unique(groups.numpy(), return_inverse=True)
    drawn = torch.randint(len(names), (len(names),), generator=generator)
    times = drawn.bincount(minlength=len(names))[torch.from_numpy(numbers)]
    return torch.arange(len(groups)).repeat_interleave(times)


@dataclass(frozen=True)
class Threshold:
    """The chosen thresholds and their effect on validation photos. Suggestions begin at `suggested_from`."""

    value: float
    suggested_from: float
    precision: Estimate  # in a library
    accepted: Estimate  # share of landmark photos whose right label is accepted
    false_tags: dict[str, float]  # by kind of other photos, the share with an accepted label
    reason: str


def choose_threshold(
    scores: ValidationScores, mixture: Mixture, precision: float, least: float = LEAST_THRESHOLD
) -> Threshold:
    """Choose the lowest threshold, at least `least`, from which `precision` of a library's tags are right.

    Suggestions begin at the lowest score from which `SUGGESTED_PRECISION` of those below the threshold are
    right; without such a score, at the threshold, so that nothing is suggested by its score alone.
    """
    value = max(_lowest_score(scores, mixture, precision), least)
    suggested_from = min(value, _lowest_score(scores, mixture, SUGGESTED_PRECISION, below=value))
    return _threshold(value, suggested_from, scores, mixture, precision)


def _lowest_score(
    scores: ValidationScores, mixture: Mixture, precision: float, below: float = math.inf
) -> float:
    """The lowest score from which so many labels are right, of those with scores `below` a value."""
    candidates = torch.cat([scores.top, *scores.others.values()]).double().sort().values  # ascending
    right, accepted = library_shares(scores, mixture, candidates)
    if below < math.inf:
        right_above, above = library_shares(scores, mixture, torch.tensor([below]))
        candidates = candidates[candidates < below]
        right, accepted = right[: len(candidates)] - right_above, accepted[: len(candidates)] - above
    precisions = right / accepted.clamp(min=LEAST_SHARE)
    sufficient = precisions >= precision
    if below < math.inf and not sufficient.any():
        return below
    index = int(sufficient.long().argmax()) if bool(sufficient.any()) else int(precisions.argmax())
    previous = candidates[index - 1] if index else candidates[index] * 0
    # Halfway to the next lower score, and rounded, so that rounding errors elsewhere change no outcome.
    return max(round(float((candidates[index] + previous) / 2), 4), LEAST_THRESHOLD)


def library_shares(scores: ValidationScores, mixture: Mixture, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of a library's photos with a right label and with any, by threshold (C,): float64 (C,).

    A kind without photos here counts as if it were like the other.
    """
    right = mixture.known * _shares_above(scores.top.where(scores.correct, -1), thresholds)
    accepted = mixture.known * _shares_above(scores.top, thresholds)
    kinds = list(scores.others.values())
    for kind, share in ((OTHERS, mixture.other), (ORDINARY, mixture.ordinary)) if kinds else ():
        accepted = accepted + share * tail_shares(scores.others.get(kind, kinds[0]), thresholds)
    return right, accepted


def library_precision(scores: ValidationScores, mixture: Mixture, threshold: float) -> float:
    """The share of the labels from a score on that are right in a library."""
    right, accepted = library_shares(scores, mixture, torch.tensor([threshold]))
    return float(right / accepted.clamp(min=LEAST_SHARE))


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
    def accepted_rightly(photos: ValidationScores) -> float:
        return float((photos.correct & (photos.top >= value)).double().mean())

    generator = torch.Generator().manual_seed(SEED)
    drawn = [scores.resampled(generator) for _ in range(RESAMPLES)]
    right = interval(accepted_rightly(scores), map(accepted_rightly, drawn))
    actual = interval(
        library_precision(scores, mixture, value), (library_precision(each, mixture, value) for each in drawn)
    )
    false_tags = {kind: float((highest >= value).double().mean()) for kind, highest in scores.others.items()}
    counts = "".join(f", {len(highest)} {kind}" for kind, highest in scores.others.items())
    reason = (
        f"lowest score with at least {100 * precision:g}% of accepted labels right in a library of {mixture} "
        "known landmarks, others and "
        f"anything else, estimated from {len(scores.top)} validation photos of landmarks{counts}: "
        f"{actual.value:.1%} right ({actual.low:.1%} to {actual.high:.1%}), "
        f"{right.value:.1%} of landmark photos accepted rightly ({right.low:.1%} to {right.high:.1%})"
        + "".join(f", {share:.1%} of {kind} accepted falsely" for kind, share in false_tags.items())
    )
    return Threshold(value, suggested_from, actual, right, false_tags, reason)
