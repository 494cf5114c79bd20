"""Photo bytes → pixels at the model's input size; the only preprocessing there is.

Trainer, `look`, `tag` and the worker all come through `decode_photo`, so the same photo gives the same pixels everywhere.
Imports no torch: the model turns the pixels into a tensor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.images.colours import encoding_of, scalable, to_srgb
from tagger.images.formats import Format, check_pixels, format_of, open_header
from tagger.photos.containers import bare_file, orientation_in
from tagger.photos.tiff import ORIENTATION

Pixels = npt.NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True)
class Resize:
    """How an upright image becomes the model's input: short side scaled to `short_side`, then the middle `size` x `size` cut out."""

    short_side: int
    size: int

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.short_side:
            raise ValueError(f"short_side {self.short_side} must be at least size {self.size}")


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
    with _failing_alone():
        loaded = _load(data, photo_format, resize, max_pixels)
        square = _middle(loaded, resize)
    if loaded.orientation in _TURNS:
        square = square.transpose(_TURNS[loaded.orientation])
    width, height = loaded.width, loaded.height
    if loaded.orientation in _SIDEWAYS:
        width, height = height, width
    return DecodedImage(np.asarray(square), width, height)


@dataclass(frozen=True)
class _Loaded:
    """An image as stored, perhaps at a fraction of its size: it covers `extent` of its own, possibly scaled, pixels."""

    image: Image.Image
    extent: tuple[float, float]
    width: int
    height: int
    orientation: int


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
_NOT_READ = (
    "unknown pixel mode",
    "unsupported",
    "cannot handle",
    "unknown data organization",
    "unknown photometric",
)
"""How Pillow's readers begin when they understand a file and cannot show it."""


@contextmanager
def _failing_alone() -> Iterator[None]:
    """Turn whatever Pillow's readers trip over in a broken file into this photo's failure."""
    try:
        yield
    except PhotoFailed:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS, "The image has more pixels than the decoder allows. Scale it down."
        ) from error
    except Exception as error:
        # A broken file makes readers raise anything, MemoryError and RecursionError included.
        raise _failure_of(error) from error


def _failure_of(error: Exception) -> PhotoFailed:
    if _is_truncation(error):
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before the image does. Copy it again from where it came from.",
        )
    reason = str(error) if isinstance(error, OSError | SyntaxError | ValueError) else ""
    if reason.lower().startswith(_NOT_READ):
        return PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image is stored in a way that is not read ({reason}). Convert it to JPEG or PNG.",
        )
    said = f" ({' '.join(reason.split())[:200]})" if reason and "driver" not in reason else ""
    return PhotoFailed(
        FailureKind.CORRUPT, f"The image is damaged{said}. Restore it from a backup or save it again."
    )


def _load(data: bytes, photo_format: Format, resize: Resize, max_pixels: int) -> _Loaded:
    try:
        return _load_file(data, photo_format, resize, max_pixels)
    except PhotoFailed:
        raise
    except Exception as error:
        # What readers trip over is often beside the picture, or the end that a cut-off JPEG lacks; viewers show what is there.
        bare = bare_file(data)
        if bare is None:
            raise
        loaded = _load_file(bare, photo_format, resize, max_pixels)
        if _is_truncation(error) and _is_uniform(loaded.image):
            raise
        return replace(loaded, orientation=_orientation(data, loaded.image))


def _load_file(data: bytes, photo_format: Format, resize: Resize, max_pixels: int) -> _Loaded:
    image = open_header(data, photo_format, max_pixels)
    width, height = image.size
    orientation = _orientation(data, image)
    # JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the cost.
    draft = image.draft(None, (resize.short_side, resize.short_side)) if photo_format is Format.JPEG else None
    image.load()
    check_pixels(*image.size, max_pixels)
    return _Loaded(image, draft[1][2:] if draft else image.size, width, height, orientation)


def _orientation(data: bytes, image: Image.Image) -> int:
    if isinstance(image, TiffImageFile):
        # Pillow turns TIFF while it loads, by the tag alone once it does not find another opinion in XMP.
        image.info.pop("xmp", None)
        return 1
    orientation = orientation_in(data)
    if orientation is not None:
        return orientation
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in _TURNS else 1


def _is_truncation(error: Exception) -> bool:
    return isinstance(error, EOFError) or "truncated" in str(error).lower()


def _is_uniform(image: Image.Image) -> bool:
    """Whether nothing was drawn, or no more than the first block, which a decoder makes up when there is no data."""
    width, height = image.size
    rest = [(_BLOCK, 0, width, height), (0, _BLOCK, width, height)]
    boxes = [box for box in rest if box[0] < width and box[1] < height] or [(0, 0, width, height)]
    extrema = np.array([image.crop(box).getextrema() for box in boxes]).reshape(-1, 2)
    return bool((extrema[:, 0] == extrema[:, 1]).all())


def _middle(loaded: _Loaded, resize: Resize) -> Image.Image:
    """Scale and cut in one step: only the square's pixels are computed, and it is the same square however the image is turned."""
    encoding = encoding_of(loaded.image)
    width, height = loaded.extent
    side = min(width, height) * resize.size / resize.short_side
    left, top = (width - side) / 2, (height - side) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + side, width), min(top + side, height))
    square = (resize.size, resize.size)
    small = scalable(loaded.image).resize(square, Image.Resampling.BILINEAR, box, reducing_gap=3.0)
    return to_srgb(small, encoding)
