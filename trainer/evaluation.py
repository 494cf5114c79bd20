"""Evaluation of a model file on photos that it was not trained on: figures with confidence intervals.

docs/reference/evaluation.md has the formulas.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.errors import PathNotFound
from tagger.model.artifact import Label, Manifest, file_digest, read_manifest
from tagger.model.devices import Device, choose_device
from tagger.model.model import Model, load_model
from trainer import DataUnusable, photo_progress
from trainer.data import (
    LabelledPhoto,
    find_labelled_photos,
    find_ordinary_photos,
    find_other_landmarks,
    image_digest,
    label_folders,
    label_of,
    warn_of_label_conflicts,
)
from trainer.data.inspection import FEW
from trainer.data.preparation import DIGEST_LENGTH, decode_batches, trained_photos
from trainer.options import ORDINARY, OTHERS, Mixture

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Evaluation:
    manifest: Manifest
    digest: str
    device: Device
    photos: int
    unreadable: int
    skipped: dict[str, int]  # photos by label that the model lacks
    trained: int  # photos left out because they, or others of their landmark, were in training
    recognition: Recognition
    rejection: Rejection | None
    false_tags_by_kind: dict[str, float]  # shares of `ORDINARY` and `OTHERS`
    other_photos: int
    other_landmarks: int
    library: LibraryResult | None
    mistakes: tuple[Mistake, ...]
    false_tags: tuple[Mistake, ...]


def evaluate(
    artifact: Path,
    data: Path,
    distractors: Path | None,
    others: Path | None,
    *,
    mixture: Mixture,
    device: str,
) -> Evaluation:
    """Evaluate the artifact on `data`/test or `data`, on distractors, and for a library.

    Photos that were in training do not count.

    `distractors` is a folder of ordinary photos, `others` one with LANDMARK/photo.jpg of other landmarks;
    those with a label are left out. The library shows `mixture`.

    Raises:
        ModelRefused, PathNotFound, DataUnusable: with what to change.
    """
    manifest, digest = read_manifest(artifact), file_digest(artifact)
    test_photos, skipped = _photos_of(data, manifest)
    ordinary = find_ordinary_photos(distractors) if distractors else ()
    labels = {
        name
        for label in manifest.labels
        for name in (label_of(label.label), label.slug)
    }
    other = (
        [photo for photo in find_other_landmarks(others) if photo.place not in labels]
        if others
        else []
    )
    digests = {
        photo: image_digest(photo.path) for photo in (*test_photos, *ordinary, *other)
    }
    warn_of_label_conflicts((digest, photo) for photo, digest in digests.items())
    learnt = trained_photos(manifest)
    trained = {
        photo
        for photo, digest in digests.items()
        if (digest or "")[:DIGEST_LENGTH] in learnt
    }
    known_places = {photo.place for photo in other if photo in trained}
    trained |= {photo for photo in other if photo.place in known_places}
    photos = [photo for photo in test_photos if photo not in trained]
    if not photos:
        raise _unusable(data, "all of its photos were in training")
    strangers = [photo for photo in (*ordinary, *other) if photo not in trained]
    chosen = choose_device(device, None)
    reference = Device(chosen.kind, "float32", chosen.batch_size)
    model = load_model(artifact, digest, manifest, reference)
    rows, scores = score_photos(
        [photo.path for photo in photos],
        model,
        "scoring test photos",
    )
    if not rows:
        raise _unusable(data, "none of its photos can be read")
    unreadable, photos = len(photos) - len(rows), [photos[row] for row in rows]
    positions = {
        label_of(label.label): position
        for position, label in enumerate(manifest.labels)
    }
    targets = torch.tensor([positions[photo.label] for photo in photos])
    rows, other_scores = score_photos(
        [photo.path for photo in strangers], model, "scoring distractors"
    )
    strangers = [strangers[row] for row in rows]

    names, threshold = [label.name for label in manifest.labels], manifest.threshold
    suggested_from = manifest.suggestion_threshold or threshold
    none_of_them = torch.full((len(strangers),), len(names))
    recognition = measure_recognition(
        manifest.labels, scores, targets, threshold, suggested_from
    )
    folders = [OTHERS if photo.place else photo.kind or "." for photo in strangers]
    top, correct, other_top = (
        recognition.scores,
        recognition.correct,
        other_scores.amax(dim=1),
    )
    is_other = torch.tensor(
        [photo.place is not None for photo in strangers],
        dtype=torch.bool,
    )
    kinds = {ORDINARY: other_top[~is_other], OTHERS: other_top[is_other]}
    return Evaluation(
        manifest=manifest,
        digest=digest,
        device=reference,
        photos=len(targets),
        unreadable=unreadable,
        skipped=skipped,
        trained=len(trained),
        recognition=recognition,
        rejection=measure_rejection(other_top, folders, threshold),
        false_tags_by_kind={
            kind: float((each >= threshold).float().mean())
            for kind, each in kinds.items()
            if len(each)
        },
        other_photos=int(is_other.sum()),
        other_landmarks=len({photo.place for photo in strangers} - {None}),
        library=measure_library(
            correct,
            top >= threshold,
            kinds[OTHERS] >= threshold,
            kinds[ORDINARY] >= threshold,
            mixture,
        ),
        mistakes=confident_mistakes(
            names, [photo.path for photo in photos], scores, targets
        ),
        false_tags=confident_mistakes(
            names,
            [photo.path for photo in strangers],
            other_scores,
            none_of_them,
            least_score=threshold,
        ),
    )


def _photos_of(
    data: Path, manifest: Manifest
) -> tuple[list[LabelledPhoto], dict[str, int]]:
    # The photos with labels of the model, and the number of other photos by label.
    if not data.is_dir():
        raise PathNotFound(path=data)
    folder = data / "test" if (data / "test").is_dir() else data
    model_labels = {label_of(label.label) for label in manifest.labels}
    photos, skipped = [], dict[str, int]()
    for photo in find_labelled_photos(folder):
        if photo.label in model_labels:
            photos.append(photo)
        else:
            skipped[photo.label] = skipped.get(photo.label, 0) + 1
    for label, count in skipped.items():
        log.warning(
            "the model has no label %s: its photos are skipped (%d)", label, count
        )
    if not photos:
        names = ", ".join(entry.name for entry in label_folders(folder)[:3]) or "none"
        raise _unusable(
            data, f"no label folder matches a label of the model (folders: {names})"
        )
    return photos, skipped


def _unusable(data: Path, reason: str) -> DataUnusable:
    remedy = (
        f"Lay out photos as {data}/test/LABEL/photo.jpg or {data}/LABEL/photo.jpg, "
        "with the labels of the model"
    )
    return DataUnusable(path=data, reason=reason, remedy=remedy)


def score_photos(
    paths: Sequence[Path],
    model: Model,
    description: str,
) -> tuple[list[int], Tensor]:
    """The positions of the readable photos, and their scores, float32 (N, L). Others get a warning.

    Args:
        paths: the photos
        model: the model
        description: of the progress bar
    """
    rows: list[int] = []
    parts = [np.empty((0, len(model.manifest.labels)), dtype=np.float32)]
    with photo_progress(description, len(paths)) as advance:
        for batch in decode_batches(
            paths, model.manifest.input.resize, model.batch_size
        ):
            parts.append(model.outputs(batch.pixels).scores)
            rows += batch.positions
            advance(len(batch.positions))
    return rows, torch.from_numpy(np.concatenate(parts))


# The accuracy of a model: on its landmarks, on distractors, which show none, and its worst
# mistakes.

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
    photos: int
    false_tags: Estimate  # share with a tag at the threshold


@dataclass(frozen=True)
class Rejection:
    """Figures on all distractors, and by the top-level folder they are in (`.` if in none)."""

    overall: DistractorResult
    by_folder: dict[str, DistractorResult]


@dataclass(frozen=True)
class LibraryResult:
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
    labels: Sequence[Label],
    scores: Tensor,
    targets: Tensor,
    threshold: float,
    suggested_from: float,
) -> Recognition:
    """Compare scores, float32 (N, L), with the right labels, int64 (N,)."""
    top, predicted = scores.max(dim=1)
    correct, accepted = predicted == targets, top >= threshold
    # Photos by right label (row) and predicted label (column), int64 (L, L), the right ones left out.
    count = len(labels)
    pairs = torch.bincount(targets * count + predicted, minlength=count * count)
    mistakes = pairs.reshape(count, count).fill_diagonal_(0)
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
                taken_for=labels[int(mistakes[position].argmax())].name
                if most
                else None,
                taken_for_photos=most,
            )
        )
    return Recognition(
        top1=estimate_share(correct),
        top3=estimate_share(in_top_k(scores, targets, 3)),
        top5=estimate_share(in_top_k(scores, targets, 5)),
        ece=bootstrap(calibration_errors, (top, correct)),
        accepted=estimate_share(accepted),
        accepted_right=estimate_share(accepted & correct),
        suggested_right=estimate_share(correct & (top >= suggested_from)),
        precision_at_threshold=estimate_share(correct[accepted]),
        per_label=tuple(results),
        scores=top,
        predicted=predicted,
        targets=targets,
    )


def measure_rejection(
    scores: Tensor, folders: Sequence[str], threshold: float
) -> Rejection | None:
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
    correct: Tensor,
    accepted: Tensor,
    others: Tensor,
    ordinary: Tensor,
    mixture: Mixture,
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

    def tags(
        right: Tensor,
        known: Tensor,
        other: Tensor,
        rest: Tensor,
    ) -> tuple[Tensor, Tensor]:
        shares = (
            (mixture.known, known),
            (mixture.other, other),
            (
                mixture.ordinary,
                rest,
            ),
        )
        every = sum(
            (share * kind.double().mean(dim=1) for share, kind in shares),
            torch.zeros(1),
        )
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
    names: Sequence[str],
    paths: Sequence[Path],
    scores: Tensor,
    targets: Tensor,
    *,
    least_score: float = 0.0,
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


# Metrics of predictions, with 95 % confidence intervals; docs/reference/evaluation.md has the
# formulas.
#
# Shares of photos have Wilson's score interval, all other figures a percentile bootstrap. Functions
# with a plural name take rows of photos, (R, N), and return a figure per row: the figure and its
# resamples.

RESAMPLES = 1000
SEED = 0
_Z = 1.959964
_TAILS = (0.025, 0.975)
# The most photos sampled at once. Larger resamples are split into blocks, to limit memory.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def estimate_share(is_part: Tensor) -> Estimate:
    """The share of photos for which `is_part`, bool (N,), holds; 0 without photos."""
    count = len(is_part)
    share = int(is_part.sum()) / count if count else 0.0
    return Estimate(share, *wilson_interval(share, count))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The interval of a share measured on `count` photos (Wilson's score interval)."""
    if count == 0:
        return 0.0, 1.0
    centre = (share + _Z * _Z / (2 * count)) / (1 + _Z * _Z / count)
    variance = share * (1 - share) / count + _Z * _Z / (4 * count * count)
    spread = _Z * math.sqrt(variance) / (1 + _Z * _Z / count)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def bootstrap(figure: Callable[..., Tensor], *groups: tuple[Tensor, ...]) -> Estimate:
    """A figure, and the middle 95 % of its values on `RESAMPLES` resamples of the photos, with a fixed seed.

    Args:
        figure: maps the groups' tensors as rows, each (R, N), to a figure per row, float (R,)
        groups: tensors (N,) about the same photos; photos are resampled within their group
    """
    generator = torch.Generator().manual_seed(SEED)
    sizes = [len(group[0]) for group in groups]
    rows = max(1, _BLOCK // max(1, *sizes))
    resampled = []
    for first in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - first)
        indices = [
            torch.randint(max(1, size), (count, size), generator=generator)
            for size in sizes
        ]
        resampled.append(figure(*_select(groups, indices)))
    whole = figure(
        *_select(groups, [torch.arange(size)[None] for size in sizes])
    ).item()
    return interval(whole, torch.cat(resampled).tolist())


