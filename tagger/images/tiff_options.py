"""Adjusts Pillow's TIFF reader before it decodes an image."""

import ctypes
from functools import cache

from PIL import _imaging
from PIL.TiffImagePlugin import TiffImageFile

from tagger.errors import FailureKind, PhotoFailed

_PLANES, _TILE_WIDTH, _TILE_LENGTH, _BITS = 284, 322, 323, 258
_SEPARATE = 2


def prepare_tiff(image: TiffImageFile, max_pixels: int) -> None:
    """Prepare an opened TIFF for `load()`.

    Raises:
        PhotoFailed: a tile has more pixels than the limit.
    """
    _quiet_libtiff()
    _check_tile(image.tag_v2.get(_TILE_WIDTH), image.tag_v2.get(_TILE_LENGTH), max_pixels)
    if image.tag_v2.get(_PLANES) == _SEPARATE and not image.use_load_libtiff:
        _set_plane_depth(image)


# A TIFF is decoded tile by tile, and a tile may be larger than the image.
def _check_tile(width: object, height: object, max_pixels: int) -> None:
    if isinstance(width, int) and isinstance(height, int) and width * height > max_pixels:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            f"The image is stored in tiles of {width} x {height} pixels, more than the limit of {max_pixels}. "
            "Save it again in another program.",
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
def _quiet_libtiff() -> None:
    """Stop libtiff from printing errors, which Pillow raises as exceptions."""
    try:
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    except (AttributeError, OSError):
        return  # another build or system, where libtiff prints
