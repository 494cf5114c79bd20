"""Converts decoded images of every Pillow mode to sRGB, as viewers show them, and scales them down.

Scaling comes between the two steps of conversion, so that the expensive step runs on few pixels: `scalable`
returns an image whose pixels can be averaged, `scaled` averages them, and `to_srgb` converts the small result
to sRGB on a white background. Scaling works in bands of rows, so a large image is never converted as a whole.
"""

import io
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from tagger.photos.formats import SIXTEEN_BIT_MODES, mode_bytes

Box = tuple[float, float, float, float]
_BAND_PIXELS = 4_000_000
# Real profiles have at most about 2 MB. A larger one is ignored.
PROFILE_LIMIT_BYTES = 8 * 2**20
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "CMYK", "LAB")
# The most memory per pixel that `to_srgb` takes.
SRGB_BYTES = 12
# Blocks of pixels are averaged first, down to three times the target size, which is faster.
_REDUCING_GAP = 3.0
# Memory per pixel of the reduced image: the image itself, a part of it, and the part scaled in
# width.
_REDUCED_BYTES = 12
# The memory of bands, as a multiple of one: the allocator does not reuse all of it for the next.
_BAND_SHARE = 4 / 3
# Averages must not include the colours of transparent pixels.
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
_FINAL = {short: long for long, short in _PREMULTIPLIED.items()}


def profile_of(image: Image.Image) -> bytes | None:
    """The colour profile of a loaded image. Call it before the pixels are averaged."""
    profile = image.info.get("icc_profile")
    return (
        profile
        if isinstance(profile, bytes) and len(profile) <= PROFILE_LIMIT_BYTES
        else None
    )


def of_eight_bits(image: Image.Image) -> Image.Image:
    """The image, if it is gray of 16 bits, with 8 bits.

    Raises:
        ValueError: it is gray of 32 bits, which says nothing of what is white.
    """
    if image.mode in ("I", "F"):
        raise ValueError("unsupported: gray of 32 bits")
    if image.mode not in SIXTEEN_BIT_MODES:
        return image
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    bits = tags.get(_BITS_PER_SAMPLE)
    shift = bits[0] - 8 if isinstance(bits, tuple) and bits and 8 < bits[0] < 16 else 8
    gray = (np.asarray(image) >> shift).astype(np.uint8)
    # Pillow inverts such images only if they have 8 bits or fewer.
    return Image.fromarray(255 - gray if tags.get(_PHOTOMETRIC) == 0 else gray)


def scalable(image: Image.Image) -> Image.Image:
    """Convert an image of 8 bits to one of the modes L, LA, RGB, RGBA, CMYK or LAB."""
    if image.mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        return image.convert("LA" if image.mode in ("L", "La", "LA") else "RGBA")
    return image if image.mode in _PLAIN_MODES else image.convert("RGB")


def scalable_bytes(image: Image.Image) -> int:
    """The most memory per pixel that `scalable` takes, with averages of transparent pixels."""
    if image.has_transparency_data:
        return 8
    if image.mode == "1":
        return 1
    return 0 if image.mode in (*_PLAIN_MODES, *SIXTEEN_BIT_MODES) else 4


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image in a scalable mode to sRGB, with transparent parts white."""
    if image.mode not in ("LA", "RGBA"):
        return _opaque_to_srgb(image, profile)
    alpha = image.getchannel("A")
    colours = _opaque_to_srgb(
        image.convert("L" if image.mode == "LA" else "RGB"), profile
    )
    white = Image.new("RGB", image.size, "white")
    white.paste(colours, mask=alpha)
    return white


def _opaque_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    # The transform from a profile to sRGB; None if it is broken, of another mode, or sRGB itself.
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if mode == "RGB" and _is_identity(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    # sRGB profiles have many names, so the profile is recognised by its effect.
    levels = np.array([0, 16, 64, 128, 192, 255], dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(
        1,
        -1,
        3,
    )
    after = np.asarray(transform.apply(Image.fromarray(cube)), dtype=np.int16)
    return bool(np.abs(after - cube.astype(np.int16)).max() <= 2)


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


def _with_neighbours(
    image: Image.Image, box: Box, side: int
) -> tuple[int, int, int, int]:
    across, down = (box[2] - box[0]) / side / 2, (box[3] - box[1]) / side / 2
    return (
        max(0, int(box[0] - across)),
        max(0, int(box[1] - down)),
        min(image.width, math.ceil(box[2] + across)),
        min(image.height, math.ceil(box[3] + down)),
    )


def _reduced(
    image: Image.Image, box: tuple[int, int, int, int], across: int, down: int
) -> Image.Image:
    # The box with blocks of `across` x `down` pixels averaged, band by band.
    left, top, right, bottom = box
    size = (-(-(right - left) // across), -(-(bottom - top) // down))
    rows = _band_rows(right - left, down)
    whole = None
    for upper in range(top, bottom, rows):
        lower = min(upper + rows, bottom)
        band = scalable(image.crop((left, upper, right, lower)))
        if band.mode in _PREMULTIPLIED:
            band = band.convert(_PREMULTIPLIED[band.mode])
        band = band.reduce((across, down))
        whole = whole or Image.new(band.mode, size)
        whole.paste(band, (0, (upper - top) // down))
    if whole is None:
        raise ValueError("the box has no pixels")
    return whole


def _band_rows(width: int, down: int) -> int:
    return max(1, _BAND_PIXELS // width // down) * down