def interval(value: float, resampled: Iterable[float]) -> Estimate:
    values = torch.tensor(list(resampled), dtype=torch.float64)
    low, high = values.quantile(torch.tensor(_TAILS, dtype=torch.float64)).tolist()
    return Estimate(value, low, high)


def _select(
    groups: tuple[tuple[Tensor, ...], ...], indices: list[Tensor]
) -> list[Tensor]:
    return [
        values[index]
        for group, index in zip(groups, indices, strict=True)
        for values in group
    ]


RELIABILITY_BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos with a top score in one part of 0…1: their mean score and the share that is right."""

    confidence: float
    right: Estimate


def top_k_accuracy(scores: Tensor, targets: Tensor, k: int) -> float:
    return in_top_k(scores, targets, k).double().mean().item()


def in_top_k(scores: Tensor, targets: Tensor, k: int) -> Tensor:
    """Whether the right label is among the `k` best, bool (N,).

    Args:
        scores: float (N, L)
        targets: int64 (N,), the right label of each
        k: the number of labels to accept; at most all labels
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices  # int64 (N, k)
    return (best == targets[:, None]).any(dim=1)


def reliability(confidence: Tensor, correct: Tensor) -> tuple[ReliabilityBin, ...]:
    """Group top scores and whether they are right, both (N,), into bins of equal width."""
    numbers = _bin_numbers(confidence)
    groups = [numbers == number for number in torch.unique(numbers)]
    return tuple(
        ReliabilityBin(
            confidence[group].double().mean().item(),
            estimate_share(correct[group]),
        )
        for group in groups
    )


