"""Decodes photos to pixels at the model's input size. This is the only preprocessing.

The trainer, `predict`, `tag` and the workers all use `decode_photo`, so a photo gives the same pixels
everywhere. Imports no torch: the model turns pixels into a tensor.
"""

import ctypes
import importlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding.conversion import (
    SRGB_BYTES,
    Box,
    of_eight_bits,
    profile_of,
    scaled,
    scaling_bytes,
    to_srgb,
)
from tagger.photos.formats import (
    JPEG,
    LIBRAW,
    RAW,
    PhotoFormat,
    detect_format,
    exif_of,
    orientation_in,
    require_format,
)
from tagger.photos.formats.reader import (
    SIXTEEN_BIT_MODES,
    DecoderMemory,
    check_pixels,
    pixel_bytes,
)
from tagger.photos.jpeg import at_an_eighth, is_without_end
from tagger.photos.raw import read_raw
from tagger.photos.tiff import ORIENTATION

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
            with RAW_DEVELOPER.developed(data, max_pixels, turns=turns) as photo:
                pixels = _resized(photo.image, photo.image.size, resize)
                return _turned(pixels, photo.width, photo.height, stated or 1)
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


# How Pillow's messages begin if it recognises a file but cannot decode it.
_UNSUPPORTED_PREFIXES = (
    "unknown pixel mode",
    "unsupported",
    "cannot handle",
    "unknown data organization",
    "unknown photometric",
)
_TRUNCATION_WORDS = (
    "truncated",
    "unpack_from requires a buffer",
    "unexpected end of file",
    "buffer is not large enough",
)


@contextmanager
def failing_alone(data: bytes) -> Iterator[None]:
    """Turn any exception of a decoder into `PhotoFailed`."""
    try:
        yield
    except PhotoFailed:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            "The image has more pixels than the decoder allows. Scale it down.",
        ) from error
    except Exception as error:
        # Broken files make decoders raise any exception, including MemoryError and RecursionError.
        raise _failure_of(error, data) from error


def is_truncation(error: Exception) -> bool:
    """Whether a decoder reached the end of the file before the end of the image."""
    message = str(error).lower()
    return isinstance(error, EOFError) or any(
        words in message for words in _TRUNCATION_WORDS
    )


def _failure_of(error: Exception, data: bytes) -> PhotoFailed:
    reason = _reason(error)
    if reason.lower().startswith(_UNSUPPORTED_PREFIXES):
        return _unsupported(reason)
    photo_format = detect_format(data)
    if photo_format and photo_format.reader.has_unread_coding(data):
        return _unsupported("its coding")
    if is_truncation(error):
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before the image does. Copy it again from where it came from.",
        )
    details = f" ({reason})" if reason else ""
    return PhotoFailed(
        FailureKind.CORRUPT,
        f"The image is damaged{details}. Copy it again from where it came from, or restore it from a backup.",
    )


def _unsupported(reason: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"The image is stored in a way that is not read ({reason}). Convert it to JPEG or PNG.",
    )


def _reason(error: Exception) -> str:
    # The decoder's message if it is a sentence. It may quote the file: only what is printable stays.
    message = (
        str(error) if isinstance(error, OSError | SyntaxError | ValueError) else ""
    )
    printable = "".join(letter if letter.isprintable() else " " for letter in message)
    words = printable.split()
    return " ".join(words)[:200] if len(words) > 1 and "driver" not in message else ""


# The memory for all images in the process, or in all processes of one command. An image that needs
# more is decoded alone.
BUDGET_BYTES = 2 * 2**30
# A process that has less would decode even the photos of phones one by one.
SMALLEST_SHARE_BYTES = 256 * 2**20
# A decoder that takes longer hangs. Its reservation then holds others up no more.
RESERVATION_LIMIT_S = 300.0
_CHECK_S = 1.0
# After smaller images, memory is not returned to the system, which takes a tenth of a millisecond.
_LARGE_BYTES = 16 * 2**20

# A child process decodes smaller images without asking its parent for memory.
_SHARED_BYTES = 64 * 2**20


