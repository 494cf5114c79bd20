"""The memory of images that are being decoded: what each takes by its header, and a budget for all.

Many threads decode, each an image within the limit of pixels; without a common budget they could fill the
machine. The count is never less than what decoding takes, and little more: Pillow's pixels and what the
decoder of each format holds beside them. `tests/unit/test_image_costs.py` compares it with measurements.
Scaling is counted in conversion. Pillow's TIFF reader decodes each strip or tile at once, whatever size the
file gives it, so this size is counted, and that of tiles is limited.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import ceil

from PIL import _imaging
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.formats import PhotoFormat
from tagger.photos.jpeg import components_of_first_scan
from tagger.photos.tiff import COUNT_LIMIT, ORIENTATION, VALUE_SIZES, open_tiff, pages_to_main

_PLANES, _TILE_WIDTH, _TILE_LENGTH, _BITS = 284, 322, 323, 258
_WIDTH, _HEIGHT, _SAMPLES, _STRIP_ROWS = 256, 257, 277, 278
_EXIF_POINTERS = (34665, 34853, 40965)
_SEPARATE = 2


@dataclass(frozen=True)
class TiffPart:
    """A strip or tile: its size, also when decoded, and how many parts have the same pixels."""

    width: int
    height: int
    planes: int
    size_bytes: int


def check_tags(data: bytes) -> int:
    """The number of the page that is the image of a TIFF, counted from 0.

    Refuses millions of strips or numbers, each of which becomes an object of the reader.

    Raises:
        PhotoFailed: a tag has more numbers than that of any photo.
        ValueError: the first directory lies outside the file, or has more tags than that of any photo.
    """
    block = open_tiff(data)
    if block is None:
        return 0
    pages = pages_to_main(block)
    if not pages:
        raise ValueError("the first directory of tags cannot be read")
    tags = (tag for page in pages for tag in page.tags.values())
    if any(tag.count > COUNT_LIMIT and VALUE_SIZES[tag.kind] > 1 for tag in tags):
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image has more than {COUNT_LIMIT} pieces or numbers in a tag, which no camera writes. "
            "Save it again in another program.",
        )
    return len(pages) - 1


def prepare_tiff(image: TiffImageFile, page: int, max_pixels: int) -> None:
    """Prepare an opened TIFF for `load()` of a page.

    Raises:
        PhotoFailed: a tile has more pixels than the limit.
    """
    quiet_libtiff()
    if page:
        xmp = image.info.get("xmp")
        image.seek(page)
        if xmp is not None:
            image.info.setdefault("xmp", xmp)  # metadata is in the first page
    exif = image.getexif()
    for pointer in _EXIF_POINTERS:
        if pointer in exif:
            del exif[pointer]  # Pillow would parse what it refers to, which may be millions of numbers
    _check_tile(image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH), max_pixels)
    if image.tag_v2.get(_PLANES) == _SEPARATE and not image.use_load_libtiff:
        _require_plane_depth(image)


def decoded_at_once(image: TiffImageFile) -> TiffPart:
    """The largest strip or tile, or a row if there is no compression. Separate planes have their own."""
    tags = image.tag_v2
    width, height = tags[_WIDTH], tags[_HEIGHT]
    if not image.use_load_libtiff:
        height = 1
    elif _TILE_WIDTH in tags:
        width, height = tags[_TILE_WIDTH], tags.get(_TILE_LENGTH, height)
    else:
        height = min(height, tags.get(_STRIP_ROWS, height))
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES) == _SEPARATE else 1
    samples = tags.get(_SAMPLES, 1) // planes
    return TiffPart(width, height, planes, height * -(-width * samples * max(tags.get(_BITS, (1,))) // 8))


# A TIFF is decoded tile by tile, and a tile may be larger than the image.
def _check_tile(width: object, height: object, max_pixels: int) -> None:
    if isinstance(width, int) and isinstance(height, int) and width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image has tiles of {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Save it again in another program, or raise TAGGER_MAX_PIXELS if there is memory for it.",
        )


def _require_plane_depth(image: TiffImageFile) -> None:
    """Refuse deep separate colour planes: Pillow reads two bytes of one pixel as two pixels."""
    if set(image.tag_v2.get(_BITS, (1,))) != {8}:
        raise SyntaxError("unsupported separate planes of this depth")


@cache
def quiet_libtiff() -> None:
    """Stop libtiff from printing errors, which Pillow raises as exceptions."""
    try:
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # another build or system, where libtiff prints


BUDGET_BYTES = 2 * 2**30
"""The memory for all images in the process, or in all processes of one command. An image that needs more is
decoded alone."""
SMALLEST_SHARE_BYTES = 256 * 2**20
"""A process that has less would decode even the photos of phones one by one."""
RESERVATION_LIMIT_S = 300.0
"""A decoder that takes longer hangs. Its reservation then holds others up no more."""
_CHECK_S = 1.0
_LARGE_BYTES = 16 * 2**20
"""After smaller images, memory is not returned to the system, which takes a tenth of a millisecond."""

_SHARED_BYTES = 64 * 2**20
"""A child process decodes smaller images without asking its parent for memory."""


class MemoryBudget:
    """Bytes that threads share, first come, first served, so that large images are not starved."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.reserve_elsewhere: Callable[[int], None] | None = None
        """In a child process: reserves a large image's bytes in the parent, which children share."""
        self.waiting: set[int] = set()
        """The ids of threads that wait."""
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
        return sum(reservation.size_bytes for reservation in reservations) + needed_bytes <= self._size_bytes


@dataclass(frozen=True)
class _Reservation:
    """Bytes in use, and since when (monotonic seconds)."""

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


