"""Opens photos of the supported formats, header first, without data that makes decoders slow or fail.

Each format has one Pillow reader, called directly: readers that start other programs (EPS, PDF) are never
reached. Knows nothing of colours, scaling or the model.
"""

import importlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.containers import PNG_STILL, png_chunks
from tagger.photos.decoding.memory import check_tags, prepare_tiff, quiet_libtiff
from tagger.photos.formats import (
    BIG_ENDIAN_BIGTIFF,
    BOXES_BYTES,
    PNG_SIGNATURE,
    PhotoFormat,
    detect_format,
    is_iso_media,
)
from tagger.photos.jpeg import JPEG_LS, SEGMENT_LIMIT, from_first_scan, jpeg_image, scans_and_coding
from tagger.photos.tiff import open_tiff, pages_to_main

# Without colour profiles: a broken profile makes decoders fail.
_PNG_BARE = PNG_STILL - {b"iCCP", b"cICP"}
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


def require_format(data: bytes) -> PhotoFormat:
    """Return the format of a photo, by its content.

    Raises:
        PhotoFailed: there are no bytes, or they are no image, or an image of a format that cannot be read.
    """
    if not data:
        raise PhotoFailed(
            FailureKind.EMPTY, "The file has no content (0 bytes). Copy it again from where it came from."
        )
    photo_format = detect_format(data)
    if photo_format is not None and not data.startswith(BIG_ENDIAN_BIGTIFF):
        return photo_format
    if is_iso_media(data):
        raise _unsupported("video or other ISO media")
    if not data.strip(b"\0"):
        raise PhotoFailed(
            FailureKind.CORRUPT,
            "The file holds zero bytes only. Copy it again from the camera, or restore it from a backup.",
        )
    for signature, name in _UNSUPPORTED_SIGNATURES:
        if data.startswith(signature):
            raise _unsupported(name)
    if data[:100].lstrip().lower().startswith(_WEB_PAGE):
        raise PhotoFailed(
            FailureKind.NOT_AN_IMAGE,
            "The content is a web page, perhaps an error saved in place of the photo. Download it again.",
        )
    raise PhotoFailed(
        FailureKind.NOT_AN_IMAGE,
        "The content is not an image that is read. If the file was a photo, restore it from a backup.",
    )


def open_header(data: bytes, photo_format: PhotoFormat, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header and check the image's size. The image's `load()` decodes the pixels.

    Raises:
        PhotoFailed: too many pixels, no pixels, or the format's reader is not installed.
    """
    _quiet_pillow()
    # The limit is `max_pixels`. Pillow's own is checked for some formats only.
    Image.MAX_IMAGE_PIXELS = None
    if photo_format is PhotoFormat.WEBP:
        _check_webp_canvas(data, max_pixels)
    if photo_format in (PhotoFormat.AVIF, PhotoFormat.HEIF):
        _check_boxed_sizes(data, max_pixels)
    page = check_tags(data) if photo_format is PhotoFormat.TIFF else 0
    image = _reader(photo_format)(io.BytesIO(readable_file(data)))
    if "progressive" in image.info:
        _check_scans(data)
    if isinstance(image, TiffImageFile):
        prepare_tiff(image, page, max_pixels)
    check_pixels(*image.size, max_pixels)
    return image


def load_readers() -> None:
    """Load what the first photo of a format needs, for a process that can open no file later."""
    quiet_libtiff()
    with suppress(PhotoFailed):  # not installed
        _reader(PhotoFormat.HEIF)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `PhotoFailed` for an image without pixels or with more than the limit."""
    if width <= 0 or height <= 0:
        raise PhotoFailed(
            FailureKind.CORRUPT, f"The image says it is {width} x {height} pixels. Restore it from a backup."
        )
    if width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image has {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Scale it down, or raise TAGGER_MAX_PIXELS if this machine has the memory for it.",
        )


_UNSUPPORTED_SIGNATURES = (
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (BIG_ENDIAN_BIGTIFF, "big-endian BigTIFF"),
)
_WEB_PAGE = (b"<!doctype html", b"<html")
_SCAN_LIMIT = 100
"""Progressive photos have about ten."""


def _unsupported(name: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"This is a file of the kind {name}, which is not read. Convert it to JPEG or PNG.",
    )


_READERS: dict[PhotoFormat, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    PhotoFormat.JPEG: JpegImageFile,
    PhotoFormat.PNG: PngImageFile,
    PhotoFormat.WEBP: WebPImageFile,
    PhotoFormat.TIFF: TiffImageFile,
    PhotoFormat.GIF: GifImageFile,
    PhotoFormat.BMP: BmpImageFile,
    PhotoFormat.AVIF: AvifImageFile,
}


def _reader(photo_format: PhotoFormat) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    if photo_format is not PhotoFormat.HEIF:
        return _READERS[photo_format]
    try:
        reader: Callable[[io.BytesIO], ImageFile.ImageFile] = importlib.import_module(
            "pillow_heif"
        ).HeifImageFile
    except ImportError:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            "HEIC needs the extra heic. Install it, as `tagger doctor` says, then retry the failed photos.",
        ) from None
    return reader


