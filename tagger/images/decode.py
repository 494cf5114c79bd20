"""Photo bytes → pixels at the model's input size; the only preprocessing there is.

Trainer, `look`, `tag` and the worker all come through `decode_photo`, so the same photo gives the same pixels everywhere.
Imports no torch: the model turns the pixels into a tensor.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import PhotoFailed
from tagger.images.colours import encoding_of, scalable, to_srgb
from tagger.images.failures import failing_alone, is_cut_off
from tagger.images.formats import Format, check_pixels, format_of, open_header
from tagger.images.memory import ROOM, needed_bytes
from tagger.images.scaling import Box, scaled
from tagger.photos.containers import orientation_in
from tagger.photos.readable import bare_file
from tagger.photos.tiff import ORIENTATION

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB


Fit = Literal["crop", "stretch"]
"""How an image that is not square becomes one: its middle is cut out, or the whole of it is stretched."""


@dataclass(frozen=True)
class Resize:
    """How an upright image becomes the model's input of `size` x `size` pixels.

    crop: the short side is scaled to `short_side`, then the middle cut out. stretch: the whole image is scaled, each side on
    its own; `short_side` is then `size`.
    """

    short_side: int
    size: int
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.short_side:
            raise ValueError(f"short_side {self.short_side} must be at least size {self.size}")
        if self.fit == "stretch" and self.short_side != self.size:
            raise ValueError("short_side must be size where the whole image is stretched")


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` is what the model sees, uint8 (size, size, 3) RGB; `width` and `height` are the upright photo's own."""

    pixels: Pixels
    width: int
    height: int


def decode_photo(data: bytes, resize: Resize, *, max_pixels: int) -> DecodedImage:
    """Decode, turn upright, convert to sRGB and scale one photo, as a viewer would show it.

    Raises:
        PhotoFailed: with the kind and a text that a person can act on; the only thing it raises for bad input.
    """
    photo_format = format_of(data)
    with failing_alone(data):
        square, width, height = _read(data, photo_format, resize, max_pixels)
    return DecodedImage(np.asarray(square), width, height)


def decode_whole(data: bytes, *, max_pixels: int) -> Pixels:
    """The same for the whole photo at its own size, uint8 (H, W, 3); its pixels beside the decoded ones take memory.

    Raises:
        PhotoFailed: as `decode_photo`.
    """
    photo_format = format_of(data)
    with failing_alone(data):
        upright, _, _ = _read(data, photo_format, None, max_pixels)
    return np.asarray(upright)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_BLOCK = 32
"""The most pixels that a JPEG codes together, across and down."""
_Upright = tuple[Image.Image, int, int]
"""The square that the model sees, or all of the photo where no resize rule is given, and its own width and height."""


def _read(data: bytes, photo_format: Format, resize: Resize | None, max_pixels: int) -> _Upright:
    try:
        return _read_file(data, data, photo_format, resize, max_pixels)
    except PhotoFailed:
        raise
    except Exception as error:
        # What readers trip over is often beside the picture, or the end that a cut-off JPEG lacks; viewers show what is there.
        bare = bare_file(data)
        if bare is None:
            raise
        error.__traceback__ = error.__context__ = None  # they hold the pixels that were decoded until then
        cut_off = is_cut_off(error)
        try:
            return _read_file(bare, data, photo_format, resize, max_pixels, may_be_blank=not cut_off)
        except _Blank:
            raise error from None


class _Blank(Exception):
    """Nothing was drawn."""


def _read_file(
    data: bytes,
    whole: bytes,
    photo_format: Format,
    resize: Resize | None,
    max_pixels: int,
    *,
    may_be_blank: bool = True,
) -> _Upright:
    """Read a file, or what is left of the `whole` one, whose orientation counts."""
    image = open_header(data, photo_format, max_pixels)
    width, height = image.size
    orientation = _orientation(whole, image)
    draft = image.draft(None, _least_size(resize)) if resize and photo_format is Format.JPEG else None
    with ROOM.holding(needed_bytes(image, photo_format, (width, height))):
        image.load()
        check_pixels(*image.size, max_pixels)
        if not may_be_blank and _is_uniform(image):
            raise _Blank
        square = _seen(image, draft[1][2:] if draft else image.size, resize) if resize else _all_of(image)
        del image  # or its pixels would be there when the next one takes their room
    if orientation in _TURNS:
        square = square.transpose(_TURNS[orientation])
    return (square, height, width) if orientation in _SIDEWAYS else (square, width, height)


def _least_size(resize: Resize) -> tuple[int, int]:
    """The sides that a JPEG is decoded to at least: at 1/2, 1/4 or 1/8 of its size it costs a fraction.

    A little less than the model's input will do: a photo of 640 x 480 gives 320 x 240 then, at half the cost, and of the test
    photos made that large the model named as many right (97.3 %).
    """
    side = resize.short_side * 15 // 16
    return side, side


def _orientation(data: bytes, image: Image.Image) -> int:
    # Pillow would look for an opinion in XMP, which viewers do not ask.
    image.info.pop("xmp", None)
    if isinstance(image, TiffImageFile):
        return 1  # Pillow turns it while it loads
    orientation = orientation_in(data)
    if orientation is not None:
        return orientation
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in _TURNS else 1


def _is_uniform(image: Image.Image) -> bool:
    """Whether nothing was drawn, or no more than the first block, which a decoder makes up when there is no data."""
    width, height = image.size
    rest = [(_BLOCK, 0, width, height), (0, _BLOCK, width, height)]
    boxes = [box for box in rest if box[0] < width and box[1] < height] or [(0, 0, width, height)]
    extrema = np.array([image.crop(box).getextrema() for box in boxes]).reshape(-1, 2)
    return bool((extrema[:, 0] == extrema[:, 1]).all())


def _all_of(image: Image.Image) -> Image.Image:
    encoding = encoding_of(image)
    return to_srgb(scalable(image), encoding)


def _seen(image: Image.Image, extent: tuple[float, float], resize: Resize) -> Image.Image:
    """Scale and cut in one step: only the pixels that the model sees are computed, and they are the same however the image is turned.

    An image decoded at a fraction covers `extent` of its pixels.
    """
    encoding = encoding_of(image)
    box = (0.0, 0.0, *extent) if resize.fit == "stretch" else _middle(extent, resize)
    return to_srgb(scaled(image, box, resize.size), encoding)


def _middle(extent: tuple[float, float], resize: Resize) -> Box:
    width, height = extent
    side = min(width, height) * resize.size / resize.short_side
    left, top = (width - side) / 2, (height - side) / 2
    return max(left, 0.0), max(top, 0.0), min(left + side, width), min(top + side, height)
