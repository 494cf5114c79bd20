"""Decodes photos to pixels at the model's input size. This is the only preprocessing.

The trainer, `predict`, `tag` and the workers all use `decode_photo`, so a photo gives the same pixels
everywhere. Imports no torch: the model turns pixels into a tensor.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from tagger.errors import PhotoFailed
from tagger.photos.containers import ORIENTATION, at_an_eighth, is_without_end
from tagger.photos.decoding.conversion import (
    SRGB_BYTES,
    Box,
    of_eight_bits,
    profile_of,
    scaled,
    scaling_bytes,
    to_srgb,
)
from tagger.photos.decoding.limits import (
    MEMORY_BUDGET,
    decoder_memory,
    failing_alone,
    is_truncation,
)
from tagger.photos.decoding.raw_development import RAW_DEVELOPER, NoPreview, shown_file
from tagger.photos.formats import PhotoFormat, check_pixels, exif_of, orientation_in

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB


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
