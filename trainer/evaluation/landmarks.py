"""What a model makes of photos of its landmarks: how often it is right, how sure it is of it, which it takes for which."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tagger.artifact import Label
from trainer.evaluation.intervals import Measured, bootstrap, share_of
from trainer.evaluation.metrics import (
    ReliabilityBin,
    adaptive_calibration_errors,
    calibration_errors,
    confusion_counts,
    in_top_k,
    macro_accuracies,
    reliability,
)


@dataclass(frozen=True)
class LabelResult:
    """One label's photos: how many are named rightly, how many of those above the threshold, and what it is taken for most."""

    label: str
    name: str
    photos: int
    right: int
    accepted_right: int
    top1: Measured
    tagged_rightly: Measured
    taken_for: str | None
    taken_for_photos: int


@dataclass(frozen=True)
class Recognition:
    """Figures on the photos of landmarks, and what they were computed from."""

    top1: Measured
    top3: Measured
    top5: Measured
    macro_top1: Measured  # the mean over labels
    ece: Measured
    adaptive_ece: Measured
    accepted: Measured  # share with any accepted label
    accepted_right: Measured  # share with the right label accepted
    precision: Measured  # share of the accepted labels that are right
    bins: tuple[ReliabilityBin, ...]
    confusion: Tensor  # int64 (L, L), right label by predicted
    per_label: tuple[LabelResult, ...]
    scores: Tensor  # float32 (N,), the highest score of each photo
    predicted: Tensor  # int64 (N,), the label it belongs to
    targets: Tensor  # int64 (N,), the right one

    @property
    def correct(self) -> Tensor:
        """Whether each photo's first name is right, bool (N,)."""
        return self.predicted == self.targets


def measure_recognition(
    labels: Sequence[Label], scores: Tensor, targets: Tensor, threshold: float
) -> Recognition:
    """Compare scores, float32 (N, L), with the right labels, int64 (N,)."""
    top, predicted = scores.max(dim=1)
    correct, accepted = predicted == targets, top >= threshold
    return Recognition(
        top1=share_of(correct),
        top3=share_of(in_top_k(scores, targets, 3)),
        top5=share_of(in_top_k(scores, targets, 5)),
        macro_top1=bootstrap(partial(macro_accuracies, labels=len(labels)), (correct, targets)),
        ece=bootstrap(calibration_errors, (top, correct)),
        adaptive_ece=bootstrap(adaptive_calibration_errors, (top, correct)),
        accepted=share_of(accepted),
        accepted_right=share_of(accepted & correct),
        precision=share_of(correct[accepted]),
        bins=reliability(top, correct),
        confusion=confusion_counts(predicted, targets, len(labels)),
        per_label=_per_label(labels, predicted, targets, accepted),
        scores=top,
        predicted=predicted,
        targets=targets,
    )


def _per_label(
    labels: Sequence[Label], predicted: Tensor, targets: Tensor, accepted: Tensor
) -> tuple[LabelResult, ...]:
    confusion = confusion_counts(predicted, targets, len(labels)).fill_diagonal_(0)
    results = []
    for position, label in enumerate(labels):
        shown = targets == position
        right, tagged = predicted[shown] == position, accepted[shown]
        most = int(confusion[position].max())
        results.append(
            LabelResult(
                label=label.label,
                name=label.name,
                photos=len(right),
                right=int(right.sum()),
                accepted_right=int((right & tagged).sum()),
                top1=share_of(right),
                tagged_rightly=share_of(right & tagged),
                taken_for=labels[int(confusion[position].argmax())].name if most else None,
                taken_for_photos=most,
            )
        )
    return tuple(results)
