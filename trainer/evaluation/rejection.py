"""What a model makes of photos that show none of its landmarks: all of them, and folder by folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trainer.evaluation.intervals import Measured, at_least_as_wide, bootstrap, share_of, wilson_interval
from trainer.evaluation.metrics import aurocs, false_positive_rates_at

RECALL = 0.95


@dataclass(frozen=True)
class Distractors:
    """How some photos of no landmark are told from those of landmarks, by the highest score alone."""

    photos: int
    auroc: Measured
    fpr_at_95_recall: Measured
    false_tags: Measured  # share with a tag at the threshold


@dataclass(frozen=True)
class Rejection:
    """All distractors together, and those of each folder directly in theirs (`.`: those beside these folders)."""

    whole: Distractors
    by_folder: dict[str, Distractors]
    scores: Tensor  # float32 (M,), the highest score of each


def measure_rejection(
    of_landmarks: Tensor, scores: Tensor, folders: Sequence[str], threshold: float
) -> Rejection | None:
    """Compare the highest scores of landmark photos, float32 (N,), with those of distractors, float32 (M,), which lie in `folders`.

    None where there are no distractors.
    """
    if not len(scores):
        return None
    by_folder = {}
    for name in sorted(set(folders)):
        inside = torch.tensor([folder == name for folder in folders])
        by_folder[name] = _measure(of_landmarks, scores[inside], threshold)
    return Rejection(_measure(of_landmarks, scores, threshold), by_folder, scores)


def _measure(of_landmarks: Tensor, scores: Tensor, threshold: float) -> Distractors:
    rate = bootstrap(partial(false_positive_rates_at, RECALL), (of_landmarks,), (scores,))
    return Distractors(
        photos=len(scores),
        auroc=bootstrap(aurocs, (of_landmarks,), (scores,)),
        # Where none of the few distractors is taken for a landmark, none is in any resample either.
        fpr_at_95_recall=at_least_as_wide(rate, wilson_interval(rate.value, len(scores))),
        false_tags=share_of(scores >= threshold),
    )
