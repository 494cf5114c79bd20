"""Parses photos' files: the bytes of the image, its digest, its orientation, and the EXIF block.

The bytes of the image change if and only if the visible image changes; writing keywords, dates or ratings
does not change them. Parsing takes linear time and bounded memory and never raises on bad input: an
inconsistent file gives None. Knows nothing of pixels, and of EXIF only the orientation.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from blake3 import blake3

from tagger.photos.formats import PNG_SIGNATURE, PhotoFormat, detect_format
from tagger.photos.jpeg import SEGMENT_LIMIT, Part, jpeg_exif, jpeg_image
from tagger.photos.raw import read_raw
from tagger.photos.tiff import TiffBlock, TiffDirectory, first_with_tags, open_tiff, orientation_of

DIGEST_VERSION = 1


@dataclass(frozen=True)
class Container:
    """`parts` are the image data in order; `exif` is a TIFF block that `tiff.open_tiff` reads."""

    parts: tuple[Part, ...]
    orientation: int
    exif: bytes | None


def read_container(data: bytes) -> Container | None:
    """Parse a file; None if its format has no parser here or it has no image data."""
    photo_format = detect_format(data)
    if photo_format is PhotoFormat.JPEG:
        parts, exif = jpeg_image(data)
    elif photo_format in _PARTS:
        parts, exif = _PARTS[photo_format](data), _EXIF[photo_format](data)
    else:
        return None
    return Container(parts, _orientation(exif), exif) if parts else None


def has_image(head: bytes, size_bytes: int) -> bool:
    """Whether a file of a known format, which begins with `head`, may have an image.

    Of a file that `head` has as a whole, the container says so. In another one, the image may follow.
    """
    photo_format = detect_format(head)
    if size_bytes > len(head):
        return True
    if photo_format is PhotoFormat.TIFF:  # some that can be decoded have no parts that are known here
        block = open_tiff(head)
        return block is not None and block.directory(block.first) is not None
    is_parsed = photo_format in {PhotoFormat.JPEG, PhotoFormat.PNG, PhotoFormat.WEBP}
    return size_bytes >= _LEAST_BYTES and (not is_parsed or read_container(head) is not None)


_LEAST_BYTES = 26
"""Of a GIF, BMP or WebP with one pixel."""


def exif_of(data: bytes) -> bytes | None:
    """The EXIF block, without reading the image. Of a TIFF and most RAW photos, it is the whole file."""
    photo_format = detect_format(data)
    return _EXIF[photo_format](data) if photo_format in _EXIF else None


def orientation_in(data: bytes) -> int | None:
    """Return the EXIF orientation, 1 to 8; None for other formats."""
    return _orientation(exif_of(data)) if detect_format(data) in _EXIF else None


def _orientation(exif: bytes | None) -> int:
    return orientation_of(open_tiff(exif or b""))


# --- PNG: chunks ---

_PNG_COLOURS = {b"tRNS", b"iCCP", b"gAMA", b"cHRM", b"sRGB", b"cICP"}
PNG_STILL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"} | _PNG_COLOURS
_PNG_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}


def _png_parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    has_pixels = False
    for count, (kind, chunk) in enumerate(png_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        has_pixels = has_pixels or kind == b"IDAT"
        # A capital first letter marks chunks that no decoder may ignore.
        if kind in PNG_STILL | _PNG_ANIMATION or kind[:1].isupper():
            parts.append(chunk)
    return tuple(parts) if has_pixels else None


def _png_exif(data: bytes) -> bytes | None:
    return first_with_tags(bytes(chunk[8:-4]) for kind, chunk in png_chunks(data) if kind == b"eXIf")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, whole chunk) up to the end chunk; the last chunk may be truncated."""
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


# --- WebP: RIFF chunks ---

_WEBP_IMAGE = {b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}


def _webp_parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    canvas: Part = b""
    for count, (kind, chunk) in enumerate(webp_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        if kind in _WEBP_IMAGE:
            parts.append(chunk)
        elif kind == b"VP8X":
            canvas = chunk[12:18]
        # The canvas size counts only for animations: writing EXIF into a plain WebP adds a VP8X header.
        if kind == b"ANIM":
            parts.append(canvas)
    return tuple(parts)


def _webp_exif(data: bytes) -> bytes | None:
    blocks = (bytes(chunk[8:]) for kind, chunk in webp_chunks(data) if kind == b"EXIF")
    return first_with_tags(block.removeprefix(b"Exif\0\0") for block in blocks)


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, chunk without padding); the last chunk may be truncated."""
    view = memoryview(data)
    at = 12
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, view[at : at + 8 + length]
        at += 8 + length + length % 2


# --- TIFF: directories of tags, some of which locate the image data ---

_TIFF_STRIPS, _TIFF_STRIP_SIZES, _TIFF_TILES, _TIFF_TILE_SIZES = 273, 279, 324, 325
_TIFF_OLD_JPEG = 6
# The tags of the sizes, coding, colours and layout of the pixels. All others are metadata.
_TIFF_IMAGE = (
    *(254, 256, 257, 258, 259, 262, 266, 277, 278, 284, 290, 291, 292, 293, 301, 317, 318, 319, 320),
    *(322, 323, 332, 336, 338, 339, 340, 341, 347, 529, 530, 531, 532, 34675),
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
        for tag in _TIFF_IMAGE:
            if entry := directory.tags.get(tag):
                parts += (struct.pack("<HHQ", tag, entry.kind, entry.count), entry.raw)
        parts += pixels
        # Overlapping tags and strips could make a small file as expensive as a large one.
        if len(parts) > SEGMENT_LIMIT or sum(map(len, parts)) > 2 * len(data):
            return None
    return tuple(parts) if len(parts) > 1 else None


def _tiff_pixels(block: TiffBlock, directory: TiffDirectory) -> list[Part] | None:
    """The strips or tiles, each after its length; None if they are missing or lie outside the file."""
    read = {tag: block.integers(directory.tags.get(tag)) for tag in (259, 273, 279, 324, 325)}
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


# --- RAW: the data of the sensor, whatever the previews are ---


def _raw_parts(data: bytes) -> tuple[Part, ...] | None:
    image = read_raw(data).image
    return tuple(part for strip in image for part in (len(strip).to_bytes(8, "little"), strip)) or None


_PARTS: dict[PhotoFormat | None, Callable[[bytes], tuple[Part, ...] | None]] = {
    PhotoFormat.PNG: _png_parts,
    PhotoFormat.WEBP: _webp_parts,
    PhotoFormat.TIFF: _tiff_parts,
    PhotoFormat.RAW: _raw_parts,
}
_EXIF: dict[PhotoFormat | None, Callable[[bytes], bytes | None]] = {
    PhotoFormat.JPEG: jpeg_exif,
    PhotoFormat.PNG: _png_exif,
    PhotoFormat.WEBP: _webp_exif,
    PhotoFormat.TIFF: lambda data: data,
    PhotoFormat.RAW: lambda data: read_raw(data).exif,
}


def digest_photo(data: bytes) -> str:
    """Return the digest of a photo's image data and orientation, without other metadata.

    If the container cannot be parsed, it is a digest of the whole file, which never equals one of image data.
    """
    return digest_container(read_container(data), data)


def digest_container(container: Container | None, data: bytes) -> str:
    """As `digest_photo`, of a file that was parsed."""
    if container is None:
        return f"{DIGEST_VERSION}-{blake3(b'file').update(data).hexdigest()}"
    hasher = blake3(b"picture" + bytes([container.orientation]))
    for part in container.parts:
        hasher.update(part)
    return f"{DIGEST_VERSION}-{hasher.hexdigest()}"
