"""The robustness of a model: to photos altered by other programs, and to other devices and number formats.

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

from tagger.model.devices import CPU_BATCH, GPU_BATCH, Device, available_kinds, cpu_emulates_bfloat16
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
EMULATED_PHOTOS = 100
"""With more, an emulated number format would take most of the time of an evaluation or an export."""
JPEG_SIDE = 65_500
"""The most pixels per side of a JPEG."""
_BATCHES = {"cpu": CPU_BATCH, "cuda": GPU_BATCH}


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


@dataclass(frozen=True)
class DeviceAgreement:
    """The agreement of scores on a device, in a number format, with those of the reference."""

    device: str
    number_format: str
    photos: int
    top1: Estimate  # of the photos of landmarks
    same_name: Estimate  # share of those with the same first prediction
    same_outcome: Estimate  # share of all photos with the same accepted label, or none in both
    largest_difference: float  # of any score of any photo


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


def other_devices(reference: Device) -> list[Device]:
    """Every device of this machine in float32 and in bfloat16, without the reference."""
    return [
        Device(kind, dtype, batch_size)
        for kind, batch_size in _BATCHES.items()
        if kind in available_kinds()
        for dtype in (torch.float32, torch.bfloat16)
        if (kind, dtype) != (reference.kind, reference.dtype)
    ]


def missing_devices() -> tuple[str, ...]:
    """The devices that this machine lacks."""
    return tuple(kind for kind in _BATCHES if kind not in available_kinds())


def photos_to_compare(device: Device, count: int) -> Tensor:
    """Positions of the photos to compare, of `count`: all, or evenly spread ones if the device emulates its number format."""
    if device.kind == "cpu" and device.dtype == torch.bfloat16 and cpu_emulates_bfloat16():
        wanted = min(EMULATED_PHOTOS, count)
        return torch.arange(wanted) * count // max(wanted, 1)
    return torch.arange(count)


def compare_device(
    device: Device, expected: Tensor, actual: Tensor, targets: Tensor, threshold: float
) -> DeviceAgreement:
    """Compare the scores of a device with those of the reference.

    Args:
        device: the device
        expected: float32 (N, L), of the reference
        actual: float32 (N, L), of the same photos
        targets: int64 (N,); L: distractors
        threshold: the score from which a label is accepted
    """
    landmarks = targets < expected.shape[1]
    predicted, reference = actual.argmax(dim=1), expected.argmax(dim=1)
    same_outcome = _outcomes(actual, threshold) == _outcomes(expected, threshold)
    return DeviceAgreement(
        device=device.kind,
        number_format=format_name(device),
        photos=len(targets),
        top1=estimate_share((predicted == targets)[landmarks]),
        same_name=estimate_share((predicted == reference)[landmarks]),
        same_outcome=estimate_share(same_outcome),
        largest_difference=(actual - expected).abs().max().item(),
    )


def format_name(device: Device) -> str:
    """The number format without torch's prefix: `bfloat16`."""
    return str(device.dtype).removeprefix("torch.")


def _outcomes(scores: Tensor, threshold: float) -> Tensor:
    """The accepted label of each photo, or -1 for none; int64 (N,)."""
    top, predicted = scores.max(dim=1)
    return torch.where(top >= threshold, predicted, -1)
