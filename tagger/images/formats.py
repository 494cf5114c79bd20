"""File formats: telling them by their first bytes and opening the allowed ones, header first.

Readers that start other programs (EPS, PDF) are never reached: each format has its one reader here, called directly.
Knows nothing of colours, scaling or the model.
"""

import importlib
import io
import struct
import threading
import warnings
from collections.abc import Callable
from enum import StrEnum

from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.images.tiffs import prepare_tiff
from tagger.photos.jpeg import SEGMENT_LIMIT, scans_and_coding
from tagger.photos.readable import readable_file


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
    if data[:100].lstrip().lower().startswith(_WEB_PAGE):
        raise PhotoFailed(
            FailureKind.NOT_AN_IMAGE,
            "The content is a web page, perhaps an error that was saved in place of the photo. Download it again.",
        )
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
    if photo_format in (Format.AVIF, Format.HEIF):
        _check_boxed_sizes(data, max_pixels)
    image = _reader(photo_format)(io.BytesIO(_readable(data)))
    check_pixels(*image.size, max_pixels)
    if "progressive" in image.info:
        _check_scans(data)
    if isinstance(image, TiffImageFile):
        prepare_tiff(image, max_pixels)
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
    (b"\x01\xda", "SGI image"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DanM", "Microsoft Paint"),
    (b"LinS", "Microsoft Paint"),
    *((b"P%d" % number + space, "PNM") for number in range(1, 7) for space in (b"\n", b" ")),
    (b"MM\0+", "big-endian BigTIFF"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
)
_WEB_PAGE = (b"<!doctype html", b"<html")
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_BOXES_BYTES = 2**18
"""Boxes with sizes come before the coded data and are small."""
_SCAN_LIMIT = 100
"""Progressive photos have about ten."""
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


def _readable(data: bytes) -> bytes:
    readable = readable_file(data)
    if readable is None:
        raise PhotoFailed(
            FailureKind.CORRUPT,
            f"The file is in more than {SEGMENT_LIMIT} pieces, which no photo is. Restore it from a backup.",
        )
    return readable


def _check_webp_canvas(data: bytes, max_pixels: int) -> None:
    # Pillow makes the decoder, and the decoder its canvas, while reading the header.
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        check_pixels(width, height, max_pixels)


def _check_boxed_sizes(data: bytes, max_pixels: int) -> None:
    # Their decoders have limits of their own and do not say that it was these.
    at = data.find(b"ispe", 0, _BOXES_BYTES)
    while at >= 0 and at + 16 <= len(data):
        width, height = struct.unpack_from(">II", data, at + 8)
        if width and height:
            check_pixels(width, height, max_pixels)
        at = data.find(b"ispe", at + 4, _BOXES_BYTES)


def _check_scans(data: bytes) -> None:
    """A scan of a few bytes costs as much as a look at the whole image."""
    scans, _ = scans_and_coding(data)
    if scans > _SCAN_LIMIT:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image is coded in {scans} scans, more than {_SCAN_LIMIT}, which no camera writes. "
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
