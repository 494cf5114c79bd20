"""TIFF: directories of tags, some of which locate the image data. One of the pages is the image.

Pillow's reader decodes each strip or tile at once, whatever size the file gives it, so this size is counted,
and that of tiles is limited.
"""

import ctypes
import struct
from functools import cache
from typing import cast

from PIL import _imaging
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.containers import (
    COUNT_LIMIT,
    ORIENTATION,
    SEGMENT_LIMIT,
    VALUE_SIZES,
    Part,
    TiffBlock,
    TiffDirectory,
    open_tiff,
    pages_to_main,
    tiff_in,
)
from tagger.photos.formats import (
    Blocks,
    DecoderMemory,
    FormatReader,
    check_pixels,
    opened,
    pixel_bytes,
    unread_kind,
)

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIPS, _SAMPLES, _STRIP_ROWS, _STRIP_SIZES, _PLANES = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_SIZES, _XMP = 322, 323, 324, 325, 700
_EXIF_POINTERS = (34665, 34853, 40965)
_SEPARATE, _YCBCR, _OLD_JPEG = 2, 6, 6


def _open(data: bytes, max_pixels: int) -> ImageFile:
    if data.startswith(b"MM\0+"):
        raise unread_kind("big-endian BigTIFF")
    page = _main_page(data)
    image = opened(TiffImageFile, data, max_pixels)
    _prepare(cast("TiffImageFile", image), page, max_pixels)
    check_pixels(*image.size, max_pixels)
    return image


def _main_page(data: bytes) -> int:
    # The number of the page that is the image of a TIFF, counted from 0.
    # Refuses millions of strips or numbers, each of which becomes an object of the reader.
    # Raises PhotoFailed: a tag has more numbers than that of any photo.
    # Raises ValueError: the first directory lies outside the file, or has more tags than that of any photo.
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


def _prepare(image: TiffImageFile, page: int, max_pixels: int) -> None:
    # Prepare an opened TIFF for `load()` of a page.
    # Raises PhotoFailed: a tile has more pixels than the limit.
    _quiet_libtiff()
    if page:
        xmp = image.info.get("xmp")
        image.seek(page)
        if xmp is not None:
            image.info.setdefault("xmp", xmp)  # metadata is in the first page
    exif = image.getexif()
    for pointer in _EXIF_POINTERS:
        if pointer in exif:
            del exif[
                pointer
            ]  # Pillow would parse what it refers to, which may be millions of numbers
    # A TIFF is decoded tile by tile, and a tile may be larger than the image.
    width, height = image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH)
    if (
        isinstance(width, int)
        and isinstance(height, int)
        and width * height > max_pixels
    ):
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image has tiles of {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Save it again in another program, or raise TAGGER_MAX_PIXELS if there is memory for it.",
        )
    # Of deep separate colour planes, Pillow reads two bytes of one pixel as two pixels.
    is_separate = image.tag_v2.get(_PLANES) == _SEPARATE and not image.use_load_libtiff
    if is_separate and set(image.tag_v2.get(_BITS, (1,))) != {8}:
        raise SyntaxError("unsupported separate planes of this depth")


@cache
def _quiet_libtiff() -> None:
    # Stop libtiff from printing errors, which Pillow raises as exceptions.
    try:
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # another build or system, where libtiff prints


# The tags of the sizes, coding, colours and layout of the pixels. All others are metadata.
_IMAGE_TAGS = (
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
    ),
    *(322, 323, 332, 336, 338, 339, 340, 341, 347, 529, 530, 531, 532, 34675),
)


def _parts(data: bytes) -> tuple[Part, ...] | None:
    block = tiff_in(data)
    parts: list[Part] = [block.order.encode()]
    for directory in block.directories():
        pixels = _pixels(block, directory)
        if pixels is None:
            return None
        for tag in _IMAGE_TAGS:
            if entry := directory.tags.get(tag):
                parts += (struct.pack("<HHQ", tag, entry.kind, entry.count), entry.raw)
        parts += pixels
        # Overlapping tags and strips could make a small file as expensive as a large one.
        if len(parts) > SEGMENT_LIMIT or sum(map(len, parts)) > 2 * len(data):
            return None
    return tuple(parts) if len(parts) > 1 else None


