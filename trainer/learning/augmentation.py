"""Altered views of a photo: the model should name a landmark however it was framed, lit, scaled and saved.

What is drawn depends on the generator alone, so a run that is resumed sees what it would have seen.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from tagger.images import Pixels

Generator = np.random.Generator


@dataclass(frozen=True)
class Augmentation:
    """How far views may go from the photo. Shares are chances that a view is altered so."""

    least_area: float = 0.3
    """The least part of the photo that a view shows."""
    distortion: float = 1.5
    """The most by which a view may be stretched either way, beyond the photo's own stretch to a square."""
    light: float = 0.3
    """Brightness, contrast and saturation change by at most this part."""
    coarse_share: float = 0.2
    """Fewer pixels, as small or enlarged photos have."""
    jpeg_share: float = 0.25
    """Saved once more at low quality."""
    grey_share: float = 0.03
    erased_share: float = 0.0
    """A rectangle without content, as if something stood in front."""


def altered(pixels: Pixels, size: int, how: Augmentation, generator: Generator) -> Pixels:
    """A view of a photo, uint8 (size, size, 3).

    Args:
        pixels: the whole photo, uint8 (S, S, 3)
        size: side of the view in pixels
        how: how far it may go
        generator: all chance comes from it
    """
    image = _framed(Image.fromarray(pixels), size, how, generator)
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = _lit(image, how, generator)
    if generator.random() < how.coarse_share:
        image = _coarsened(image, generator)
    if generator.random() < how.jpeg_share:
        image = _saved_again(image, generator)
    view = np.array(image)
    if generator.random() < how.erased_share:
        _erase(view, generator)
    return view


def _framed(image: Image.Image, size: int, how: Augmentation, generator: Generator) -> Image.Image:
    width, height = image.size
    area = generator.uniform(how.least_area, 1.0)
    stretch = math.exp(generator.uniform(-1, 1) * math.log(how.distortion))
    across, down = min(1.0, math.sqrt(area * stretch)), min(1.0, math.sqrt(area / stretch))
    left, top = generator.uniform(0, 1 - across), generator.uniform(0, 1 - down)
    box = (left * width, top * height, (left + across) * width, (top + down) * height)
    return image.resize((size, size), Image.Resampling.BILINEAR, box)


def _lit(image: Image.Image, how: Augmentation, generator: Generator) -> Image.Image:
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for number in generator.permutation(len(enhancers)):
        image = enhancers[number](image).enhance(1 + how.light * generator.uniform(-1, 1))
    if generator.random() < how.grey_share:
        image = ImageEnhance.Color(image).enhance(0)
    return image


def _coarsened(image: Image.Image, generator: Generator) -> Image.Image:
    size = image.size
    side = max(8, round(size[0] * generator.uniform(0.35, 0.8)))
    small = image.resize((side, side), Image.Resampling.BILINEAR)
    return small.resize(size, Image.Resampling.BILINEAR)


def _saved_again(image: Image.Image, generator: Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(generator.integers(25, 75)))
    return Image.open(file).convert("RGB")


def _erase(view: Pixels, generator: Generator) -> None:
    size = view.shape[0]
    side = np.sqrt(generator.uniform(0.03, 0.2)) * size
    stretch = math.exp(generator.uniform(-0.7, 0.7))
    across, down = min(size, int(side * stretch)), min(size, int(side / stretch))
    left, top = generator.integers(0, size - across + 1), generator.integers(0, size - down + 1)
    view[top : top + down, left : left + across] = generator.integers(0, 256, 3)
