"""Comparing two photo files piece by piece, apart from their XMP, EXIF and IPTC blocks.

The comparison protects photos from mistakes in writing, so it parses both files on its own and shares no code with the
writers. Sizes and offsets that depend on the blocks may differ, but only as they must.
"""

import struct
import zlib
from itertools import zip_longest

from tagger.metadata.formats.comparison_jpeg import Pieces, jpeg_pieces
from tagger.metadata.formats.comparison_tiff import tiff_difference
from tagger.photos.formats import PhotoFormat, detect_format

_PIECE_LIMIT = 100_000
_PNG_HEAD, _RIFF_HEAD = 8, 12


def difference_outside_blocks(before: bytes, after: bytes) -> str | None:
    """Return None if the files differ in their blocks only, else the first other difference in a few words."""
    photo_format = detect_format(before)
    if photo_format != detect_format(after):
        return "the container"
    match photo_format:
        case PhotoFormat.TIFF:
            return tiff_difference(before, after)
        case PhotoFormat.JPEG:
            return _first_difference(*jpeg_pieces(before, after))
        case PhotoFormat.PNG:
            return _first_difference(_png_pieces(before), _png_pieces(after))
        case PhotoFormat.WEBP:
            return _first_difference(_webp_pieces(before), _webp_pieces(after))
    return "the container"


def _first_difference(before: Pieces | None, after: Pieces | None) -> str | None:
    if before is None or after is None:
        return "the structure of the container"
    for old, new in zip_longest(before, after):
        if old != new:
            return str((old or new or ("the structure",))[0])
    return None


def _png_pieces(data: bytes) -> Pieces | None:
    pieces: Pieces = []
    blocks: set[str] = set()
    at = _PNG_HEAD
    while at + 12 <= len(data) and len(pieces) < _PIECE_LIMIT:
        length, kind = struct.unpack_from(">I4s", data, at)
        whole = data[at : at + 12 + length]
        at += 12 + length
        block = _png_block(kind, whole)
        if block is None or block in blocks:
            pieces.append((f"the PNG chunk {kind!r}", whole))
        elif at > len(data) or zlib.crc32(whole[4:-4]) != int.from_bytes(whole[-4:], "big"):
            return None
        else:
            blocks.add(block)
        if kind == b"IEND":
            pieces.append(("the data after the end of the PNG", data[at:]))
            return pieces
    return None


def _png_block(kind: bytes, chunk: bytes) -> str | None:
    if kind == b"eXIf":
        return "EXIF"
    return "XMP" if kind == b"iTXt" and chunk[8:26] == b"XML:com.adobe.xmp\0" else None


def _webp_pieces(data: bytes) -> Pieces | None:
    pieces: Pieces = []
    blocks: set[bytes] = set()
    at, end = _RIFF_HEAD, 8 + int.from_bytes(data[4:8], "little")
    while at + 8 <= end <= len(data) and len(pieces) < _PIECE_LIMIT:
        kind, length = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + length
        if stop > end:
            return None
        content, at = data[at + 8 : stop], stop + length % 2
        if not pieces and kind != b"VP8X":
            pieces.append(("the WebP header", _implied_header(kind, content)))
        if kind == b"VP8X":
            pieces.append(("the WebP header", _without_block_flags(content)))
        elif kind in (b"EXIF", b"XMP ") and kind not in blocks:
            blocks.add(kind)
        else:
            # The last chunk may lack its padding, which is added once another chunk follows.
            pieces.append(
                (f"the WebP chunk {kind!r}", content + (data[stop : min(at, end)] or bytes(length % 2)))
            )
    if at < end or at > end + 1 or end > len(data):
        return None
    pieces.append(("the data after the end of the WebP", data[end:]))
    return pieces


def _without_block_flags(header: bytes) -> bytes:
    return bytes([header[0] & ~0x0C & 0xFF]) + header[1:] if header else header


def _implied_header(kind: bytes, image: bytes) -> bytes:
    """The extended header that a simple file lacks: transparency, width and height less one."""
    flags = width = height = 0
    if kind == b"VP8L" and len(image) >= 5:
        bits = int.from_bytes(image[1:5], "little")
        width, height, flags = bits % 0x4000, (bits >> 14) % 0x4000, (bits >> 28) % 2 * 0x10
    elif len(image) >= 10:
        width = int.from_bytes(image[6:8], "little") % 0x4000 - 1
        height = int.from_bytes(image[8:10], "little") % 0x4000 - 1
    if width < 0 or height < 0:
        return b""
    return bytes([flags, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
