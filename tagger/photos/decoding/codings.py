"""Names the coding of an image that no decoder of this installation reads, so that the file does not count as damaged."""

import io
import re
from functools import cache

from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO

from tagger.photos.formats import BOXES_BYTES, PhotoFormat, detect_format
from tagger.photos.jpeg import JPEG_LS, scans_and_coding
from tagger.photos.tiff import open_tiff

_COMPRESSION = 259
_JPEG = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "hierarchical JPEG"),
    JPEG_LS: "JPEG-LS",
}
_TIFF = {
    34661: "JBIG",
    34887: "LERC",
    34892: "lossy DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    **dict.fromkeys((50002, 52546), "JPEG XL"),
}
_OPTIONAL = frozenset((34925, 50000, 50001))
"""Codings that libtiff can be built without."""
_ITEM = re.compile(rb"infe(?:\x02.{7}|\x03.{9})(.{4})", re.DOTALL)
_NOT_CODED = frozenset((b"grid", b"iden", b"iovl", b"tmap", b"mime", b"uri "))
_READABLE = {PhotoFormat.HEIF: b"hvc1", PhotoFormat.AVIF: b"av01"}
_ITEMS = {
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
            return _JPEG.get(scans_and_coding(data)[1])
        case PhotoFormat.TIFF:
            return _tiff_coding(data)
        case PhotoFormat.HEIF | PhotoFormat.AVIF as photo_format:
            items = [name for name in _ITEM.findall(data, 0, BOXES_BYTES) if name not in _NOT_CODED]
            if not items or _READABLE[photo_format] in items:
                return None
            name = _ITEMS.get(items[0]) or items[0].decode("latin-1")
            return f"{photo_format} with {name}"
    return None


def _tiff_coding(data: bytes) -> str | None:
    block = open_tiff(data)
    directory = block.directory(block.first) if block else None
    values = block.integers(directory.tags.get(_COMPRESSION)) if block and directory else ()
    number = values[0] if values else 1
    if number in COMPRESSION_INFO and (number not in _OPTIONAL or _is_built_in(number)):
        return None
    return f"TIFF with {_TIFF.get(number, f'compression {number}')}"


@cache
def _is_built_in(compression: int) -> bool:
    """Whether libtiff reads a coding. It can be asked only for what it writes."""
    try:
        Image.new("RGB", (8, 8)).save(io.BytesIO(), "TIFF", compression=COMPRESSION_INFO[compression])
    except OSError:
        return False
    return True
