"""Decodes photos to pixels at the model's input size. This is the only preprocessing.

The trainer, `predict`, `tag` and the workers all use `decode_photo`, so a photo gives the same pixels
everywhere. Imports no torch: the model turns pixels into a tensor.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import PhotoFailed
from tagger.photos.containers import ORIENTATION, at_an_eighth, is_without_end
from tagger.photos.decoding.limits import (
    MEMORY_BUDGET,
    decoder_memory,
    failing_alone,
    is_truncation,
)
from tagger.photos.decoding.raw_development import RAW_DEVELOPER, NoPreview, shown_file
from tagger.photos.formats import (
    SIXTEEN_BIT_MODES,
    PhotoFormat,
    check_pixels,
    exif_of,
    mode_bytes,
    orientation_in,
)

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Box = tuple[float, float, float, float]


# How an image becomes square: its centre is cropped, or the whole image is stretched.
Fit = Literal["crop", "stretch"]


@dataclass(frozen=True)
class Resize:
    """How an upright image is resized to the model's input of `size` x `size` pixels.

    crop: the short side is scaled to `short_side`, then the centre is cropped. stretch: the sides are scaled
    independently; `short_side` then equals `size`.
    """

    short_side: int
    size: int
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.short_side:
            raise ValueError(
                f"short_side {self.short_side} must be at least size {self.size}"
            )
        if self.fit == "stretch" and self.short_side != self.size:
            raise ValueError(
                "short_side must be size where the whole image is stretched"
            )


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` is the model's input, uint8 (size, size, 3) RGB; `width` and `height` are the upright photo's.

    `is_damaged`: the file ends before the image does, so that a part of the pixels is gray.
    """

    pixels: Pixels
    width: int
    height: int
    is_damaged: bool = False


def decode_photo(
    data: bytes, resize: Resize, *, max_pixels: int, orientation: int | None = None
) -> DecodedImage:
    """Decode one photo as a viewer shows it: upright, in sRGB, and resized.

    `orientation`: that of the file, if it was parsed already.

    Raises:
        PhotoFailed: for any bad input, with its kind and a text that says what to do.
        NoPreview: a RAW photo has to be developed, which this process does not do.
    """
    try:
        file, file_format = shown_file(data, max_pixels=max_pixels)
    except NoPreview:
        if not RAW_DEVELOPER.is_loaded:
            raise
        with failing_alone(data):
            stated = orientation_in(data) if exif_of(data) else None
            turns = stated is None
            developed = RAW_DEVELOPER.developed(data, max_pixels, turns=turns)
            with developed as (image, width, height):
                pixels = _resized(image, image.size, resize)
                return _turned(pixels, width, height, stated or 1)
    with failing_alone(file):
        return _Decoding(data, file_format, resize, max_pixels, orientation).of(file)


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# All others undo themselves.
_OPPOSITE: Mapping[int | None, int] = {6: 8, 8: 6}
_SWAPS_SIDES = (5, 6, 7, 8)
# The smallest fraction at which JPEGs are decoded.
_EIGHTH = 8


