"""Compares two photo files piece by piece, apart from their XMP, EXIF and IPTC blocks.

The comparison protects photos from mistakes in writing, so it parses both files on its own and shares no code with the
writers. Sizes and offsets that depend on the blocks may differ, but only as they must.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from itertools import zip_longest
from typing import TypeAlias

from tagger.photos.formats import PhotoFormat, detect_format
from tagger.photos.tiff import TiffBlock, TiffDirectory, open_tiff

_PIECE_LIMIT = 100_000
_PNG_HEAD, _RIFF_HEAD = 8, 12
_WEBP_BLOCK_FLAGS = 0x0C
Pieces: TypeAlias = list[tuple[str, object]]


def difference_outside_blocks(before: bytes, after: bytes) -> str | None:
    """Return None if the files differ in their blocks only, else the first other difference in a few words."""
    photo_format = detect_format(before)
    if photo_format != detect_format(after):
        return "the container"
    match photo_format:
        case PhotoFormat.TIFF:
            return _tiff_difference(before, after)
        case PhotoFormat.JPEG:
            return _first_difference(*_jpeg_pieces(before, after))
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
        is_xmp = kind == b"iTXt" and whole[8:26] == b"XML:com.adobe.xmp\0"
        block = "EXIF" if kind == b"eXIf" else "XMP" if is_xmp else None
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
            flags = bytes(flag & ~_WEBP_BLOCK_FLAGS for flag in content[:1])
            pieces.append(("the WebP header", flags + content[1:]))
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


# --- JPEG: segments without the blocks, the index of images with offsets resolved, and everything from the first scan on ---

_SOS, _APP2 = 0xDA, 0xE2
_SEGMENT_LIMIT = 200_000
_IPTC, _IPTC_DIGEST = b"\x04\x04", b"\x04\x25"
_MP_ENTRIES = 0xB002


def _jpeg_pieces(before: bytes, after: bytes) -> tuple[Pieces | None, Pieces | None]:
    """The pieces of both files; None if the segments before the image are broken.

    The first image's size in the index must follow the image only if it was correct before: many programs store a wrong
    one.
    """
    size_follows = any(_has_valid_first_size(before, *segment) for segment in _head(before) or [])
    return _pieces(before, size_follows=size_follows), _pieces(after, size_follows=size_follows)


def _has_valid_first_size(data: bytes, marker: int, start: int, end: int) -> bool:
    block = data[start + 8 : end]
    entries = _mp_entries(block) if marker == _APP2 and data[start + 4 : start + 8] == b"MPF\0" else []
    if not entries:
        return False
    scan = (_head(data) or [(0, 0, 0)])[-1][1]
    size, offset = _size_and_offset(block, entries[0])
    return offset == 0 and data.find(b"\xff\xd9", scan) + 2 <= size <= len(data)


def _size_and_offset(block: bytes | bytearray, at: int) -> tuple[int, int]:
    size, offset = struct.unpack_from(("<" if block[:2] == b"II" else ">") + "II", block, at + 4)
    return size, offset


def _pieces(data: bytes, *, size_follows: bool) -> Pieces | None:
    segments = _head(data)
    if segments is None:
        return None
    scan = segments.pop()[1]
    pieces: Pieces = []
    blocks: dict[bytes, bytes] = {}
    for marker, start, end in segments:
        payload = data[start + 4 : end]
        block = _block(marker, payload)
        if block and block not in blocks:
            blocks[block] = payload
        elif marker == 0xED and payload.startswith(b"Photoshop 3.0\0"):
            pieces += _resources(payload[14:], blocks)
        elif marker == _APP2 and payload.startswith(b"MPF\0"):
            pieces += _index(data[start + 8 : end], scan - start - 8, scan if size_follows else None)
        else:
            pieces.append((f"the JPEG segment {marker:02X}", payload))
    return [
        *pieces,
        ("the digest of IPTC", _digest(blocks)),
        ("the image, or the data after it", data[scan:]),
    ]


def _head(data: bytes) -> list[tuple[int, int, int]] | None:
    """(marker, start, end) of each segment up to the first scan, which is the last."""
    segments: list[tuple[int, int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and len(segments) < _SEGMENT_LIMIT:
        marker = data[at + 1]
        length = (data[at + 2] << 8) + data[at + 3]
        if marker == 0xFF:
            at += 1
            continue
        segments.append((marker, at, at + 2 + length))
        if marker == _SOS:
            return segments
        if length < 2:
            return None
        at += 2 + length
    return None


def _block(marker: int, payload: bytes) -> bytes | None:
    names = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
    return next((name for name in names if marker == 0xE1 and payload.startswith(name)), None)


def _resources(payload: bytes, blocks: dict[bytes, bytes]) -> Pieces:
    """The Photoshop resources without the first IPTC resource and the first IPTC digest."""
    pieces: Pieces = []
    at = 0
    while at + 12 <= len(payload) and payload[at : at + 4].isalnum():
        value_size_at = at + 6 + ((payload[at + 6] + 2) & ~1)
        start = value_size_at + 4
        end = start + int.from_bytes(payload[value_size_at:start], "big")
        if end > len(payload):
            break
        number = payload[at + 4 : at + 6]
        if number in (_IPTC, _IPTC_DIGEST) and number not in blocks:
            blocks[number] = payload[start:end]
            if payload[at:value_size_at] != b"8BIM" + number + b"\0\0":
                pieces.append(
                    (f"the name of the Photoshop resource {number.hex()}", payload[at:value_size_at])
                )
        else:
            pieces.append((f"the Photoshop resource {number.hex()}", (payload[at:start], payload[start:end])))
        at = end + (end - start) % 2
    return [*pieces, ("the end of the Photoshop resources", payload[at:])] if payload[at:] else pieces


def _digest(blocks: dict[bytes, bytes]) -> bytes | None:
    """The digest of IPTC, or b"correct" if it matches: a write then updates it. A wrong digest has a meaning and stays."""
    digest = blocks.get(_IPTC_DIGEST)
    expected = hashlib.md5(blocks.get(_IPTC, b""), usedforsecurity=False).digest()
    return b"correct" if digest == expected else digest


def _index(block: bytes, scan: int, first_scan: int | None) -> Pieces:
    """The index of images with its offsets relative to the first scan.

    All bytes from the first scan on are compared, too, so equal relative offsets point to the same image. `scan` is the
    distance from the index to the first scan. `first_scan` is the distance from the first image's start to the first scan
    if the first image's size must follow it, else None.
    """
    remaining_index = bytearray(block)
    entries = _mp_entries(block)
    targets: list[tuple[str, int, int]] = []
    for at in entries:
        size, offset = _size_and_offset(block, at)
        if offset == 0 and at == entries[0] and first_scan is not None:
            targets.append(("first", size - first_scan, 0))
            remaining_index[at + 4 : at + 8] = bytes(4)
        elif offset and size:
            targets.append(("image", size, offset - scan))
            remaining_index[at + 8 : at + 12] = bytes(4)
    return [("the images after the first", targets), ("the index of images", bytes(remaining_index))]


def _mp_entries(block: bytes) -> list[int]:
    """The offset of each image's entry in the block; empty if the index cannot be read."""
    if len(block) < 8 or block[:2] not in (b"II", b"MM"):
        return []
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", block, 4)
    if first + 2 > len(block):
        return []
    (count,) = struct.unpack_from(order + "H", block, first)
    for at in range(first + 2, min(first + 2 + 12 * count, len(block) - 11), 12):
        tag, _, size, start = struct.unpack_from(order + "HHII", block, at)
        if tag == _MP_ENTRIES and start + size <= len(block):
            return list(range(start, start + size - 15, 16))
    return []


