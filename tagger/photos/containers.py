"""Containers: which bytes of a JPEG, PNG, WebP or TIFF file make the picture, how it is turned, and its EXIF block.

Whoever writes keywords, dates or ratings into a file changes none of the parts given here; whoever changes what is
seen changes them. Bounded, in linear time, and never raises on bad input: a file that does not hold together is None.
Knows nothing of pixels or of the meaning of EXIF beyond the orientation.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tagger.photos.jpeg import SEGMENT_LIMIT, Part, jpeg_exif, jpeg_parts
from tagger.photos.tiff import Directory, TiffBlock, open_tiff, orientation_of


@dataclass(frozen=True)
class Container:
    """`parts` are the image data in order; `exif` is a TIFF block that `tiff.open_tiff` reads."""

    parts: tuple[Part, ...]
    orientation: int
    exif: bytes | None


def read_container(data: bytes) -> Container | None:
    """Take a file apart as far as its picture and EXIF are concerned."""
    kind = _kind(data)
    parts = _PARTS[kind](data) if kind else None
    if kind is None or not parts:
        return None
    exif = _EXIF[kind](data)
    return Container(parts, _orientation(exif), exif)


def exif_of(data: bytes) -> bytes | None:
    """The EXIF block, for `tiff.open_tiff`; that of a TIFF photo is the photo. Reads no further than it must."""
    kind = _kind(data)
    return _EXIF[kind](data) if kind else None


def orientation_in(data: bytes) -> int | None:
    """How the image is turned, 1 to 8; None where the file is none of these containers."""
    return _orientation(exif_of(data)) if _kind(data) else None


def _orientation(exif: bytes | None) -> int:
    return orientation_of(open_tiff(exif or b""))


def _kind(data: bytes) -> str | None:
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(PNG_SIGNATURE):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "tiff" if open_tiff(data) else None


# --- PNG: chunks.

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {b"tRNS", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP"}
PNG_STILL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | _PNG_COLOURS
_PNG_MOVING = {b"acTL", b"fcTL", b"fdAT"}


def _png_parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    drawn = False
    for count, (kind, chunk) in enumerate(png_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        drawn = drawn or kind == b"IDAT"
        # A capital first letter marks what no reader may ignore.
        if kind in PNG_STILL | _PNG_MOVING or kind[:1].isupper():
            parts.append(chunk)
    return tuple(parts) if drawn else None


def _png_exif(data: bytes) -> bytes | None:
    return next((bytes(chunk[8:-4]) for kind, chunk in png_chunks(data) if kind == b"eXIf"), None)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, whole chunk) up to the end chunk; the last one may be cut short."""
    view = memoryview(data)
    at = len(PNG_SIGNATURE)
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, view[at : at + 12 + length]
        if kind == b"IEND":
            return
        at += 12 + length


# --- WebP: RIFF chunks.

_WEBP_SEEN = {b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}


def _webp_parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    canvas: Part = b""
    for count, (kind, chunk) in enumerate(_webp_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        if kind in _WEBP_SEEN:
            parts.append(chunk)
        elif kind == b"VP8X":
            canvas = chunk[12:18]
        # Only an animation's canvas is not told by its picture, and writing EXIF into a plain WebP adds this header.
        if kind == b"ANIM":
            parts.append(canvas)
    return tuple(parts)


def _webp_exif(data: bytes) -> bytes | None:
    blocks = (bytes(chunk[8:]) for kind, chunk in _webp_chunks(data) if kind == b"EXIF")
    return next((block.removeprefix(b"Exif\0\0") for block in blocks), None)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view = memoryview(data)
    at = 12
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, view[at : at + 8 + length]
        at += 8 + length + length % 2


# --- TIFF: directories of tags, some of which say where the data is.

_TIFF_STRIPS, _TIFF_STRIP_SIZES, _TIFF_TILES, _TIFF_TILE_SIZES = 273, 279, 324, 325
_TIFF_OLD_JPEG = 6
# Sizes, coding, colours and layout of the pixels; everything else is about them.
_TIFF_SEEN = (
    *(
        254,
        256,
        257,
        258,
        259,
        262,
        266,
        277,
        278,
        284,
        290,
        291,
        292,
        293,
        301,
        317,
        318,
        319,
        320,
        322,
        323,
    ),
    *(332, 336, 338, 339, 340, 341, 347, 529, 530, 531, 532, 34675),
)


def _tiff_parts(data: bytes) -> tuple[Part, ...] | None:
    block = open_tiff(data)
    if block is None:
        return None
    parts: list[Part] = [block.order.encode()]
    for directory in block.directories():
        pixels = _tiff_pixels(block, directory)
        if pixels is None:
            return None
        for tag in _TIFF_SEEN:
            if entry := directory.entries.get(tag):
                parts += (struct.pack("<HHQ", tag, entry.kind, entry.count), entry.raw)
        parts += pixels
        # Tags and strips that share bytes would make a small file cost like a large one.
        if len(parts) > SEGMENT_LIMIT or sum(map(len, parts)) > 2 * len(data):
            return None
    return tuple(parts) if len(parts) > 1 else None


def _tiff_pixels(block: TiffBlock, directory: Directory) -> list[Part] | None:
    """The strips or tiles, each after its length; None where they are missing or lie outside the file."""
    read = {tag: block.integers(directory.entries.get(tag)) for tag in (259, 273, 279, 324, 325)}
    offsets = read[_TIFF_STRIPS] or read[_TIFF_TILES]
    sizes = read[_TIFF_STRIP_SIZES] or read[_TIFF_TILE_SIZES]
    if not offsets or len(offsets) != len(sizes) or read[259] == (_TIFF_OLD_JPEG,):
        return None
    if sum(sizes) > len(block.data):
        return None
    view = memoryview(block.data)
    pixels: list[Part] = []
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < 0 or size < 0 or offset + size > len(block.data):
            return None
        pixels += (size.to_bytes(8, "little"), view[offset : offset + size])
    return pixels


def _tiff_exif(data: bytes) -> bytes:
    return data


_PARTS = {"jpeg": jpeg_parts, "png": _png_parts, "webp": _webp_parts, "tiff": _tiff_parts}
_EXIF: dict[str, Callable[[bytes], bytes | None]] = {
    "jpeg": jpeg_exif,
    "png": _png_exif,
    "webp": _webp_exif,
    "tiff": _tiff_exif,
}