def _pixels(block: TiffBlock, directory: TiffDirectory) -> list[Part] | None:
    # The strips or tiles, each after its length; None if they are missing or lie outside the file.
    tags = (_COMPRESSION, _STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES)
    read = {tag: block.integers(directory.tags.get(tag)) for tag in tags}
    offsets = read[_STRIPS] or read[_TILES]
    sizes = read[_STRIP_SIZES] or read[_TILE_SIZES]
    is_readable = bool(offsets) and read[_COMPRESSION] != (_OLD_JPEG,)
    if not is_readable or len(offsets) != len(sizes) or sum(sizes) > len(block.data):
        return None
    view = memoryview(block.data)
    pixels: list[Part] = []
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < 0 or size < 0 or offset + size > len(block.data):
            return None
        pixels += (size.to_bytes(8, "little"), view[offset : offset + size])
    return pixels


def _has_directory(data: bytes) -> bool:
    # Some that can be decoded have no parts that are known here.
    block = tiff_in(data)
    return block.directory(block.first) is not None


def _blocks(data: bytes) -> Blocks:
    # The XMP tag. The file itself is its EXIF block.
    tag = tiff_in(data).tags.get(_XMP)
    return Blocks(xmp=bytes(tag.raw) if tag else None)


def _has_unread_coding(data: bytes) -> bool:
    block = tiff_in(data)
    pages = pages_to_main(block)
    values = block.integers(pages[-1].tags.get(_COMPRESSION)) if pages else ()
    return bool(values) and values[0] not in COMPRESSION_INFO


# Buffers of libtiff's decoders, in strips or tiles: decoded data, pixels, coefficients.
_CODEC_PARTS = {"lzma": 1, "zstd": 1, "webp": 3, "jpeg": 2}
# libtiff refuses JPEGs that need more for their coefficients.
_JPEG_LIMIT_BYTES = 100 * 2**20


def _memory(
    image: ImageFile, data: bytes, _full_size: tuple[int, int]
) -> DecoderMemory:
    # One strip or tile as it is decoded, and the upright copy of a rotated image.
    tiff = cast("TiffImageFile", image)
    tags, compression = tiff.tag_v2, image.info["compression"]
    # The largest strip or tile, or a row if there is no compression. Separate planes have their own.
    width, height = tags[_WIDTH], tags[_HEIGHT]
    if not tiff.use_load_libtiff:
        height = 1
    elif _TILE_WIDTH in tags:
        width, height = tags[_TILE_WIDTH], tags.get(_TILE_LENGTH, height)
    else:
        height = min(height, tags.get(_STRIP_ROWS, height))
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES) == _SEPARATE else 1
    samples = tags.get(_SAMPLES, 1) // planes
    part_bytes = height * -(-width * samples * max(tags.get(_BITS, (1,))) // 8)
    codec_bytes = part_bytes * _CODEC_PARTS.get(compression, 0)
    if compression == "jpeg":
        codec_bytes = min(codec_bytes, _JPEG_LIMIT_BYTES)
    needed: int = part_bytes + codec_bytes
    if tags.get(_PHOTOMETRIC) == _YCBCR and compression != "jpeg":
        needed = part_bytes * planes + pixel_bytes("RGBA", width, height)
    is_rotated: bool = tags.get(ORIENTATION, 1) != 1
    needed += is_rotated * pixel_bytes(image.mode, *image.size)
    return DecoderMemory(0, needed + (0 if tiff.use_load_libtiff else len(data)))


READER = FormatReader(
    _open,
    is_upright=True,
    image_parts=_parts,
    may_have_image=_has_directory,
    exif=lambda data: data,
    blocks=_blocks,
    has_unread_coding=_has_unread_coding,
    memory=_memory,
    load_decoder=_quiet_libtiff,
)