# --- TIFF: every tag of every directory with its values, XMP aside, and every byte at its offset ---
#
# Notes of cameras and programs point anywhere in a TIFF file, so no byte may move or change, even if no known tag refers to it.

_XMP = 700
_POINTERS = (0x014A, 0x8769, 0x8825, 0xA005)
_DIRECTORY_LIMIT = 256


def _tiff_difference(before: bytes, after: bytes) -> str | None:
    """Return the first difference in a few words; None if there is none."""
    old, new = open_tiff(before), open_tiff(after)
    if old is None or new is None or (old.order, old.big) != (new.order, new.big):
        return "the TIFF header"
    old_entries, new_entries = _main_entries(old), _main_entries(new)
    if (
        old_entries is None
        or new_entries is None
        or _other_entries(old, old_entries) != _other_entries(new, new_entries)
    ):
        return "the entries of the first TIFF directory"
    header = (8, 16) if old.big else (4, 8)
    if not _unchanged_outside(
        before, after, [header, *_xmp_spans(old, old_entries), *_xmp_spans(new, new_entries)]
    ):
        return "bytes outside of the XMP"
    return _directories_difference(old, new)


def _unchanged_outside(before: bytes, after: bytes, spans: list[tuple[int, int]]) -> bool:
    """Whether the bytes at all common offsets are the same outside of the spans."""
    at, end = 0, min(len(before), len(after))
    for start, stop in sorted(spans):
        if before[at : min(start, end)] != after[at : min(start, end)]:
            return False
        at = max(at, stop)
    return before[at:end] == after[at:end]


