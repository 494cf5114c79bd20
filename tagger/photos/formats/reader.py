"""What reads a format: the parts that its module declares, and what those of several formats share.

A photo is opened header first, by one reader of Pillow that is called directly: readers that start other
programs (EPS, PDF) are never reached. Knows nothing of colours, scaling or the model.
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import ceil

from PIL import Image
from PIL.ImageFile import ImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.jpeg import SEGMENT_LIMIT, Part


@dataclass(frozen=True)
class Blocks:
    """The content of a file's metadata blocks; None if the file has no such block.

    `xmp` is the packet (XML, with wrapper and padding if it has any). `exif` is a TIFF block without the
    prefix "Exif". `iptc` holds the IIM datasets without the Photoshop resource around them.
    """

    xmp: bytes | None = None
    exif: bytes | None = None
    iptc: bytes | None = None


class BrokenBlocks(ValueError):
    """A block of metadata cannot be read."""


@dataclass(frozen=True)
class DecoderMemory:
    """The most memory of an opened image: while its pixels are in use, and more while it is decoded."""

    held_bytes: int = 0
    decoding_bytes: int = 0


@dataclass(frozen=True)
class FormatReader:
    """How files of a format are parsed and decoded.

    Parsing never raises on bad input, apart from `open`, which raises `PhotoFailed` (too many pixels, no
    pixels, a decoder that is not installed) or any error of Pillow.

    Attributes:
        open: Reads the header of a file with at most so many pixels. The image's `load()` decodes the pixels.
        is_upright: Whether decoding turns the image.
        image_parts: The bytes of the image, which writing metadata does not change; None: they are unknown.
        may_have_image: Whether a whole file has an image, as far as its parts tell.
        exif: Finds the EXIF block, which `tiff.open_tiff` reads. None: Pillow's image has the orientation.
        blocks: Reads the metadata, or raises `BrokenBlocks`. Those of JPEG and RAW are read in metadata.
        bare_file: The still image, for decoders that fail on data that viewers ignore; None: there is no way.
        has_unread_coding: Whether no decoder here reads the image's coding. False in case of doubt.
        memory: What the decoder of an opened image holds beside Pillow's pixels, by the file and the full
            size, of which that of a JPEG may be a fraction.
        load_decoder: Loads what the first photo needs, for a process that can open no file later.
    """

    open: Callable[[bytes, int], ImageFile]
    is_upright: bool = False
    image_parts: Callable[[bytes], tuple[Part, ...] | None] = lambda _data: None
    may_have_image: Callable[[bytes], bool] = lambda _data: True
    exif: Callable[[bytes], bytes | None] | None = None
    blocks: Callable[[bytes], Blocks] = lambda _data: Blocks()
    bare_file: Callable[[bytes], bytes | None] = lambda _data: None
    has_unread_coding: Callable[[bytes], bool] = lambda _data: False
    memory: Callable[[ImageFile, bytes, tuple[int, int]], DecoderMemory] = lambda *_: (
        DecoderMemory()
    )
    load_decoder: Callable[[], object] = lambda: None


def opened(
    read: Callable[[io.BytesIO], ImageFile],
    data: bytes,
    max_pixels: int,
    pieces: Iterable[object] = (),
) -> ImageFile:
    """Open a photo by a reader of Pillow, unless it is in more `pieces` than the reader reads in seconds.

    Raises:
        PhotoFailed: too many pieces, too many pixels, or no pixels.
    """
    if next(islice(pieces, SEGMENT_LIMIT, None), None) is not None:
        raise PhotoFailed(
            FailureKind.CORRUPT,
            f"The file is in more than {SEGMENT_LIMIT} pieces, which no photo is. Restore it from a backup.",
        )
    # Pillow's warnings about metadata are silenced, also where warnings are errors. A permanent filter,
    # because `catch_warnings` is not thread-safe. It is checked each time because code that restores the
    # process's filters removes it.
    is_quiet = any(
        getattr(entry[3], "pattern", None) == _PILLOW_MODULES
        for entry in warnings.filters
    )
    if not is_quiet:
        with _filter_lock:
            warnings.filterwarnings("ignore", category=Warning, module=_PILLOW_MODULES)
    # The limit is `max_pixels`. Pillow's own is checked for some formats only.
    Image.MAX_IMAGE_PIXELS = None
    image = read(io.BytesIO(data))
    check_pixels(*image.size, max_pixels)
    return image


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `PhotoFailed` for an image without pixels or with more than the limit."""
    if width <= 0 or height <= 0:
        raise PhotoFailed(
            FailureKind.CORRUPT,
            f"The image says it is {width} x {height} pixels. Restore it from a backup.",
        )
    if width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image has {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Scale it down, or raise TAGGER_MAX_PIXELS if this machine has the memory for it.",
        )


_filter_lock = threading.Lock()
_PILLOW_MODULES = r"PIL\."


SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
# Bytes per pixel in Pillow's memory by mode; 4 for all other modes.
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, **dict.fromkeys(SIXTEEN_BIT_MODES, 2)}
# Pillow keeps the address of each row.
_POINTER_BYTES = 8


def pixel_bytes(mode: str, width: int, height: int) -> int:
    row_bytes = ceil(width * mode_bytes(mode) / 4) * 4
    return height * (row_bytes + _POINTER_BYTES)


def mode_bytes(mode: str) -> int:
    """Bytes per pixel in Pillow's memory."""
    return _MODE_BYTES.get(mode, 4)
