"""Adjusts Pillow's TIFF reader to the layout of a file, and tells how much it decodes at once."""

import ctypes
from dataclasses import dataclass
from functools import cache

from PIL import _imaging
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.tiff import COUNT_LIMIT, VALUE_SIZES, open_tiff

_PLANES, _TILE_WIDTH, _TILE_LENGTH, _BITS = 284, 322, 323, 258
_WIDTH, _HEIGHT, _SAMPLES, _STRIP_ROWS = 256, 257, 277, 278
_EXIF_POINTERS = (34665, 34853, 40965)
_SEPARATE = 2


@dataclass(frozen=True)
class TiffPart:
    """A strip or tile: its size in pixels and when decoded, and how many parts, one for each colour plane, have the same pixels."""

    width: int
    height: int
    planes: int
    size_bytes: int


def check_tags(data: bytes) -> None:
    """Refuse a TIFF with millions of strips or other numbers, each of which becomes a Python object of the reader.

    Raises:
        PhotoFailed: a tag has more numbers than that of any photo.
        ValueError: the first directory lies outside the file, or has more tags than that of any photo.
    """
    block = open_tiff(data)
    if block is None:
        return
    first = block.directory(block.first)
    if first is None:
        raise ValueError("the first directory of tags cannot be read")
    if any(tag.count > COUNT_LIMIT and VALUE_SIZES[tag.kind] > 1 for tag in first.tags.values()):
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image has more than {COUNT_LIMIT} pieces, or as many numbers in another tag, which no camera writes. "
            "Save it again in another program.",
        )


def prepare_tiff(image: TiffImageFile, max_pixels: int) -> None:
    """Prepare an opened TIFF for `load()`.

    Raises:
        PhotoFailed: a tile has more pixels than the limit.
    """
    quiet_libtiff()
    exif = image.getexif()
    for pointer in _EXIF_POINTERS:
        if pointer in exif:
            del exif[pointer]  # Pillow would parse what it refers to, which may be millions of numbers
    _check_tile(image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH), max_pixels)
    if image.tag_v2.get(_PLANES) == _SEPARATE and not image.use_load_libtiff:
        _set_plane_depth(image)


def decoded_at_once(image: TiffImageFile) -> TiffPart:
    """The largest strip or tile; a row if the file is not compressed. Separate colour planes have parts of their own."""
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
            f"The image is stored in tiles of {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Save it again in another program, or raise TAGGER_MAX_PIXELS if this machine has the memory for it.",
        )


def _set_plane_depth(image: TiffImageFile) -> None:
    """Set the depth of separate colour planes; Pillow would read two bytes of one pixel as two pixels."""
    bits = set(image.tag_v2.get(_BITS, (1,)))
    if bits == {16} and image.mode in ("RGB", "RGBA"):
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        image.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
            for tile in image.tile
            if tile.args
        ]
    elif bits != {8}:
        raise SyntaxError("unsupported separate planes of this depth")


@cache
def quiet_libtiff() -> None:
    """Stop libtiff from printing errors, which Pillow raises as exceptions."""
    try:
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # another build or system, where libtiff prints