def _check_webp_canvas(data: bytes, max_pixels: int) -> None:
    # Pillow creates the decoder with its canvas while reading the header.
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        check_pixels(width, height, max_pixels)


def _check_boxed_sizes(data: bytes, max_pixels: int) -> None:
    # The decoders have limits of their own and do not report them as such.
    at = data.find(b"ispe", 0, BOXES_BYTES)
    while at >= 0 and at + 16 <= len(data):
        width, height = struct.unpack_from(">II", data, at + 8)
        if width and height:
            check_pixels(width, height, max_pixels)
        at = data.find(b"ispe", at + 4, BOXES_BYTES)


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG with many scans, each of which takes as much time as decoding the whole image."""
    scans, _ = scans_and_coding(data)
    if scans > _SCAN_LIMIT:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image is coded in {scans} scans, more than {_SCAN_LIMIT}, which no camera writes. "
            "Save it again in another program.",
        )


_filter_lock = threading.Lock()
_PILLOW_MODULES = r"PIL\."


def _quiet_pillow() -> None:
    """Silence Pillow's warnings about metadata, also where warnings are errors.

    A permanent filter, because `catch_warnings` is not thread-safe. It is checked each time because code that
    restores the process's filters removes it.
    """
    if any(getattr(entry[3], "pattern", None) == _PILLOW_MODULES for entry in warnings.filters):
        return
    with _filter_lock:
        warnings.filterwarnings("ignore", category=Warning, module=_PILLOW_MODULES)


def readable_file(data: bytes) -> bytes:
    """Return the file for a decoder: JPEGs without metadata before their first scan, which is skipped slowly.

    Raises:
        PhotoFailed: it has so many segments or chunks that a decoder would take minutes.
    """
    photo_format = detect_format(data)
    if photo_format is PhotoFormat.JPEG:
        return from_first_scan(data)
    split = _SPLITTERS.get(photo_format)
    if split and next(islice(split(data), SEGMENT_LIMIT, None), None) is not None:
        raise PhotoFailed(
            FailureKind.CORRUPT,
            f"The file is in more than {SEGMENT_LIMIT} pieces, which no photo is. Restore it from a backup.",
        )
    return data


def bare_file(data: bytes) -> bytes | None:
    """Return a JPEG or PNG with only its still image (with an end marker, if a JPEG is truncated).

    For decoders that fail on data that viewers ignore. None for other formats.
    """
    photo_format = detect_format(data)
    if photo_format is PhotoFormat.PNG:
        return PNG_SIGNATURE + b"".join(chunk for name, chunk in png_chunks(data) if name in _PNG_BARE)
    parts = jpeg_image(data)[0] if photo_format is PhotoFormat.JPEG else None
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9" if parts else None


def _gif_blocks(data: bytes) -> Iterator[int]:
    """Yield the positions of the blocks before the first image: extensions, their sub-blocks, and junk."""
    colours = 3 * 2 ** ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0
    at, in_extension = 13 + colours, False
    while at < len(data) and (in_extension or data[at] != _GIF_IMAGE):
        yield at
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
        else:
            in_extension = data[at] == _GIF_EXTENSION
            at += 2 if in_extension else 1


_SPLITTERS: dict[PhotoFormat | None, Callable[[bytes], Iterator[object]]] = {
    PhotoFormat.PNG: png_chunks,
    PhotoFormat.GIF: _gif_blocks,
}


_COMPRESSION = 259
_UNREAD_JPEG = frozenset((0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, JPEG_LS))
"""Lossless and hierarchical JPEG."""
_CODED_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_NOT_CODED = frozenset((b"grid", b"iden", b"iovl", b"tmap", b"mime", b"uri "))
_READABLE_ITEMS = {PhotoFormat.HEIF: b"hvc1", PhotoFormat.AVIF: b"av01"}


def has_unread_coding(data: bytes) -> bool:
    """Whether no decoder here reads an image's coding. False in case of doubt."""
    match detect_format(data):
        case PhotoFormat.JPEG:
            return scans_and_coding(data)[1] in _UNREAD_JPEG
        case PhotoFormat.TIFF:
            block = open_tiff(data)
            pages = pages_to_main(block) if block else ()
            values = block.integers(pages[-1].tags.get(_COMPRESSION)) if block and pages else ()
            return bool(values) and values[0] not in COMPRESSION_INFO
        case PhotoFormat.HEIF | PhotoFormat.AVIF as photo_format:
            items = [name for name in _CODED_ITEM.findall(data, 0, BOXES_BYTES) if name not in _NOT_CODED]
            return bool(items) and _READABLE_ITEMS[photo_format] not in items
    return False
