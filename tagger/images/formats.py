"""File formats: telling them by their first bytes and opening the allowed ones, header first.

Readers that start other programs (EPS, PDF) are never reached: each format has its one reader here, called directly.
Knows nothing of colours, scaling or the model.
"""

import ctypes
import importlib
import io
import threading
import warnings
from collections.abc import Callable
from enum import StrEnum
from functools import cache

from PIL import ImageFile, _imaging
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tagger.errors import FailureKind, PhotoFailed


class Format(StrEnum):
    """The formats that are read; MPO is JPEG with more pictures behind the first."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    TIFF = "TIFF"
    GIF = "GIF"
    BMP = "BMP"
    AVIF = "AVIF"
    HEIF = "HEIC"


def format_of(data: bytes) -> Format:
    """Tell the format by content; a file's name is no evidence.

    Raises:
        PhotoFailed: no bytes, no image, or an image of a format that is not read.
    """
    if not data:
        raise PhotoFailed(
            FailureKind.EMPTY, "The file has no content (0 bytes). Copy it again from where it came from."
        )
    if data[4:8] == b"ftyp":
        return _format_of_brands(data)
    for magic, known in _MAGIC:
        if data.startswith(magic):
            return known
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Format.WEBP
    if not data.strip(b"\0"):
        raise PhotoFailed(
            FailureKind.CORRUPT,
            "The file holds nothing but zero bytes. Restore it from a backup or copy it again from the camera.",
        )
    for magic, name in _OTHER_MAGIC:
        if data.startswith(magic):
            raise _unsupported(name)
    raise PhotoFailed(
        FailureKind.NOT_AN_IMAGE,
        "The content is not an image, whatever the file's name says. Remove it or restore it from a backup.",
    )


def open_header(data: bytes, photo_format: Format, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header only and hold its size against the limit; pixels come with the image's `load()`.

    Raises:
        PhotoFailed: too many pixels, no pixels, or a reader that is not installed.
    """
    _quiet_pillow()
    if photo_format is Format.WEBP:
        _check_webp_canvas(data, max_pixels)
    image = _reader(photo_format)(io.BytesIO(data))
    check_pixels(*image.size, max_pixels)
    if isinstance(image, TiffImageFile):
        _quiet_libtiff()
        _check_tile(image.tag_v2.get(322), image.tag_v2.get(323), max_pixels)
    return image


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image without pixels, or with more than the limit."""
    if width <= 0 or height <= 0:
        raise PhotoFailed(
            FailureKind.CORRUPT, f"The image says it is {width} x {height} pixels. Restore it from a backup."
        )
    if width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image has {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Scale it down, or raise the limit if this machine has the memory for it.",
        )


_MAGIC = (
    (b"\xff\xd8\xff", Format.JPEG),
    (b"\x89PNG\r\n\x1a\n", Format.PNG),
    (b"GIF87a", Format.GIF),
    (b"GIF89a", Format.GIF),
    (b"II*\0", Format.TIFF),
    (b"MM\0*", Format.TIFF),
    (b"II+\0", Format.TIFF),
    (b"BM", Format.BMP),
)
_OTHER_MAGIC = (
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\1\0", "icon"),
    (b"icns", "icon"),
    (b"DDS ", "DDS"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"<svg", "SVG"),
    (b"MM\0+", "big-endian BigTIFF"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_FTYP_LIMIT_BYTES = 256
"""A real brand list has a handful of entries; a longer one is read this far."""


def _format_of_brands(data: bytes) -> Format:
    end = min(int.from_bytes(data[:4], "big"), _FTYP_LIMIT_BYTES)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, end, 4))}
    if data[8:12] in _AVIF_BRANDS or (
        brands & _AVIF_BRANDS and data[8:12] not in _HEIF_BRANDS - {b"mif1", b"msf1"}
    ):
        return Format.AVIF
    if brands & _HEIF_BRANDS:
        return Format.HEIF
    raise _unsupported("video or other ISO media")


def _unsupported(name: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"This is a file of the kind {name}, which is not read. Convert it to JPEG or PNG.",
    )


_READERS: dict[Format, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    Format.JPEG: JpegImageFile,
    Format.PNG: PngImageFile,
    Format.WEBP: WebPImageFile,
    Format.TIFF: TiffImageFile,
    Format.GIF: GifImageFile,
    Format.BMP: BmpImageFile,
    Format.AVIF: AvifImageFile,
}


def _reader(photo_format: Format) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if photo_format is not Format.HEIF:
        return _READERS[photo_format]
    try:
        reader: Callable[[io.BytesIO], ImageFile.ImageFile] = importlib.import_module(
            "pillow_heif"
        ).HeifImageFile
    except ImportError:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            "Reading HEIC needs an extra: install landmark-tagger[heic], then retry what failed.",
        ) from None
    return reader


def _check_webp_canvas(data: bytes, max_pixels: int) -> None:
    # Pillow makes the decoder, and the decoder its canvas, while reading the header.
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        check_pixels(width, height, max_pixels)


# A tiled TIFF is decoded tile by tile, and a tile may be larger than the image it is part of.
def _check_tile(width: object, height: object, max_pixels: int) -> None:
    if isinstance(width, int) and isinstance(height, int) and width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image is stored in tiles of {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Save it again in another program.",
        )


_quieting = threading.Lock()
_PILLOW_MODULES = r"PIL\."


def _quiet_pillow() -> None:
    """Keep Pillow's remarks on odd metadata off the terminal, and from failing a photo where warnings are errors.

    A standing filter and not `catch_warnings`, which reader threads would restore over each other. It is looked for
    each time because whoever restores the process's filters drops it.
    """
    if any(getattr(known[3], "pattern", None) == _PILLOW_MODULES for known in warnings.filters):
        return
    with _quieting:
        warnings.filterwarnings("ignore", category=Warning, module=_PILLOW_MODULES)


@cache
def _quiet_libtiff() -> None:
    """Keep libtiff from printing what is wrong with a file; Pillow reports it as an exception anyway."""
    try:
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # Built another way, or on another system: then it prints.
