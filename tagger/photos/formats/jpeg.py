"""JPEG: opened without metadata, and with a bounded number of scans."""

from math import ceil
from typing import cast

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.formats.reader import DecoderMemory, FormatReader, opened
from tagger.photos.jpeg import (
    JPEG_LS,
    components_of_first_scan,
    from_first_scan,
    jpeg_exif,
    jpeg_parts,
    scans_and_coding,
)

# Lossless and hierarchical.
_UNREAD_CODINGS = frozenset((0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, JPEG_LS))
# Progressive photos have about ten.
_SCAN_LIMIT = 100
_BLOCK = 8
_COEFFICIENT_BYTES = 2
# Memory per pixel of width, component and vertical sampling: rows before and after upsampling.
_ROW_BYTES = 32


def _open(data: bytes, max_pixels: int) -> ImageFile:
    # Decoders skip metadata before the first scan slowly.
    image = opened(JpegImageFile, from_first_scan(data), max_pixels)
    if "progressive" in image.info:
        _check_scans(data)
    return image


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG with many scans, each of which takes as much time as decoding the whole image."""
    scans, _ = scans_and_coding(data)
    if scans > _SCAN_LIMIT:
        raise PhotoFailed(
            FailureKind.UNSUPPORTED,
            f"The image is coded in {scans} scans, more than {_SCAN_LIMIT}, which no camera writes. "
            "Save it again in another program.",
        )


def _bare_file(data: bytes) -> bytes | None:
    """The image's segments, with an end marker, which a truncated file lacks."""
    parts = jpeg_parts(data)
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9" if parts else None


def _memory(image: ImageFile, data: bytes, full_size: tuple[int, int]) -> DecoderMemory:
    """Rows of blocks; the coefficients of the whole, at full size, if they are in more than one scan."""
    width, height = full_size
    layer = cast("JpegImageFile", image).layer
    across = max((horizontal for _, horizontal, _, _ in layer), default=1) or 1
    down = max((vertical for _, _, vertical, _ in layer), default=1) or 1
    rows = width * len(layer) * down * _ROW_BYTES
    if "progressive" not in image.info and components_of_first_scan(data) == len(layer):
        return DecoderMemory(0, rows)
    # A component has whole blocks for all of the units that the image consists of.
    units = ceil(width / across / _BLOCK) * ceil(height / down / _BLOCK)
    blocks = units * sum(horizontal * vertical for _, horizontal, vertical, _ in layer)
    return DecoderMemory(0, rows + blocks * _BLOCK**2 * _COEFFICIENT_BYTES)


READER = FormatReader(
    _open,
    image_parts=jpeg_parts,
    may_have_image=lambda data: bool(jpeg_parts(data)),
    exif=jpeg_exif,
    bare_file=_bare_file,
    has_unread_coding=lambda data: scans_and_coding(data)[1] in _UNREAD_CODINGS,
    memory=_memory,
)
