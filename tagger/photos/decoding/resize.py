"""Scales decoded images down, in bands of rows, so that a large image is never converted as a whole."""

import math

from PIL import Image

from tagger.photos.decoding.colours import scalable, scalable_bytes
from tagger.photos.decoding.memory import mode_bytes

Box = tuple[float, float, float, float]

_BAND_PIXELS = 4_000_000
_REDUCING_GAP = 3.0
"""Blocks of pixels are averaged first, down to three times the target size, which is faster without a visible difference."""
_REDUCED_BYTES = 12
"""Per pixel of the reduced image: the image, one part of it, and what scaling it to its width gives."""
_BAND_SHARE = 4 / 3
"""Memory of bands, per byte of one: the allocator does not use all of it again for the next."""
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
"""Averages must not include the colours of transparent pixels."""
_FINAL = {short: long for long, short in _PREMULTIPLIED.items()}


def scaled(image: Image.Image, box: Box, side: int) -> Image.Image:
    """Scale the `box` of an image to `side` x `side` pixels. Returns an image in a scalable mode."""
    if image.width * image.height <= _BAND_PIXELS:
        return scalable(image).resize(
            (side, side), Image.Resampling.BILINEAR, box, reducing_gap=_REDUCING_GAP
        )
    across = _factor(box[2] - box[0], side)
    down = _factor(box[3] - box[1], side)
    around = _with_neighbours(image, box, side)
    reduced = _reduced(image, around, across, down)
    within = (
        (box[0] - around[0]) / across,
        (box[1] - around[1]) / down,
        (box[2] - around[0]) / across,
        (box[3] - around[1]) / down,
    )
    small = reduced.resize((side, side), Image.Resampling.BILINEAR, within)
    return small.convert(_FINAL[small.mode]) if small.mode in _FINAL else small


def scaling_bytes(image: Image.Image, box: Box, side: int) -> int:
    """The most memory that `scaled` takes beside the image."""
    per_pixel = mode_bytes(image.mode) + scalable_bytes(image)
    if image.width * image.height <= _BAND_PIXELS:
        return image.width * image.height * (per_pixel + _REDUCED_BYTES)
    left, top, right, bottom = _with_neighbours(image, box, side)
    width, height = right - left, bottom - top
    across, down = _factor(box[2] - box[0], side), _factor(box[3] - box[1], side)
    band_pixels = width * min(height, _band_rows(width, down))
    band_bytes = int(band_pixels * per_pixel * _BAND_SHARE)
    return band_bytes + -(-width // across) * -(-height // down) * _REDUCED_BYTES


def _factor(length: float, side: int) -> int:
    return int(length / side / _REDUCING_GAP) or 1


def _with_neighbours(image: Image.Image, box: Box, side: int) -> tuple[int, int, int, int]:
    """The box and the pixels around it that the bilinear filter needs."""
    across, down = (box[2] - box[0]) / side / 2, (box[3] - box[1]) / side / 2
    return (
        max(0, int(box[0] - across)),
        max(0, int(box[1] - down)),
        min(image.width, math.ceil(box[2] + across)),
        min(image.height, math.ceil(box[3] + down)),
    )


def _reduced(image: Image.Image, box: tuple[int, int, int, int], across: int, down: int) -> Image.Image:
    """The box with blocks of `across` x `down` pixels averaged, band by band."""
    left, top, right, bottom = box
    size = (-(-(right - left) // across), -(-(bottom - top) // down))
    rows = _band_rows(right - left, down)
    whole = None
    for upper in range(top, bottom, rows):
        lower = min(upper + rows, bottom)
        band = _averageable(image.crop((left, upper, right, lower))).reduce((across, down))
        whole = whole or Image.new(band.mode, size)
        whole.paste(band, (0, (upper - top) // down))
    if whole is None:
        raise ValueError("the box has no pixels")
    return whole


def _band_rows(width: int, down: int) -> int:
    return max(1, _BAND_PIXELS // width // down) * down


def _averageable(band: Image.Image) -> Image.Image:
    band = scalable(band)
    return band.convert(_PREMULTIPLIED[band.mode]) if band.mode in _PREMULTIPLIED else band
