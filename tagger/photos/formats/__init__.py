"""The formats of photos, each declared once: its signature, names, media type, and the module that reads it.

The content decides, never the name. What reads a format is imported once a file of it is read: pixels and
most parsing wait until then. Here is also what readers of several formats share.

A photo is opened header first, by one reader of Pillow that is called directly: readers that start other
programs (EPS, PDF) are never reached. Knows nothing of colours, scaling or the model.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

from blake3 import blake3

from tagger.errors import FailureKind, PhotoFailed
from tagger.extensions import is_installed, load
from tagger.photos.containers import SEGMENT_LIMIT, Part, orientation_of, tiff_in

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


# How much of a file `detect_format` looks at.
HEAD_BYTES = 256


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
        exif: Finds the EXIF block, which `open_tiff` reads. None: Pillow's image has the orientation.
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


@dataclass(frozen=True)
class Extra:
    name: str
    module: str

    @property
    def is_installed(self) -> bool:
        return is_installed(self.module)


@dataclass(frozen=True, eq=False)
class PhotoFormat:
    """A format of photos. Extensions are in lower case; `extensions_of_extra` need `extra` to be read.

    `is_head`: whether a file that begins so has this format, and none of those before it in PHOTO_FORMATS.
    `reader_place` is the module and name of its `FormatReader`. `media_type` is set if browsers display it.
    """

    name: str
    extensions: tuple[str, ...]
    is_head: Callable[[bytes], bool]
    reader_place: str
    media_type: str | None = None
    extra: Extra | None = None
    extensions_of_extra: tuple[str, ...] = ()

    @cached_property
    def reader(self) -> FormatReader:
        reader: FormatReader = load(self.reader_place)
        return reader


def detect_format(head: bytes) -> PhotoFormat | None:
    """Return the format of a file that begins with `head`, or None if it has none of these formats.

    Pass the whole file or at least its first HEAD_BYTES. Of some RAW files, only the whole differs from a
    TIFF.
    """
    return next((each for each in PHOTO_FORMATS if each.is_head(head)), None)


def require_format(data: bytes) -> PhotoFormat:
    """Return the format of a photo, by its content.

    Raises:
        PhotoFailed: there are no bytes, or they are no image, or an image of a format that cannot be read.
    """
    if not data:
        raise PhotoFailed(
            FailureKind.EMPTY,
            "The file has no content (0 bytes). Copy it again from where it came from.",
        )
    if (photo_format := detect_format(data)) is not None:
        return photo_format
    if is_iso_media(data):
        raise unread_kind("video or other ISO media")
    if not data.strip(b"\0"):
        raise PhotoFailed(
            FailureKind.CORRUPT,
            "The file holds zero bytes only. Copy it again from the camera, or restore it from a backup.",
        )
    for signature, name in _UNREAD_SIGNATURES:
        if data.startswith(signature):
            raise unread_kind(name)
    if data.startswith(_ARCHIVES):
        raise PhotoFailed(
            FailureKind.NOT_AN_IMAGE,
            "The file is an archive. Unpack it, then tag the folder.",
        )
    if data[:100].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise PhotoFailed(
            FailureKind.NOT_AN_IMAGE,
            "The content is a web page, perhaps an error saved in place of the photo. Download it again.",
        )
    raise PhotoFailed(
        FailureKind.NOT_AN_IMAGE,
        "The content is not an image that is read. If the file was a photo, restore it from a backup.",
    )


def unread_kind(name: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"This is a file of the kind {name}, which is not read. Convert it to JPEG or PNG.",
    )


_UNREAD_SIGNATURES = (
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
)
# ZIP, RAR, 7-Zip and gzip.
_ARCHIVES = (b"PK\x03\x04", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08")


def is_iso_media(head: bytes) -> bool:
    """Whether the file consists of ISO base media boxes: AVIF and HEIC, but also MP4 and other video."""
    return head[4:8] == b"ftyp"


def _starts_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _is_raw(head: bytes) -> bool:
    # Only here: `tagger query` needs no more than the names of formats.
    from tagger.photos.raw import is_raw

    return is_raw(head)


_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}


def _brands(head: bytes) -> set[bytes]:
    # The major brand of ISO media and those of its list; empty for other files.
    end = min(int.from_bytes(head[:4], "big"), HEAD_BYTES)
    return (
        {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
        if is_iso_media(head)
        else set()
    )


LIBHEIF = Extra("heic", "pillow_heif")
# Develops RAW files in which no preview is found.
LIBRAW = Extra("raw", "rawpy")

JPEG = PhotoFormat(
    "JPEG",  # includes MPO: a JPEG with further images behind the first
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    _starts_with(b"\xff\xd8\xff"),
    "tagger.photos.formats.readers:JPEG_READER",
    "image/jpeg",
)
PNG = PhotoFormat(
    "PNG",
    (".png",),
    _starts_with(b"\x89PNG\r\n\x1a\n"),
    "tagger.photos.formats.readers:PNG_READER",
    "image/png",
)
GIF = PhotoFormat(
    "GIF",
    (".gif",),
    _starts_with(b"GIF87a", b"GIF89a"),
    "tagger.photos.formats.readers:GIF_READER",
    "image/gif",
)
BMP = PhotoFormat(
    "BMP",
    (".bmp",),
    _starts_with(b"BM"),
    "tagger.photos.formats.readers:BMP_READER",
    "image/bmp",
)
RAW = PhotoFormat(
    "RAW",
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".fff", ".iiq", ".nef", ".nrw"),
        *(".orf", ".ori", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srw"),
    ),
    _is_raw,
    "tagger.photos.formats.readers:RAW_READER",
    extra=LIBRAW,
    extensions_of_extra=(".crw", ".mrw", ".x3f"),
)
TIFF = PhotoFormat(
    "TIFF",
    (".tif", ".tiff"),
    _starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "tagger.photos.formats.tiff:READER",
)
AVIF = PhotoFormat(
    "AVIF",
    (".avif",),
    # The major brand decides; if it names no codec, any brand of the list does.
    lambda head: (
        not _brands(head).isdisjoint((b"avif", b"avis"))
        and head[8:12] not in _HEVC_BRANDS
    ),
    "tagger.photos.formats.readers:AVIF_READER",
    "image/avif",
)
HEIC = PhotoFormat(
    "HEIC",
    (),
    lambda head: not _brands(head).isdisjoint((*_HEVC_BRANDS, b"mif1", b"msf1")),
    "tagger.photos.formats.readers:HEIC_READER",
    extra=LIBHEIF,
    extensions_of_extra=(".heic", ".heif", ".hif"),
)
WEBP = PhotoFormat(
    "WebP",
    (".webp",),
    lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "tagger.photos.formats.readers:WEBP_READER",
    "image/webp",
)
# All formats. RAW files come before TIFF, as which most of them begin.
PHOTO_FORMATS = (JPEG, PNG, GIF, BMP, RAW, TIFF, AVIF, HEIC, WEBP)


DIGEST_VERSION = 1


@dataclass(frozen=True)
class Container:
    """`parts` are the image data in order; `exif` is a TIFF block that `open_tiff` reads."""

    parts: tuple[Part, ...]
    orientation: int
    exif: bytes | None


def read_container(data: bytes) -> Container | None:
    """Parse a file; None if its format has no parser here or it has no image data."""
    photo_format = detect_format(data)
    parts = photo_format.reader.image_parts(data) if photo_format else None
    if photo_format is None or not parts:
        return None
    exif = photo_format.reader.exif(data) if photo_format.reader.exif else None
    return Container(parts, _orientation(exif), exif)


def has_image(head: bytes, size_bytes: int) -> bool:
    """Whether a file of a known format, which begins with `head`, may have an image.

    Of a file that `head` has as a whole, the container says so. In another one, the image may follow.
    """
    if size_bytes > len(head):
        return True
    photo_format = detect_format(head)
    return size_bytes >= _LEAST_BYTES and (
        photo_format is None or photo_format.reader.may_have_image(head)
    )


# Of a GIF, BMP or WebP with one pixel.
_LEAST_BYTES = 26


def exif_of(data: bytes) -> bytes | None:
    """The EXIF block, without reading the image. Of a TIFF and most RAW photos, it is the whole file."""
    find = _exif_finder(data)
    return find(data) if find else None


def orientation_in(data: bytes) -> int | None:
    """Return the EXIF orientation, 1 to 8; None for other formats."""
    find = _exif_finder(data)
    return _orientation(find(data)) if find else None


def _exif_finder(data: bytes) -> Callable[[bytes], bytes | None] | None:
    photo_format = detect_format(data)
    return photo_format.reader.exif if photo_format else None


def _orientation(exif: bytes | None) -> int:
    return orientation_of(tiff_in(exif))


def digest_photo(data: bytes) -> str:
    """Return the digest of a photo's image data and orientation, without other metadata.

    If the container cannot be parsed, it is a digest of the whole file, which never equals one of image data.
    """
    return digest_container(read_container(data), data)


def digest_container(container: Container | None, data: bytes) -> str:
    if container is None:
        return f"{DIGEST_VERSION}-{blake3(b'file').update(data).hexdigest()}"
    hasher = blake3(b"picture" + bytes([container.orientation]))
    for part in container.parts:
        hasher.update(part)
    return f"{DIGEST_VERSION}-{hasher.hexdigest()}"


# What readers of several formats share.


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
    from PIL import Image

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
