"""The same photos as other programs hand them on: squashed, small, cut, saved anew; what that does to the figures.

An alteration takes a photo's bytes and gives bytes. Each starts from the whole photo, upright and in sRGB, and ends as a file of its own, so that the tagger's only
preprocessing comes after it.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tagger.images import decode_whole
from tagger.model import Model
from trainer.evaluation.intervals import Measured, bootstrap, share_of
from trainer.evaluation.scoring import look_at
from trainer.photos.limits import MAX_PIXELS

CROP = 0.7
QUALITY = 40
JPEG_SIDE = 65_500
"""JPEG has no more pixels a side."""


@dataclass(frozen=True)
class Alteration:
    """What is done to a photo: a name for machines, words for people."""

    name: str
    words: str
    apply: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Altered:
    """How often the first name is right on the same photos, altered."""

    name: str
    words: str
    photos: int
    top1: Measured
    difference: Measured  # to the same photos as they are, as a share


def measure_altered(
    model: Model, paths: Sequence[Path], targets: Tensor, correct: Tensor
) -> tuple[Altered, ...]:
    """Show the photos again, altered in every way there is.

    Args:
        model: the one that saw them as they are
        paths: of the photos
        targets: int64 (N,), the right label of each
        correct: bool (N,), whether it was named rightly as it is
    """
    return tuple(_measure(alteration, model, paths, targets, correct) for alteration in ALTERATIONS)


def _measure(
    alteration: Alteration, model: Model, paths: Sequence[Path], targets: Tensor, correct: Tensor
) -> Altered:
    seen = look_at(paths, [model], f"looking at photos {alteration.words}", alter=alteration.apply)
    rows = torch.tensor(seen.rows)
    right = seen.scores[0].argmax(dim=1) == targets[rows]
    change = bootstrap(_mean, (right.double() - correct[rows].double(),))
    return Altered(alteration.name, alteration.words, len(rows), share_of(right), change)


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=1)


def squash(data: bytes) -> bytes:
    """As wide and as high as the shorter of the two, whatever that does to its proportions."""
    image = _whole(data)
    return _lossless(_scaled(image, min(image.size), min(image.size)))


def halve(data: bytes) -> bytes:
    """Half as wide and half as high."""
    image = _whole(data)
    return _lossless(_scaled(image, max(1, image.width // 2), max(1, image.height // 2)))


def crop(data: bytes) -> bytes:
    """The middle 70 % of its width and of its height."""
    image = _whole(data)
    left, top = image.width * (1 - CROP) / 2, image.height * (1 - CROP) / 2
    box = (round(left), round(top), round(image.width - left), round(image.height - top))
    return _lossless(image.crop((*box[:2], max(box[2], box[0] + 1), max(box[3], box[1] + 1))))


def compress(data: bytes) -> bytes:
    """Saved as JPEG of quality 40, colours at half the resolution."""
    image, file = _whole(data), io.BytesIO()
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    image.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue()


ALTERATIONS = (
    Alteration("square", "squashed to a square", squash),
    Alteration("half", "half as wide and high", halve),
    Alteration("cropped", "cropped to the middle 70 %", crop),
    Alteration("jpeg40", "saved anew as JPEG, quality 40", compress),
)


def _whole(data: bytes) -> Image.Image:
    return Image.fromarray(decode_whole(data, max_pixels=MAX_PIXELS))


def _scaled(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _lossless(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