def _main_entries(block: TiffBlock) -> range | None:
    """The offsets of the first directory's entries; None if it is not completely inside of the file."""
    head, step, slot = (8, 20, 8) if block.big else (2, 12, 4)
    start = block.first + head
    end = start + _number(block, block.first, head) * step
    return range(start, end, step) if block.first > 0 and end + slot <= len(block.data) else None


def _other_entries(block: TiffBlock, entries: range) -> list[bytes]:
    """The raw entries other than XMP."""
    return [bytes(block.data[at : at + entries.step]) for at in entries if _number(block, at, 2) != _XMP]


def _xmp_spans(block: TiffBlock, entries: range) -> list[tuple[int, int]]:
    return [(at, at + entries.step) for at in entries if _number(block, at, 2) == _XMP]


def _number(block: TiffBlock, at: int, size: int) -> int:
    return int.from_bytes(block.data[at : at + size], "little" if block.order == "<" else "big")


def _directories_difference(old: TiffBlock, new: TiffBlock) -> str | None:
    """The first difference in tags and values. Image data has not moved, so it is the same if these are."""
    budget = 2 * len(old.data)
    for number, (old_directory, new_directory) in enumerate(
        zip(_directories(old), _directories(new), strict=False)
    ):
        if old_directory is None or new_directory is None:
            return (
                None if old_directory is new_directory else f"the number of TIFF directories, after {number}"
            )
        ignored = {_XMP} if number == 0 else set()
        tags = old_directory.tags.keys() - ignored
        if old_directory.following != new_directory.following or tags != new_directory.tags.keys() - ignored:
            return f"the tags of TIFF directory {number}"
        for tag in tags:
            old_value, new_value = old_directory.tags[tag], new_directory.tags[tag]
            budget -= len(old_value.raw)
            if budget < 0:
                return "more values than the TIFF has bytes"
            if (old_value.kind, old_value.count) != (new_value.kind, new_value.count) or bytes(
                old_value.raw
            ) != bytes(new_value.raw):
                return f"the TIFF tag {tag}"
    return None


def _directories(block: TiffBlock) -> Iterator[TiffDirectory | None]:
    """Each directory that can be reached from the first, then None without end."""
    pending, visited = [block.first], set[int]()
    while pending and len(visited) < _DIRECTORY_LIMIT:
        at = pending.pop(0)
        directory = block.directory(at) if at not in visited else None
        visited.add(at)
        if directory:
            yield directory
            for pointer in _POINTERS:
                pending += block.integers(directory.tags.get(pointer))[:_DIRECTORY_LIMIT]
            pending.append(directory.following)
    while True:
        yield None