def calibration_errors(confidence: Tensor, correct: Tensor) -> Tensor:
    """The expected calibration error with bins of equal width, of rows (R, N), float64 (R,)."""
    distance = confidence.double() - correct.double()

    # The sum of the values, float64 (R, N), in each group, float64 (R, count).
    groups = _bin_numbers(confidence)
    sums = distance.new_zeros(len(distance), RELIABILITY_BINS).scatter_add_(
        1, groups, distance
    )

    return sums.abs().sum(dim=1) / confidence.shape[1]


def _bin_numbers(confidence: Tensor) -> Tensor:
    return (confidence * RELIABILITY_BINS).long().clamp(0, RELIABILITY_BINS - 1)


# How the recipe of a model begins that was taught, and not trained.
TAUGHT = "taught"
# The most landmarks named in one line.
LISTED = 10
FEW_TO_TEACH = 5
# With fewer photos of other landmarks, or of fewer of them, nothing is known of false names.
LEAST_OTHER_PHOTOS, LEAST_OTHER_PLACES = 20, 10
# A model is good enough from these shares on: of photos with the right tag, and of right tags.
LEAST_RIGHT_TAGS = 0.7
LEAST_PRECISION = 0.9


@dataclass(frozen=True)
class Assessment:
    """The figures that decide the answer. `photos_of`: the training photos of each landmark, if known."""

    kind: str  # "validation" or "test"
    photos: int
    top1: float
    right_tags: float  # share of the photos
    precision: float  # share of the tags of these photos that are right
    false_tags: Mapping[str, float]  # by kind of photos without a landmark
    is_tested: bool  # on enough photos of other landmarks
    photos_of: Mapping[str, int]
    few: int = FEW  # landmarks with fewer photos have too few
    trained: int = 0  # photos that were left out because they were in training
    library_precision: float | None = None  # that in a library that shows `mixture`
    mixture: str = ""

    @property
    def is_insufficient(self) -> bool:
        """Whether enough photos were tested, and figures are too low, or all landmarks lack photos."""
        precision = (
            self.precision if self.library_precision is None else self.library_precision
        )
        enough = self.right_tags >= LEAST_RIGHT_TAGS and precision >= LEAST_PRECISION
        return self.photos >= FEW and (not enough or self._lacks_photos)

    def lines(self, next_step: str) -> Iterator[str]:
        """The figures, the answer, and the next step: `next_step`, unless the model is not good enough."""
        if self.trained:
            left_out = "are left out, because they, or others of their landmark, were in training"
            yield f"{self.trained} photos {left_out}"
        yield (
            f"{self.photos} {self.kind} photos of landmarks: {_percent(self.top1)} have the right first "
            f"prediction, {_percent(self.right_tags)} get the right tag"
        )
        yield f"of their tags, {_percent(self.precision)} are right"
        if self.library_precision is not None:
            kinds = "the model's landmarks, of others and of anything else"
            library = f"of the tags in a library of {self.mixture} photos of {kinds}"
            yield f"{library}, {_percent(self.library_precision)} are right"
        for kind, share in self.false_tags.items():
            yield f"{kind}: {_percent(share)} get a false tag"
        if self._few:
            counts = [f"{name} ({count})" for name, count in self._few.items()]
            more = f" and {len(counts) - LISTED} more" if len(counts) > LISTED else ""
            few = f"too few photos of {', '.join(counts[:LISTED])}{more}"
            yield f"{few}; add some, to {self.few} or more each, then train again"
        yield self._answer()
        yield f"next: {'add photos, then train again' if self.is_insufficient else next_step}"

    def _answer(self) -> str:
        if self.photos < FEW:
            needed = f"{FEW} {self.kind} photos of landmarks are needed"
            return f"not known whether it is good enough to use: {needed}"
        if self._lacks_photos:
            return "not good enough to use yet: every landmark has too few photos"
        if self.is_insufficient:
            return (
                "not good enough to use: at least "
                f"{100 * LEAST_RIGHT_TAGS:.0f} % of the photos should get the right tag, "
                f"and {100 * LEAST_PRECISION:.0f} % of the tags should be right"
            )
        if not self.is_tested:
            return (
                "not known whether it is good enough to use: at least "
                f"{LEAST_OTHER_PHOTOS} photos of {LEAST_OTHER_PLACES} "
                "other landmarks that were not in training are needed, in --others"
            )
        return (
            f"good enough to use{', apart from these landmarks' if self._few else ''}"
        )

    @property
    def _few(self) -> dict[str, int]:
        return {
            name: count for name, count in self.photos_of.items() if count < self.few
        }

    @property
    def _lacks_photos(self) -> bool:
        return bool(self._few) and len(self._few) == len(self.photos_of)


