"""The threshold and the curve of scores: as documented, or from ordinary photos and labelled ones.

A similarity is no probability. Without photos, the threshold is a similarity of 0.9, as in Nextcloud Recognize, and nothing is known of false names.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tagger.model.artifact import BackgroundStatistics, Label
from tagger.photos.decoding import Resize
from tagger.system.names import slug_of_name
from trainer.data.folders import find_labelled_photos, find_ordinary_photos
from trainer.data.gazetteer import labels_with_landmarks
from trainer.data.pixels import decode_batches, readers_of
from trainer.errors import DataUnusable
from trainer.imports.landmark_graph import SIZE
from trainer.imports.similarity import Curve, SimilarityClassifier
from trainer.learning.scoring import fit_logistic
from trainer.progress import photo_progress

THRESHOLD = 0.9
FALSE_NAMES = 0.01
STEP = 0.001
"""Thresholds from photos are rounded up to this."""
BATCH_SIZE = 8
LEAST_RIGHT = 20
"""Photos with the right name, from which a curve can be fitted."""
OTHERS_SHARE = 0.05
"""The share of ordinary photos that scores are calibrated for."""
LEAST_UNKNOWN = 100
"""Ordinary photos that are enough for a share of false names and for background statistics."""
SCORE_RANGE = 1e-4, 0.9999

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class CalibrationPhotos:
    """What to calibrate with. `threshold`: a similarity. `false_names`: the share of `unknown` photos that may get a name."""

    threshold: float | None
    unknown: Path | None
    photos: Path | None
    false_names: float


@dataclass(frozen=True)
class Calibration:
    """`similarity`: the threshold. `background`: that of ordinary photos, if there are enough."""

    method: str
    reason: str
    similarity: float
    curve: Curve
    metrics: Mapping[str, float] = field(default_factory=dict)
    background: BackgroundStatistics | None = None

    @property
    def threshold(self) -> float:
        """The score at the threshold."""
        low, high = SCORE_RANGE
        return round(min(max(self.curve.score(self.similarity), low), high), 6)


@dataclass(frozen=True)
class _Best:
    """The best label of photos: float64 (N,) similarities, int64 (N,) labels, and the embeddings (N, D)."""

    positions: tuple[int, ...]
    similarities: Tensor
    labels: Tensor
    embeddings: npt.NDArray[np.float32]


def calibrate(
    classifier: SimilarityClassifier, labels: Sequence[Label], options: CalibrationPhotos
) -> Calibration:
    """Choose the threshold, and fit the curve if there are labelled photos.

    Raises:
        PathNotFound, DataUnusable, DataFileInvalid: the photos cannot be used.
    """
    similarity = options.threshold or THRESHOLD
    reason = f"a similarity of {similarity:g}; no photos were given, so the share of false names is unknown"
    unknown, metrics = None, dict[str, float]()
    if options.unknown:
        unknown = _best_of_unknown(classifier, options.unknown)
        if options.threshold is None:
            similarity = lowest_threshold(unknown.similarities, options.false_names)
        named = float((unknown.similarities >= similarity).double().mean())
        count = len(unknown.similarities)
        metrics |= {"unknown_photos": float(count), "unknown_false_names_at_threshold": named}
        asked = "as given" if options.threshold else f"at most {options.false_names:.1%} were asked for"
        reason = f"a similarity of {similarity:g}, at which {named:.1%} of {count} ordinary photos get a name ({asked})"
    source = "as given" if options.threshold else "from ordinary photos" if unknown else "as documented"
    method, curve = f"documented curve, threshold {source}", Curve.through(similarity)
    if options.photos:
        right, best, figures = _measure(classifier, labels, options.photos, similarity)
        metrics |= figures
        others = unknown.similarities if unknown else torch.empty(0, dtype=torch.float64)
        if int(right.sum()) >= LEAST_RIGHT:
            outcomes = torch.cat([right, torch.zeros(len(others), dtype=torch.bool)])
            curve = Curve(*fit_logistic(torch.cat([best.similarities, others]), outcomes, OTHERS_SHARE))
            method = "fitted on labelled photos"
        else:
            log.warning(
                "the curve is the documented one: only %d labelled photos have the right name, and %d are needed",
                *(int(right.sum()), LEAST_RIGHT),
            )
    enough = unknown is not None and len(unknown.embeddings) >= LEAST_UNKNOWN
    background = BackgroundStatistics.measured(unknown.embeddings) if unknown and enough else None
    return Calibration(method, reason, similarity, curve, metrics, background)


def lowest_threshold(similarities: Tensor, false_names: float) -> float:
    """The lowest similarity at which no more than a share of ordinary photos, float64 (N,), get a name."""
    highest = similarities.sort(descending=True).values
    allowed = min(math.floor(false_names * len(highest)), len(highest) - 1)
    above = (math.floor(highest[allowed].item() / STEP) + 1) * STEP
    return min(max(round(above, 6), STEP), 1 - STEP)


def _best_of_unknown(classifier: SimilarityClassifier, folder: Path) -> _Best:
    paths = [photo.path for photo in find_ordinary_photos(folder)]
    best = _best(classifier, paths, "ordinary photos")
    if len(best.positions) < 2:
        remedy = "Name a folder with a few hundred ordinary photos"
        raise DataUnusable(path=folder, reason="it has no two readable photos", remedy=remedy)
    if len(best.positions) < LEAST_UNKNOWN:
        log.warning("%d ordinary photos say little: use a few hundred", len(best.positions))
    return best


def _measure(
    classifier: SimilarityClassifier, labels: Sequence[Label], folder: Path, similarity: float
) -> tuple[Tensor, _Best, dict[str, float]]:
    """Whether the best label of each labelled photo is right, bool (N,), the best labels, and figures."""
    labelled = find_labelled_photos(folder)
    known: dict[str, set[int]] = {}
    for position, label in enumerate(labels):
        known.setdefault(slug_of_name(label.name) or label.name, set()).add(position)
    answers: dict[str, set[int]] = {}
    for landmark in labels_with_landmarks(sorted({str(photo.label) for photo in labelled}), folder):
        names = {landmark.name, *landmark.names.values(), *landmark.aliases}
        answers[landmark.label] = set().union(*(known.get(slug_of_name(name) or name, ()) for name in names))
    missing = [label for label, positions in answers.items() if not positions]
    if missing:
        log.warning("left out: %d landmarks that the model has no name of, like %s", len(missing), missing[0])
    photos = [photo for photo in labelled if answers[str(photo.label)]]
    best = _best(classifier, [photo.path for photo in photos], "labelled photos")
    if not best.positions:
        remedy = (
            "Name a folder with LABEL/photo.jpg, where LABEL is a name of the model or landmarks.csv has it"
        )
        raise DataUnusable(
            path=folder, reason="it has no readable photo of a landmark of the model", remedy=remedy
        )
    right = torch.tensor(
        [
            predicted in answers[str(photos[position].label)]
            for position, predicted in zip(best.positions, best.labels.tolist(), strict=True)
        ]
    )
    accepted = best.similarities >= similarity
    figures = {
        "photos": float(len(right)),
        "top1": float(right.double().mean()),
        "accepted_rightly": float((right & accepted).double().mean()),
        "accepted_wrongly": float((~right & accepted).double().mean()),
    }
    return right, best, figures


@torch.inference_mode()
def _best(classifier: SimilarityClassifier, paths: Sequence[Path], description: str) -> _Best:
    positions: list[int] = []
    similarities, labels, embeddings = [torch.empty(0)], [torch.empty(0, dtype=torch.int64)], [torch.empty(0)]
    with photo_progress(description, len(paths)) as advance:
        for batch in decode_batches(readers_of(paths), Resize(SIZE, SIZE, "stretch"), BATCH_SIZE):
            values, embedded = classifier.similarities(batch.images)
            highest, best = values.max(dim=1)
            positions += batch.positions
            similarities.append(highest)
            labels.append(best)
            embeddings = [*embeddings, embedded] if embeddings[0].numel() else [embedded]
            advance(len(batch.positions))
    return _Best(
        tuple(positions), torch.cat(similarities).double(), torch.cat(labels), torch.cat(embeddings).numpy()
    )
