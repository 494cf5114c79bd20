"""Opens photos of the supported formats, header first, without data that makes decoders slow or fail.

Each format has one Pillow reader, called directly: readers that start other programs (EPS, PDF) are never reached.
Knows nothing of colours, scaling or the model.
"""

import importlib
import io
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
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
from tagger.photos.tiff import open_tiff

# Without colour profiles: a broken profile makes decoders fail.
_PNG_BARE = PNG_STILL - {b"iCCP", b"cICP"}
# Renaming the item hides it from decoders without moving any other data.
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03]...[^\xff]{4,6})Exif", re.DOTALL)
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
            "The file holds nothing but zero bytes. Restore it from a backup or copy it again from the camera.",
        )
    for signature, name in _UNSUPPORTED_SIGNATURES:
        if data.startswith(signature):
            raise _unsupported(name)
    if data[:100].lstrip().lower().startswith(_WEB_PAGE):
        raise PhotoFailed(
            FailureKind.NOT_AN_IMAGE,
            "The content is a web page, perhaps an error that was saved in place of the photo. Download it again.",
        )
    raise PhotoFailed(
        FailureKind.NOT_AN_IMAGE,
        "The content is not an image. If the file was a photo, restore it from a backup.",
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
    if photo_format is PhotoFormat.TIFF:
        check_tags(data)
    image = _reader(photo_format)(io.BytesIO(readable_file(data)))
    check_pixels(*image.size, max_pixels)
    if "progressive" in image.info:
        _check_scans(data)
    if isinstance(image, TiffImageFile):
        prepare_tiff(image, max_pixels)
    return image


def load_readers() -> None:
    """Load what is otherwise loaded with the first photo of a format, for a process that can open no file later."""
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
            "Reading HEIC needs the extra heic. Install it, as `tagger doctor` says, then retry the failed photos.",
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
    """Refuse a JPEG with many scans: each, even of a few bytes, takes as much time as decoding the whole image."""
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

    A permanent filter, because `catch_warnings` is not thread-safe. It is checked each time because code that restores the
    process's filters removes it.
    """
    if any(getattr(entry[3], "pattern", None) == _PILLOW_MODULES for entry in warnings.filters):
        return
    with _filter_lock:
        warnings.filterwarnings("ignore", category=Warning, module=_PILLOW_MODULES)


def readable_file(data: bytes) -> bytes:
    """Return the file for a decoder: JPEGs without the metadata before their first scan, which decoders skip slowly.

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
    """Return a JPEG or PNG with only its still image (with an end marker, if a JPEG is truncated), or an AVIF without EXIF.

    For decoders that fail on data that viewers ignore. None if there is nothing to remove.
    """
    if is_iso_media(data):
        bare, renamed = _EXIF_ITEM.subn(rb"\1free", data)
        return bare if renamed else None
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
_JPEG_CODINGS = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical JPEG"),
    JPEG_LS: "JPEG-LS",
}
_TIFF_CODINGS = {
    34661: "JBIG",
    34887: "LERC",
    34892: "lossy DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
_OPTIONAL_CODINGS = frozenset((34925, 50000, 50001))
"""Codings that libtiff can be built without."""
_CODED_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_NOT_CODED = frozenset((b"grid", b"iden", b"iovl", b"tmap", b"mime", b"uri "))
_READABLE_ITEMS = {PhotoFormat.HEIF: b"hvc1", PhotoFormat.AVIF: b"av01"}
_ITEM_CODINGS = {
    b"av01": "AV1",
    b"avc1": "H.264",
    b"evc1": "EVC",
    b"hvc1": "HEVC",
    b"j2k1": "JPEG 2000",
    b"jpeg": "JPEG",
    b"unci": "uncompressed",
    b"vvc1": "VVC",
}


def unreadable_coding(data: bytes) -> str | None:
    """The coding of an image that could not be decoded, if no decoder here reads it; None if one does, or if it is not known."""
    match detect_format(data):
        case PhotoFormat.JPEG:
            return _JPEG_CODINGS.get(scans_and_coding(data)[1])
        case PhotoFormat.TIFF:
            return _tiff_coding(data)
        case PhotoFormat.HEIF | PhotoFormat.AVIF as photo_format:
            items = [name for name in _CODED_ITEM.findall(data, 0, BOXES_BYTES) if name not in _NOT_CODED]
            if not items or _READABLE_ITEMS[photo_format] in items:
                return None
            name = _ITEM_CODINGS.get(items[0]) or items[0].decode("latin-1")
            return f"{photo_format} with {name}"
    return None


def _tiff_coding(data: bytes) -> str | None:
    block = open_tiff(data)
    directory = block.directory(block.first) if block else None
    values = block.integers(directory.tags.get(_COMPRESSION)) if block and directory else ()
    number = values[0] if values else 1
    if number in COMPRESSION_INFO and (number not in _OPTIONAL_CODINGS or _is_built_in(number)):
        return None
    return f"TIFF with {_TIFF_CODINGS.get(number, f'compression {number}')}"


@cache
def _is_built_in(compression: int) -> bool:
    """Whether libtiff reads a coding. It can be asked only for what it writes."""
    try:
        Image.new("RGB", (8, 8)).save(io.BytesIO(), "TIFF", compression=COMPRESSION_INFO[compression])
    except OSError:
        return False
    return True
