"""The threshold: the documented similarity, one that was given, or one from ordinary photos.

A similarity is no probability. Without photos, the threshold is 0.9, as in Nextcloud Recognize.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from tagger.model.artifact import BackgroundStatistics
from tagger.photos.decoding import Resize
from trainer.data.folders import find_ordinary_photos
from trainer.data.pixels import decode_batches
from trainer.errors import DataUnusable
from trainer.imports.landmark_graph import SIZE
from trainer.imports.similarity import SimilarityClassifier
from trainer.progress import photo_progress

THRESHOLD = 0.9
# The share of ordinary photos that may get a name.
FALSE_NAMES = 0.01
# Thresholds from photos are rounded up to this.
STEP = 0.001
BATCH_SIZE = 8
# Ordinary photos that are enough for a share of false names and for background statistics.
LEAST_UNKNOWN = 100

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class Calibration:
    """`similarity`: the threshold, and why. `background`: that of ordinary photos, if there are enough."""

    similarity: float
    source: str
    reason: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    background: BackgroundStatistics | None = None


def calibrate(classifier: SimilarityClassifier, threshold: float | None, unknown: Path | None) -> Calibration:
    """Choose the threshold, unless a similarity was given, with the photos of the folder `unknown`, if any.

    Raises:
        PathNotFound, DataUnusable: the photos cannot be used.
    """
    source = "as given" if threshold else "from ordinary photos" if unknown else "as documented"
    if unknown is None:
        similarity = threshold or THRESHOLD
        reason = (
            f"a similarity of {similarity:g}; no photos were given, so the share of false names is unknown"
        )
        return Calibration(similarity, source, reason)
    similarities, embeddings = _score_photos(classifier, unknown)
    similarity = threshold or lowest_threshold(similarities, FALSE_NAMES)
    named, count = float((similarities >= similarity).double().mean()), len(similarities)
    asked = "as given" if threshold else f"at most {FALSE_NAMES:.1%} are allowed"
    named_text = f"at which {named:.1%} of {count} ordinary photos get a name"
    reason = f"a similarity of {similarity:g}, {named_text} ({asked})"
    metrics = {"unknown_photos": float(count), "unknown_false_names_at_threshold": named}
    background = BackgroundStatistics.measured(embeddings.numpy()) if count >= LEAST_UNKNOWN else None
    return Calibration(similarity, source, reason, metrics, background)


def lowest_threshold(similarities: Tensor, false_names: float) -> float:
    """The lowest similarity at which no more than a share of ordinary photos, float64 (N,), get a name."""
    highest = similarities.sort(descending=True).values
    allowed = min(math.floor(false_names * len(highest)), len(highest) - 1)
    above = (math.floor(highest[allowed].item() / STEP) + 1) * STEP
    return min(max(round(above, 6), STEP), 1 - STEP)


@torch.inference_mode()
def _score_photos(classifier: SimilarityClassifier, folder: Path) -> tuple[Tensor, Tensor]:
    """The highest similarity of each readable photo, float64 (N,), and the embeddings, float32 (N, D)."""
    paths = [photo.path for photo in find_ordinary_photos(folder)]
    highest, embeddings = [], []
    with photo_progress("ordinary photos", len(paths)) as advance:
        for batch in decode_batches(paths, Resize(SIZE, SIZE, "stretch"), BATCH_SIZE):
            similarities, embedded = classifier.similarities(batch.images)
            highest.append(similarities.amax(dim=1))
            embeddings.append(embedded)
            advance(len(batch.positions))
    count = sum(map(len, highest))
    if count == 0:
        remedy = "Name a folder with a few hundred ordinary photos"
        raise DataUnusable(path=folder, reason="it has no readable photo", remedy=remedy)
    if count < LEAST_UNKNOWN:
        log.warning("%d ordinary photos say little: use a few hundred", count)
    return torch.cat(highest).double(), torch.cat(embeddings)
