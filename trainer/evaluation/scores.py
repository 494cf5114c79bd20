"""Scores of photos by a model, as the tagger computes them, and its robustness to photos that other programs have altered.

An alteration maps a photo's bytes to bytes. It starts from the whole photo, upright and in sRGB, and its result is a complete file,
so that the tagger's own preprocessing follows.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tagger.model.model import Model
from tagger.photos.decoding import decode_whole
from trainer.data.folders import MAX_PIXELS
from trainer.data.pixels import decode_batches, readers_of
from trainer.evaluation.metrics import Estimate, bootstrap, estimate_share
from trainer.progress import photo_progress

CROP = 0.7
JPEG_SIDE = 65_500
"""The most pixels per side of a JPEG."""


@dataclass(frozen=True)
class PhotoScores:
    """The readable photos, and their scores."""

    paths: tuple[Path, ...]
    rows: tuple[int, ...]  # their positions in the input
    scores: Tensor  # float32 (N, L)


def score_photos(
    paths: Sequence[Path],
    model: Model,
    description: str,
    *,
    alter: Callable[[bytes], bytes] | None = None,
) -> PhotoScores:
    """Score every photo. Unreadable photos are skipped, with a warning.

    Args:
        paths: the photos
        model: the model
        description: of the progress bar
        alter: applied to the bytes of each photo before decoding
    """
    rows: list[int] = []
    parts = [np.empty((0, len(model.manifest.labels)), dtype=np.float32)]
    with photo_progress(description, len(paths)) as advance:
        readers = readers_of(paths, alter)
        for batch in decode_batches(readers, model.manifest.input.resize, model.batch_size):
            parts.append(model.outputs(batch.pixels).scores)
            rows += batch.positions
            advance(len(batch.positions))
    scores = torch.from_numpy(np.concatenate(parts))
    return PhotoScores(tuple(paths[row] for row in rows), tuple(rows), scores)


@dataclass(frozen=True)
class Alteration:
    """An alteration of photos: a name for JSON, a description for reports, what changes the image, and how it is saved: by default, without loss."""

    name: str
    description: str
    change: Callable[[Image.Image], Image.Image]
    options: dict[str, Any] = field(default_factory=lambda: {"format": "PNG", "compress_level": 1})

    def apply(self, data: bytes) -> bytes:
        """The bytes of the altered photo."""
        image = Image.fromarray(decode_whole(data, max_pixels=MAX_PIXELS))
        file = io.BytesIO()
        self.change(image).save(file, **self.options)
        return file.getvalue()


@dataclass(frozen=True)
class AlterationResult:
    """The top-1 on the same photos after an alteration, and the share of photos with a wrong accepted label."""

    what: str
    photos: int
    top1: Estimate
    difference: Estimate  # to the unaltered photos, as a share
    wrong_tags: Estimate


def measure_alterations(
    model: Model, paths: Sequence[Path], targets: Tensor, correct: Tensor
) -> dict[str, AlterationResult]:
    """Score the photos after each alteration; returns the results by its name.

    Args:
        model: the model that scored the unaltered photos
        paths: the photos
        targets: int64 (N,), the right labels
        correct: bool (N,), whether the first prediction on the unaltered photo is right
    """
    return {each.name: _measure(each, model, paths, targets, correct) for each in ALTERATIONS}


def _measure(
    alteration: Alteration, model: Model, paths: Sequence[Path], targets: Tensor, correct: Tensor
) -> AlterationResult:
    results = score_photos(paths, model, f"scoring photos {alteration.description}", alter=alteration.apply)
    rows = torch.tensor(results.rows)
    top, predicted = results.scores.max(dim=1)
    right = predicted == targets[rows]
    return AlterationResult(
        what=alteration.description,
        photos=len(rows),
        top1=estimate_share(right),
        difference=bootstrap(lambda rows: rows.mean(dim=1), (right.double() - correct[rows].double(),)),
        wrong_tags=estimate_share(~right & (top >= model.manifest.threshold)),
    )


def _halve(image: Image.Image) -> Image.Image:
    width, height = (max(1, round(side / 2)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _squash(image: Image.Image) -> Image.Image:
    return image.resize((min(image.size), min(image.size)), Image.Resampling.BILINEAR)


def _crop(image: Image.Image) -> Image.Image:
    left, top = image.width * (1 - CROP) / 2, image.height * (1 - CROP) / 2
    box = (round(left), round(top), round(image.width - left), round(image.height - top))
    return image.crop((*box[:2], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))


def _fit_into_jpeg(image: Image.Image) -> Image.Image:
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    return image


ALTERATIONS = (
    Alteration("square", "squashed to a square", _squash),
    Alteration("half", "at half the size", _halve),
    Alteration("cropped", "cropped to the middle 70 %", _crop),
    Alteration(
        "jpeg40",
        "saved as JPEG of quality 40",
        _fit_into_jpeg,
        {"format": "JPEG", "quality": 40, "subsampling": "4:2:0"},
    ),
)