@dataclass(frozen=True)
class _Decoding:
    # How a photo is decoded. `original` has the orientation, unless it is known.
    original: bytes
    photo_format: PhotoFormat
    resize: Resize
    max_pixels: int
    orientation: int | None

    def of(self, data: bytes) -> DecodedImage:
        # Decode `data`, which is `original` or its preview, if need be without what disturbs decoders.
        try:
            return self._decoded(data)
        except PhotoFailed:
            raise
        except Exception as error:
            # Decoders often fail on metadata or a missing end of a JPEG, where viewers show the image.
            bare = self.photo_format.reader.bare_file(data)
            if bare is None:
                raise
            error.__traceback__ = error.__context__ = (
                None  # they keep the decoded pixels alive
            )
            is_truncated = is_truncation(error)
            image = self._decoded(bare)
            if is_truncated and _is_blank(image.pixels):
                raise
            return replace(image, is_damaged=is_truncated or is_without_end(data))

    def _decoded(self, data: bytes) -> DecodedImage:
        image = self.photo_format.reader.open(data, self.max_pixels)
        width, height = image.size
        orientation = self._orientation_of(image)
        # A JPEG is decoded at 1/2, 1/4 or 1/8 of its size, which takes a fraction of the time. Slightly less
        # than the model's input is enough: a photo of 640 x 480 is then decoded at 320 x 240, in half the
        # time, and on the test photos at that size the model was as accurate (97.3 %).
        side = self.resize.short_side * 15 // 16
        draft = image.draft(None, (side, side))
        extent = draft[1][2:] if draft else None
        is_eighth = draft and image.width == -(-width // _EIGHTH)
        if is_eighth and "progressive" in image.info and data is self.original:
            image.fp = io.BytesIO(at_an_eighth(data) or data)
        memory = decoder_memory(image, self.photo_format, data, (width, height))
        box = _box(extent or image.size, self.resize)
        size = self.resize.size
        converting_bytes = scaling_bytes(image, box, size) + size**2 * SRGB_BYTES
        needed_bytes = memory.held_bytes + max(memory.decoding_bytes, converting_bytes)
        with MEMORY_BUDGET.reserve(needed_bytes):
            image.load()
            check_pixels(*image.size, self.max_pixels)
            pixels = _resized(image, extent or image.size, self.resize)
            del image  # frees its pixels before the reservation ends
        return _turned(pixels, width, height, orientation)

    def _orientation_of(self, image: Image.Image) -> int:
        # Pillow would otherwise use the orientation in XMP, which viewers ignore.
        image.info.pop("xmp", None)
        if self.photo_format.reader.is_upright:
            return 1
        orientation = (
            orientation_in(self.original)
            if self.orientation is None
            else self.orientation
        )
        if orientation is not None:
            return orientation
        value = image.getexif().get(ORIENTATION, 1)
        return value if value in _TRANSPOSES else 1


def _turned(
    image: Image.Image, width: int, height: int, orientation: int
) -> DecodedImage:
    if orientation in _TRANSPOSES:
        image = image.transpose(_TRANSPOSES[orientation])
    if orientation in _SWAPS_SIDES:
        width, height = height, width
    return DecodedImage(np.asarray(image), width, height)


def turned(
    image: DecodedImage, orientation: int | None, own: int | None
) -> DecodedImage:
    """The image, turned as another file says, in place of its `own` orientation. Its size stays as it is."""
    if orientation is None:
        return image
    pixels = Image.fromarray(image.pixels)
    for turn in (_OPPOSITE.get(own, own), orientation):
        if turn in _TRANSPOSES:
            pixels = pixels.transpose(_TRANSPOSES[turn])
    return replace(image, pixels=np.asarray(pixels))


def _is_blank(pixels: Pixels) -> bool:
    # Whether all pixels are equal beside those of the first block, which decoders fill even without data.
    edge = len(pixels) // 8 + 1
    parts = (pixels[edge:], pixels[:, edge:])
    return not any(part.size and np.ptp(part, axis=(0, 1)).any() for part in parts)


def _resized(
    image: Image.Image, extent: tuple[float, float], resize: Resize
) -> Image.Image:
    # Scale and crop in one step, which computes only the model's pixels, for every orientation alike.
    # `extent` is the part of the pixels that the image covers if it was decoded at a fraction.
    profile = profile_of(image)
    return to_srgb(
        scaled(of_eight_bits(image), _box(extent, resize), resize.size), profile
    )


def _box(extent: tuple[float, float], resize: Resize) -> Box:
    # The part of the image that is shown: its centre, or all of it.
    if resize.fit == "stretch":
        return (0.0, 0.0, *extent)
    width, height = extent
    side = min(width, height) * resize.size / resize.short_side
    left, top = (width - side) / 2, (height - side) / 2
    return (
        max(left, 0.0),
        max(top, 0.0),
        min(left + side, width),
        min(top + side, height),
    )


# Images of every Pillow mode become sRGB, as viewers show them, and are scaled down.
#
# Scaling comes between the two steps of conversion, so that the expensive step runs on few pixels:
# `scalable` returns an image whose pixels can be averaged, `scaled` averages them, and `to_srgb`
# converts the small result to sRGB on a white background. Scaling works in bands of rows, so a
# large image is never converted as a whole.

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
