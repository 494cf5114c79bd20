"""The accuracy of a model: on its landmarks, on distractors, which show none, and its worst mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tagger.model.artifact import Label
from trainer.evaluation.metrics import (
    Estimate,
    bootstrap,
    calibration_errors,
    confusion_counts,
    estimate_share,
    in_top_k,
)
from trainer.evaluation.mixture import Mixture

# The mistakes that fit on one sheet.
MOST_MISTAKES = 24


@dataclass(frozen=True)
class LabelResult:
    """Figures on the photos of one label; `taken_for` is the landmark most often predicted by mistake."""

    label: str
    name: str
    photos: int
    right: int
    accepted_right: int
    top1: Estimate
    taken_for: str | None
    taken_for_photos: int


@dataclass(frozen=True)
class Recognition:
    """Figures on photos of landmarks, and the data they are computed from."""

    top1: Estimate
    top3: Estimate
    top5: Estimate
    ece: Estimate
    accepted: Estimate  # share with an accepted label
    accepted_right: Estimate  # share with the right label accepted
    suggested_right: Estimate  # share with the right label accepted or suggested
    precision_at_threshold: Estimate  # share of the accepted labels that are right
    per_label: tuple[LabelResult, ...]
    scores: Tensor  # float32 (N,), the highest score of each photo
    predicted: Tensor  # int64 (N,), its label
    targets: Tensor  # int64 (N,), the right label

    @property
    def correct(self) -> Tensor:
        """Whether each photo's first prediction is right, bool (N,)."""
        return self.predicted == self.targets


@dataclass(frozen=True)
class DistractorResult:
    """Figures on photos that show none of the landmarks."""

    photos: int
    false_tags: Estimate  # share with a tag at the threshold


@dataclass(frozen=True)
class Rejection:
    """Figures on all distractors, and by the top-level folder they are in (`.` if in none)."""

    overall: DistractorResult
    by_folder: dict[str, DistractorResult]


@dataclass(frozen=True)
class LibraryResult:
    """Figures for a library that shows a mixture of the model's landmarks, others, and anything else."""

    mixture: str
    precision: Estimate  # share of the tags in it that are right
    false_tags: Estimate  # share of all its photos with a wrong tag
    other_photos: int
    other_false_tags: Estimate
    ordinary_photos: int
    ordinary_false_tags: Estimate


@dataclass(frozen=True)
class Mistake:
    """A photo with a wrong first prediction. `shown` is None if it shows none of the landmarks."""

    path: Path
    shown: str | None
    predicted: str
    score: float


def measure_recognition(
    labels: Sequence[Label], scores: Tensor, targets: Tensor, threshold: float, suggested_from: float
) -> Recognition:
    """Compare scores, float32 (N, L), with the right labels, int64 (N,)."""
    top, predicted = scores.max(dim=1)
    correct, accepted = predicted == targets, top >= threshold
    return Recognition(
        top1=estimate_share(correct),
        top3=estimate_share(in_top_k(scores, targets, 3)),
        top5=estimate_share(in_top_k(scores, targets, 5)),
        ece=bootstrap(calibration_errors, (top, correct)),
        accepted=estimate_share(accepted),
        accepted_right=estimate_share(accepted & correct),
        suggested_right=estimate_share(correct & (top >= suggested_from)),
        precision_at_threshold=estimate_share(correct[accepted]),
        per_label=_per_label(labels, predicted, targets, accepted),
        scores=top,
        predicted=predicted,
        targets=targets,
    )


def _per_label(
    labels: Sequence[Label], predicted: Tensor, targets: Tensor, accepted: Tensor
) -> tuple[LabelResult, ...]:
    mistakes = confusion_counts(predicted, targets, len(labels)).fill_diagonal_(0)
    results = []
    for position, label in enumerate(labels):
        photos = targets == position
        right, tagged = predicted[photos] == position, accepted[photos]
        most = int(mistakes[position].max())
        results.append(
            LabelResult(
                label=label.label,
                name=label.name,
                photos=len(right),
                right=int(right.sum()),
                accepted_right=int((right & tagged).sum()),
                top1=estimate_share(right),
                taken_for=labels[int(mistakes[position].argmax())].name if most else None,
                taken_for_photos=most,
            )
        )
    return tuple(results)


def measure_rejection(scores: Tensor, folders: Sequence[str], threshold: float) -> Rejection | None:
    """Count false tags by the highest scores of distractors; None if there are none.

    Args:
        scores: float32 (M,)
        folders: the folder of each
        threshold: the score from which a label is accepted
    """
    if not len(scores):
        return None
    is_tag = scores >= threshold
    by_folder = {}
    for name in sorted(set(folders)):
        tags = is_tag[torch.tensor([folder == name for folder in folders])]
        by_folder[name] = DistractorResult(len(tags), estimate_share(tags))
    return Rejection(DistractorResult(len(is_tag), estimate_share(is_tag)), by_folder)


def measure_library(
    correct: Tensor, accepted: Tensor, others: Tensor, ordinary: Tensor, mixture: Mixture
) -> LibraryResult | None:
    """Weight the photos of each kind as in the mixture; None if a kind has no photos.

    Args:
        correct: bool (N,), whether the first prediction for a landmark photo is right
        accepted: bool (N,), whether it is a tag
        others: bool (M,), whether a photo of another landmark has a tag
        ordinary: bool (K,), whether an ordinary photo has a tag
        mixture: the shares of the three kinds
    """
    if not len(ordinary) or not len(others):
        return None
    groups = (correct & accepted, accepted), (others,), (ordinary,)

    def tags(right: Tensor, known: Tensor, other: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        shares = (mixture.known, known), (mixture.other, other), (mixture.ordinary, rest)
        every = sum((share * kind.double().mean(dim=1) for share, kind in shares), torch.zeros(1))
        return mixture.known * right.double().mean(dim=1), every

    def precisions(*kinds: Tensor) -> Tensor:
        right, every = tags(*kinds)
        return torch.where(every > 0, right / every, 1.0)

    def wrong_shares(*kinds: Tensor) -> Tensor:
        right, every = tags(*kinds)
        return every - right

    return LibraryResult(
        mixture=str(mixture),
        precision=bootstrap(precisions, *groups),
        false_tags=bootstrap(wrong_shares, *groups),
        other_photos=len(others),
        other_false_tags=estimate_share(others),
        ordinary_photos=len(ordinary),
        ordinary_false_tags=estimate_share(ordinary),
    )


def confident_mistakes(
    names: Sequence[str], paths: Sequence[Path], scores: Tensor, targets: Tensor, *, least_score: float = 0.0
) -> tuple[Mistake, ...]:
    """The mistakes with the highest scores, in descending order.

    Args:
        names: the names of the labels
        paths: the photos
        scores: float32 (N, L)
        targets: int64 (N,); L if a photo shows none of the landmarks
        least_score: predictions with lower scores are not mistakes
    """
    top, predicted = scores.max(dim=1)
    wrong = (predicted != targets) & (top >= least_score)
    count = min(MOST_MISTAKES, int(wrong.sum()))
    order = top.masked_fill(~wrong, -1).argsort(descending=True, stable=True)[:count]
    return tuple(
        Mistake(
            path=paths[row],
            shown=names[int(targets[row])] if int(targets[row]) < len(names) else None,
            predicted=names[int(predicted[row])],
            score=top[row].item(),
        )
        for row in order.tolist()
    )