MEMORY_BUDGET = MemoryBudget(BUDGET_BYTES)
"""The budget of this process."""


SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_EIGHT_BITS_BYTES = 6
"""Memory per pixel in which gray of 16 bits becomes gray of 8 bits."""
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, **dict.fromkeys(SIXTEEN_BIT_MODES, 2)}
"""Bytes per pixel in Pillow's memory by mode; 4 for all other modes."""
_POINTER_BYTES = 8
"""Pillow keeps the address of each row."""
_FIXED_BYTES = 2**20
"""Tables and state of a decoder."""
_ROW_BYTES = 32
"""Memory per pixel of the width: four rows of 8 bytes per pixel. PNG's decoder holds two rows."""


def _pixel_bytes(mode: str, width: int, height: int) -> int:
    """The size of an image in Pillow's memory."""
    row_bytes = ceil(width * mode_bytes(mode) / 4) * 4
    return height * (row_bytes + _POINTER_BYTES)


def mode_bytes(mode: str) -> int:
    """Bytes per pixel in Pillow's memory."""
    return _MODE_BYTES.get(mode, 4)


@dataclass(frozen=True)
class DecoderMemory:
    """The most memory of an opened image: while its pixels are in use, and more while it is decoded."""

    held_bytes: int
    decoding_bytes: int


def decoder_memory(
    image: ImageFile, photo_format: PhotoFormat, data: bytes, full_size: tuple[int, int]
) -> DecoderMemory:
    """Count the memory of `image.load()`. The size of a JPEG may be a fraction of `full_size`."""
    pixels = image.width * image.height
    held = _pixel_bytes(image.mode, *image.size) + pixels * _frame_bytes(image, photo_format)
    held += len(data)  # which most readers copy
    held += pixels * _EIGHT_BITS_BYTES * (image.mode in SIXTEEN_BIT_MODES)
    decoding = image.width * _ROW_BYTES
    if isinstance(image, JpegImageFile):
        decoding += _jpeg_bytes(image, data, full_size)
    elif isinstance(image, TiffImageFile):
        decoding += _tiff_bytes(image) + (0 if image.use_load_libtiff else len(data))
    elif isinstance(image, GifImageFile) and image.disposal_method >= _DISPOSES:
        held += pixels  # what the next frame would be drawn on
    elif isinstance(image, BmpImageFile) and image.info.get("compression") in _RUN_LENGTHS:
        decoding += int(pixels * _RUN_LENGTH_BYTES)
    return DecoderMemory(held + _FIXED_BYTES, decoding)


def _frame_bytes(image: ImageFile, photo_format: PhotoFormat) -> int:
    """Bytes per pixel of decoders that keep the whole image."""
    if photo_format is PhotoFormat.WEBP:
        return 12  # two frames and a copy, always with transparency
    # The planes of 16 bits, of AVIF also without film grain, and a copy with 8 bits.
    return len(image.getbands()) * {PhotoFormat.AVIF: 5, PhotoFormat.HEIF: 4}.get(photo_format, 0)


_DISPOSES = 2
_RUN_LENGTHS, _RUN_LENGTH_BYTES = (1, 2), 2.25
"""Pillow decodes run lengths of BMP in Python: to a growing array, which is copied."""


# --- JPEG ---

_BLOCK = 8
_COEFFICIENT_BYTES = 2
_JPEG_ROW_BYTES = 32
"""Memory per pixel of width, component and vertical sampling: rows before and after upsampling."""


def _jpeg_bytes(image: JpegImageFile, data: bytes, full_size: tuple[int, int]) -> int:
    """Rows of blocks; the coefficients of the whole, at full size, if they are in more than one scan."""
    width, height = full_size
    across = max((horizontal for _, horizontal, _, _ in image.layer), default=1) or 1
    down = max((vertical for _, _, vertical, _ in image.layer), default=1) or 1
    rows = width * len(image.layer) * down * _JPEG_ROW_BYTES
    if "progressive" not in image.info and components_of_first_scan(data) == len(image.layer):
        return rows
    # A component has whole blocks for all of the units that the image consists of.
    units = ceil(width / across / _BLOCK) * ceil(height / down / _BLOCK)
    blocks = units * sum(horizontal * vertical for _, horizontal, vertical, _ in image.layer)
    return rows + blocks * _BLOCK**2 * _COEFFICIENT_BYTES


# --- TIFF ---

_PHOTOMETRIC, _YCBCR = 262, 6
_CODEC_PARTS = {"lzma": 1, "zstd": 1, "webp": 3, "jpeg": 2}
"""Buffers of libtiff's decoders, in strips or tiles: decoded data, pixels, coefficients."""
_JPEG_LIMIT_BYTES = 100 * 2**20
"""libtiff refuses JPEGs that need more for their coefficients."""


def _tiff_bytes(image: TiffImageFile) -> int:
    """One strip or tile as it is decoded, and the upright copy of a rotated image."""
    part, compression = decoded_at_once(image), image.info["compression"]
    codec_bytes = part.size_bytes * _CODEC_PARTS.get(compression, 0)
    if compression == "jpeg":
        codec_bytes = min(codec_bytes, _JPEG_LIMIT_BYTES)
    needed = part.size_bytes + codec_bytes
    if image.tag_v2.get(_PHOTOMETRIC) == _YCBCR and compression != "jpeg":
        needed = part.size_bytes * part.planes + _pixel_bytes("RGBA", part.width, part.height)
    is_rotated: bool = image.tag_v2.get(ORIENTATION, 1) != 1
    return needed + is_rotated * _pixel_bytes(image.mode, *image.size)