class MemoryBudget:
    """Bytes that threads share, first come, first served, so that large images are not starved."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        # In a child process: reserves a large image's bytes in the parent, which children share.
        self.reserve_elsewhere: Callable[[int], None] | None = None
        # The ids of threads that wait.
        self.waiting: set[int] = set()
        self._changed = threading.Condition()  # guards the fields below
        self._queue: deque[object] = deque()
        self._reservations: dict[object, _Reservation] = {}

    def share(self, processes: int) -> None:
        """Keep this process's part of BUDGET_BYTES, which so many processes share out."""
        self._size_bytes = max(SMALLEST_SHARE_BYTES, BUDGET_BYTES // processes)

    @contextmanager
    def reserve(self, needed_bytes: int) -> Iterator[None]:
        """Reserve bytes inside the context; wait until they are free or nobody else holds any."""
        key = object()
        if self.reserve_elsewhere is not None and needed_bytes >= _SHARED_BYTES:
            self.reserve_elsewhere(needed_bytes)
        with self._changed:
            self._queue.append(key)
            self.waiting.add(threading.get_ident())
            while not (self._queue[0] is key and self._fits(needed_bytes)):
                self._changed.wait(_CHECK_S)
            self.waiting.discard(threading.get_ident())
            self._queue.popleft()
            self._reservations[key] = _Reservation(needed_bytes, time.monotonic())
            self._changed.notify_all()
        try:
            yield
        finally:
            if needed_bytes >= _LARGE_BYTES:
                trim_memory()
            with self._changed:
                del self._reservations[key]
                self._changed.notify_all()

    def _fits(self, needed_bytes: int) -> bool:
        expired_at = time.monotonic() - RESERVATION_LIMIT_S
        reservations = self._reservations.values()
        if all(reservation.started_at <= expired_at for reservation in reservations):
            return True
        return (
            sum(reservation.size_bytes for reservation in reservations) + needed_bytes
            <= self._size_bytes
        )


@dataclass(frozen=True)
class _Reservation:
    # Bytes in use, and since when (monotonic seconds).
    size_bytes: int
    started_at: float


def trim_memory() -> None:
    """Return free memory to the system: glibc keeps what each thread's arena once needed, which adds up."""
    trim = _malloc_trim()
    if trim:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # not glibc
    return trim


# The budget of this process.
MEMORY_BUDGET = MemoryBudget(BUDGET_BYTES)


# Memory per pixel in which gray of 16 bits becomes gray of 8 bits.
_EIGHT_BITS_BYTES = 6
# Tables and state of a decoder.
_FIXED_BYTES = 2**20
# Memory per pixel of the width: four rows of 8 bytes per pixel. PNG's decoder holds two rows.
_ROW_BYTES = 32


def decoder_memory(
    image: ImageFile, photo_format: PhotoFormat, data: bytes, full_size: tuple[int, int]
) -> DecoderMemory:
    """Count the memory of `image.load()`. The size of a JPEG may be a fraction of `full_size`."""
    held = pixel_bytes(image.mode, *image.size) + len(data)  # which most readers copy
    held += (
        image.width
        * image.height
        * _EIGHT_BITS_BYTES
        * (image.mode in SIXTEEN_BIT_MODES)
    )
    beside = photo_format.reader.memory(image, data, full_size)
    return DecoderMemory(
        held + beside.held_bytes + _FIXED_BYTES,
        image.width * _ROW_BYTES + beside.decoding_bytes,
    )


# The most memory per pixel of the sensor: with one colour in each, of which four make up a pixel of
# the result; and with all colours in each pixel, or none.
_HALVED_BYTES, _WHOLE_BYTES = 8, 26
_RAW_FIXED_BYTES = 8 * 2**20
# No camera compresses more. LibRaw develops what is missing at the end of a file as black or as
# stripes.
_PIXELS_PER_BYTE = 32
# A bit of LibRaw's orientation.
_RAW_SWAPS_SIDES = 4


@dataclass(frozen=True)
class DevelopedPhoto:
    """`image` is in sRGB, and usually has half the photo's `width` and `height`."""

    image: Image.Image
    width: int
    height: int


class RawDeveloper:
    """LibRaw in this process, if it is loaded."""

    def __init__(self) -> None:
        self._rawpy: Any = None

    def load(self) -> None:
        """Load LibRaw if it is installed. Only for processes that decode photos and can do nothing else."""
        if LIBRAW.is_installed:
            self._rawpy = importlib.import_module(LIBRAW.module)

    @property
    def is_loaded(self) -> bool:
        return self._rawpy is not None

    @contextmanager
    def developed(
        self, data: bytes, max_pixels: int, *, turns: bool
    ) -> Iterator[DevelopedPhoto]:
        """Develop a photo, at half its size. Its memory is reserved inside the context.

        `turns`: LibRaw turns the photo upright, by what it reads in the file; else the photo stays as the
        sensor saw it.

        Raises:
            PhotoFailed: LibRaw does not read it, it is damaged, or it has more pixels than the limit.
        """
        with ExitStack() as reserved:
            with (
                _failing_alone(self._rawpy),
                self._rawpy.imread(io.BytesIO(data)) as raw,
            ):
                sizes = raw.sizes
                check_pixels(sizes.raw_width, sizes.raw_height, max_pixels)
                pixels = sizes.raw_width * sizes.raw_height
                if pixels > len(data) * _PIXELS_PER_BYTE:
                    raise _truncated()
                reserved.enter_context(
                    MEMORY_BUDGET.reserve(pixels * _HALVED_BYTES + _RAW_FIXED_BYTES)
                )
                # Developing at half the size halves it, if each pixel of the sensor has one colour.
                if raw.raw_type is not self._rawpy.RawType.Flat or raw.num_colors <= 1:
                    reserved.close()
                    reserved.enter_context(
                        MEMORY_BUDGET.reserve(pixels * _WHOLE_BYTES + _RAW_FIXED_BYTES)
                    )
                flip = None if turns else 0
                values = raw.postprocess(
                    half_size=True, use_camera_wb=True, user_flip=flip
                )  # (H, W, 1 or 3)
                image = Image.fromarray(
                    values[..., 0] if values.shape[2] == 1 else values
                )
            width, height = sizes.width, sizes.height
            if turns and sizes.flip & _RAW_SWAPS_SIDES:
                width, height = height, width
            yield DevelopedPhoto(image, width, height)


# The developer of this process.
RAW_DEVELOPER = RawDeveloper()


@contextmanager
def _failing_alone(rawpy: ModuleType) -> Iterator[None]:
    # Turn LibRaw's errors into failures of the photo that say what to do.
    try:
        yield
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError from error
    except rawpy.LibRawIOError as error:
        raise _truncated() from error
    except rawpy.LibRawDataError as error:
        raise PhotoFailed(
            FailureKind.CORRUPT,
            "The RAW photo has no preview, and the data of its sensor are damaged. Restore it from a backup.",
        ) from error
    except rawpy.LibRawError as error:
        reason = error.args[0] if error.args else ""
        reason = (
            reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        )
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The RAW photo has no preview, and LibRaw does not develop it ({reason}). Export it as JPEG.",
        ) from error