def assess_evaluation(evaluation: Evaluation) -> Assessment:
    recognition, library = evaluation.recognition, evaluation.library
    return Assessment(
        kind="test",
        photos=evaluation.photos,
        top1=recognition.top1.value,
        right_tags=recognition.accepted_right.value,
        precision=recognition.precision_at_threshold.value,
        false_tags=evaluation.false_tags_by_kind,
        is_tested=are_tested(evaluation.other_photos, evaluation.other_landmarks),
        photos_of=photos_of_landmarks(evaluation.manifest.training),
        few=least_photos(evaluation.manifest.training),
        trained=evaluation.trained,
        library_precision=library.precision.value if library else None,
        mixture=library.mixture if library else "",
    )


def are_tested(photos: int, places: int) -> bool:
    """Whether so many photos of so many other landmarks say how many such photos get a tag."""
    return photos >= LEAST_OTHER_PHOTOS and places >= LEAST_OTHER_PLACES


def least_photos(training: Mapping[str, object]) -> int:
    return FEW_TO_TEACH if str(training.get("recipe", "")).startswith(TAUGHT) else FEW


def photos_of_landmarks(training: Mapping[str, object]) -> dict[str, int]:
    """The training photos of each landmark; empty for models of earlier versions, which do not state them."""
    counts = training.get("photos_of_landmarks")
    return (
        {str(name): int(count) for name, count in counts.items()}
        if isinstance(counts, dict)
        else {}
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
