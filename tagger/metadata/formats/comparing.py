"""Whether two photo files are the same but for their XMP, EXIF and IPTC blocks, piece by piece.

This stands between a mistake in writing and a person's photo, so it takes both files apart on its own and shares
nothing with what writes them. What has to follow the blocks may differ, but only as it must.
"""

import struct
import zlib
from collections.abc import Callable
from itertools import zip_longest
from typing import TypeAlias

from tagger.metadata.formats.comparing_jpeg import both_in_pieces
from tagger.metadata.formats.comparing_tiff import tiff_difference

Pieces: TypeAlias = list[tuple[str, object]]

_PIECE_LIMIT = 100_000
_PNG_HEAD, _RIFF_HEAD = 8, 12


def same_but_blocks(before: bytes, after: bytes) -> str | None:
    """None if the files are the same but for their blocks, else the first difference in a few words."""
    kind = _kind(before)
    if kind is None or kind != _kind(after):
        return "the container"
    if kind == "tiff":
        return tiff_difference(before, after)
    old, new = both_in_pieces(before, after) if kind == "jpeg" else map(_PIECES[kind], (before, after))
    if old is None or new is None:
        return "the structure of the container"
    for was, now in zip_longest(old, new):
        if was != now:
            return str((was or now or ("the structure",))[0])
    return None


def _kind(data: bytes) -> str | None:
    if data[:2] == b"\xff\xd8":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "tiff" if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") else None


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
            pieces.append(("what follows the end of the PNG", data[at:]))
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
            # The last chunk's padding may be missing, and is there once something follows.
            pieces.append(
                (f"the WebP chunk {kind!r}", content + (data[stop : min(at, end)] or bytes(length % 2)))
            )
    if at < end or at > end + 1 or end > len(data):
        return None
    pieces.append(("what follows the end of the WebP", data[end:]))
    return pieces


def _without_block_flags(header: bytes) -> bytes:
    return bytes([header[0] & ~0x0C & 0xFF]) + header[1:] if header else header


def _implied_header(kind: bytes, picture: bytes) -> bytes:
    """The extended header that a simple file does without: transparency, width and height less one."""
    flags = width = height = 0
    if kind == b"VP8L" and len(picture) >= 5:
        bits = int.from_bytes(picture[1:5], "little")
        width, height, flags = bits % 0x4000, (bits >> 14) % 0x4000, (bits >> 28) % 2 * 0x10
    elif len(picture) >= 10:
        width = int.from_bytes(picture[6:8], "little") % 0x4000 - 1
        height = int.from_bytes(picture[8:10], "little") % 0x4000 - 1
    if width < 0 or height < 0:
        return b""
    return bytes([flags, 0, 0, 0]) + width.to_bytes(3, "little") + height.to_bytes(3, "little")


_PIECES: dict[str, Callable[[bytes], Pieces | None]] = {
    "png": _png_pieces,
    "webp": _webp_pieces,
}
