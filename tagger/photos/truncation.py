"""Detects files that end before the length they declare: they were cut off, and copying them again helps."""

from tagger.photos.formats import PhotoFormat, detect_format
from tagger.photos.tiff import open_tiff

_BOX_LIMIT = 10_000


def ends_early(data: bytes) -> bool:
    """Whether the rest of a PNG, WebP, TIFF, HEIC or AVIF file is missing. False for other formats and in case of doubt."""
    match detect_format(data):
        case PhotoFormat.PNG:
            return b"IEND" not in data[-(2**16) :]
        case PhotoFormat.WEBP:
            return 8 + int.from_bytes(data[4:8], "little") > len(data)
        case PhotoFormat.AVIF | PhotoFormat.HEIF:
            return _boxes_end_early(data)
        case PhotoFormat.TIFF:
            return _tiff_ends_early(data)
        case _:
            return False


def _boxes_end_early(data: bytes) -> bool:
    at = 0
    for _ in range(_BOX_LIMIT):
        if at >= len(data):
            break
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: the box extends to the end of the file
            return False
        at += length
    return at > len(data)


def _tiff_ends_early(data: bytes) -> bool:
    block = open_tiff(data)
    if block is None:
        return False
    directory = block.directory(block.first)
    if directory is None:
        return block.first + 2 > len(data)
    starts = block.integers(directory.tags.get(273)) or block.integers(directory.tags.get(324))
    sizes = block.integers(directory.tags.get(279)) or block.integers(directory.tags.get(325))
    return any(start + size > len(data) for start, size in zip(starts, sizes, strict=False))