def _truncated() -> PhotoFailed:
    return PhotoFailed(
        FailureKind.TRUNCATED,
        "The file ends before the data of its sensor do. Copy it again from where it came from.",
    )


# A smaller longer side is that of a thumbnail, often between black bars.
LEAST_SIDE = 320


class NoPreview(PhotoFailed):
    """A RAW photo has no preview to show. It can be developed where LibRaw is loaded (see RawDeveloper)."""


def shown_file(data: bytes, *, max_pixels: int) -> tuple[bytes, PhotoFormat]:
    """Return the file to decode, and its format.

    Raises:
        NoPreview: a RAW photo has none.
        PhotoFailed: as `require_format`; or a RAW photo is truncated, or has only larger previews than the
            limit.
    """
    photo_format = require_format(data)
    if photo_format is not RAW:
        return data, photo_format
    raw = read_raw(data)
    previews = [
        preview
        for preview in raw.previews
        if max(preview.width, preview.height) >= LEAST_SIDE
    ]
    if not previews and raw.is_truncated and not raw.image:
        raise PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before its preview does. Copy it again from where it came from.",
        )
    if not previews:
        largest = "none"
        if raw.previews:
            width, height = raw.previews[0].width, raw.previews[0].height
            largest = f"only a thumbnail of {width} x {height} pixels"
        remedy = (
            "Export it as JPEG."
            if LIBRAW.is_installed
            else "To develop it, install the extra raw and retry; or export it as JPEG."
        )
        raise NoPreview(
            FailureKind.UNSUPPORTED,
            f"RAW photos are shown by the preview in them, and this one has {largest}. {remedy}",
        )
    chosen = next(
        (preview for preview in previews if preview.pixels <= max_pixels), previews[0]
    )
    check_pixels(chosen.width, chosen.height, max_pixels)
    return bytes(chosen.data), JPEG
