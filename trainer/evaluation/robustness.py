"""The robustness of a model to photos that other programs have altered.

An alteration maps a photo's bytes to bytes. It starts from the whole photo, upright and in sRGB, and its result is a complete file,
so that the tagger's own preprocessing follows.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from tagger.model.model import Model
from tagger.photos.decoding import decode_whole
from trainer.data.folders import MAX_PIXELS
from trainer.evaluation.metrics import Estimate, bootstrap, estimate_share
from trainer.evaluation.scores import score_photos

CROP = 0.7
QUALITY = 40
TILT = 5.0
"""Degrees."""
DARKNESS, BRIGHTNESS = 0.5, 1.5
"""Factors of every channel."""
SMALL_SIDE = 96
"""Pixels of the shorter side."""
JPEG_SIDE = 65_500
"""The most pixels per side of a JPEG."""


@dataclass(frozen=True)
class Alteration:
    """An alteration of photos: a name for JSON, a description for reports, and the function."""

    name: str
    description: str
    apply: Callable[[bytes], bytes]


@dataclass(frozen=True)
class AlterationResult:
    """The top-1 on the same photos after an alteration, and the share of photos with a wrong accepted label."""

    name: str
    description: str
    photos: int
    top1: Estimate
    difference: Estimate  # to the unaltered photos, as a share
    wrong_tags: Estimate


def measure_alterations(
    model: Model, paths: Sequence[Path], targets: Tensor, correct: Tensor
) -> tuple[AlterationResult, ...]:
    """Score the photos after each alteration.

    Args:
        model: the model that scored the unaltered photos
        paths: the photos
        targets: int64 (N,), the right labels
        correct: bool (N,), whether the first prediction on the unaltered photo is right
    """
    return tuple(_measure(alteration, model, paths, targets, correct) for alteration in ALTERATIONS)


def _measure(
    alteration: Alteration, model: Model, paths: Sequence[Path], targets: Tensor, correct: Tensor
) -> AlterationResult:
    results = score_photos(paths, model, f"scoring photos {alteration.description}", alter=alteration.apply)
    rows = torch.tensor(results.rows)
    top, predicted = results.scores.max(dim=1)
    right = predicted == targets[rows]
    return AlterationResult(
        name=alteration.name,
        description=alteration.description,
        photos=len(rows),
        top1=estimate_share(right),
        difference=bootstrap(_mean, (right.double() - correct[rows].double(),)),
        wrong_tags=estimate_share(~right & (top >= model.manifest.threshold)),
    )


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=1)


def squash(data: bytes) -> bytes:
    """Resize to a square of the shorter side, which changes the proportions."""
    image = _decode(data)
    return _encode(_resize(image, min(image.size), min(image.size)))


def halve(data: bytes) -> bytes:
    """Halve both sides."""
    image = _decode(data)
    return _encode(_resize(image, max(1, image.width // 2), max(1, image.height // 2)))


def crop(data: bytes) -> bytes:
    """Crop to the middle 70 % of both sides."""
    image = _decode(data)
    left, top = image.width * (1 - CROP) / 2, image.height * (1 - CROP) / 2
    box = (round(left), round(top), round(image.width - left), round(image.height - top))
    return _encode(image.crop((*box[:2], max(box[2], box[0] + 1), max(box[3], box[1] + 1))))


def compress(data: bytes) -> bytes:
    """Save as JPEG of quality 40, with colours at half the resolution."""
    image, file = _decode(data), io.BytesIO()
    image.thumbnail((JPEG_SIDE, JPEG_SIDE))
    image.save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue()


def tilt(data: bytes) -> bytes:
    """Turn by 5 degrees to the left, with black corners."""
    return _encode(_decode(data).rotate(TILT, Image.Resampling.BILINEAR))


def turn(data: bytes) -> bytes:
    """Turn by a quarter to the left, like a photo that lost its orientation."""
    return _encode(_decode(data).transpose(Image.Transpose.ROTATE_90))


def remove_colours(data: bytes) -> bytes:
    """Convert to shades of grey."""
    return _encode(_decode(data).convert("L"))


def darken(data: bytes) -> bytes:
    """Halve the brightness."""
    return _encode(ImageEnhance.Brightness(_decode(data)).enhance(DARKNESS))


def brighten(data: bytes) -> bytes:
    """Make half as bright again."""
    return _encode(ImageEnhance.Brightness(_decode(data)).enhance(BRIGHTNESS))


def shrink(data: bytes) -> bytes:
    """Resize to a shorter side of 96 pixels, unless it is shorter."""
    image = _decode(data)
    scale = min(1.0, SMALL_SIDE / min(image.size))
    return _encode(_resize(image, max(1, round(image.width * scale)), max(1, round(image.height * scale))))


ALTERATIONS = (
    Alteration("square", "squashed to a square", squash),
    Alteration("half", "at half the size", halve),
    Alteration("cropped", "cropped to the middle 70 %", crop),
    Alteration("jpeg40", "saved as JPEG of quality 40", compress),
    Alteration("small", "with a shorter side of 96 pixels", shrink),
    Alteration("tilted", "tilted by 5 degrees", tilt),
    Alteration("turned", "turned by a quarter", turn),
    Alteration("grey", "without colours", remove_colours),
    Alteration("dark", "half as bright", darken),
    Alteration("bright", "half as bright again", brighten),
)


def _decode(data: bytes) -> Image.Image:
    return Image.fromarray(decode_whole(data, max_pixels=MAX_PIXELS))


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _encode(image: Image.Image) -> bytes:
    """Encode without loss."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
