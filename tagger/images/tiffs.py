"""TIFF images: what Pillow's reader has to be told, or kept from, before it reads one."""

import ctypes
from functools import cache

from PIL import _imaging
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import FailureKind, PhotoFailed

_PLANES, _TILE_WIDTH, _TILE_LENGTH, _BITS = 284, 322, 323, 258
_SEPARATE = 2


def prepare_tiff(image: TiffImageFile, max_pixels: int) -> None:
    """Make an opened TIFF ready to be loaded.

    Raises:
        PhotoFailed: its tiles are larger than the limit, or its pixels are stored in a way that is not read.
    """
    _quiet_libtiff()
    _check_tile(image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH), max_pixels)
    if image.tag_v2.get(_PLANES) == _SEPARATE and not image.use_load_libtiff:
        _mend_planes(image)


# A tiled TIFF is decoded tile by tile, and a tile may be larger than the image it is part of.
def _check_tile(width: object, height: object, max_pixels: int) -> None:
    if isinstance(width, int) and isinstance(height, int) and width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image is stored in tiles of {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Save it again in another program.",
        )


def _mend_planes(image: TiffImageFile) -> None:
    """Where each colour is stored by itself Pillow takes two bytes of one pixel for two pixels; tell it the depth."""
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
def _quiet_libtiff() -> None:
    """Keep libtiff from printing what is wrong with a file; Pillow reports it as an exception anyway."""
    try:
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # Built another way, or on another system: then it prints.
