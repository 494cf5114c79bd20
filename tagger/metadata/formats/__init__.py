"""The metadata blocks of photos: read, and in JPEG files replaced in place without encoding the image again.

Every change is a splice. Offsets and sizes that span a splice are adjusted; a file whose offsets cannot be
adjusted is refused. `difference_outside_blocks` checks the result independently. Knows nothing of the blocks'
content. The image decoders parse the boxes of HEIC and AVIF, so nothing here knows their structure.
"""

import hashlib
import struct
from contextlib import suppress
from itertools import zip_longest
from typing import TypeAlias

from tagger.metadata import RefusalKind, WriteRefused
from tagger.metadata.formats import jpeg
from tagger.metadata.formats.jpeg import Splice, broken_structure
from tagger.photos.formats import (
    JPEG,
    PNG,
    RAW,
    TIFF,
    WEBP,
    Blocks,
    BrokenBlocks,
    detect_format,
    read_container,
)
from tagger.photos.raw import read_raw


def may_hold_tags(data: bytes) -> bool:
    """Whether this program embeds tags into files of this format, or did so in version 1."""
    return detect_format(data) in (JPEG, PNG, WEBP, TIFF)


def is_jpeg(data: bytes) -> bool:
    return detect_format(data) is JPEG


def read_blocks(data: bytes) -> Blocks:
    """Read a photo's metadata blocks; empty for other files, and for broken ones of formats without our tags.

    Raises:
        WriteRefused: the file is broken.
    """
    photo_format = detect_format(data)
    if photo_format is JPEG:
        return jpeg.read_blocks(data)
    if photo_format is RAW:
        # Read the EXIF and XMP of a RAW photo; where the file itself has no XMP, that of its
        # largest preview.
        raw, preview = read_raw(data), Blocks()
        if raw.previews and not raw.xmp:
            with suppress(WriteRefused):
                preview = jpeg.read_blocks(bytes(raw.previews[0].data))
        return Blocks(
            xmp=raw.xmp or preview.xmp,
            exif=raw.exif,
            iptc=preview.iptc,
        )
    try:
        return photo_format.reader.blocks(data) if photo_format else Blocks()
    except BrokenBlocks as error:
        raise broken_structure(str(error)) from error


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give a JPEG these blocks. Equal ones are not changed; None removes a block.

    Raises:
        WriteRefused: the change would put other data in the file at risk.
    """
    if not is_jpeg(data):
        raise only_jpeg()
    splices = jpeg.replace_blocks(data, new)
    if splices and read_container(data) is None:
        raise broken_structure("its image data cannot be located")
    return splices


def only_jpeg() -> WriteRefused:
    return WriteRefused(
        RefusalKind.FORMAT,
        "Tags are embedded into JPEG files only. Keep its tags in a sidecar.",
    )


# Compares two JPEG files piece by piece, apart from their XMP, EXIF and IPTC blocks.
#
# The comparison protects photos from mistakes in writing, so it parses both files on its own and
# shares no code with the writers. Sizes and offsets that depend on the blocks may differ, but only
# as they must.

Pieces: TypeAlias = list[tuple[str, object]]


def difference_outside_blocks(before: bytes, after: bytes) -> str | None:
    """None if two JPEG files differ in their blocks only, else the first other difference in words."""
    if not detect_format(before) is detect_format(after) is JPEG:
        return "the container"

    # The first image's size in the index must follow the image only if it was correct before: many
    # programs store a wrong one.
    size_follows = any(
        _has_valid_first_size(before, *segment) for segment in _head(before) or []
    )
    old_pieces = _pieces(before, size_follows=size_follows)
    new_pieces = _pieces(after, size_follows=size_follows)
    if old_pieces is None or new_pieces is None:
        return "the structure of the container"
    for old, new in zip_longest(old_pieces, new_pieces):
        if old != new:
            return str((old or new or ("the structure",))[0])
    return None


# The pieces: segments without the blocks, the index with offsets resolved, and all from the first scan.

_SOS, _APP2 = 0xDA, 0xE2
_SEGMENT_LIMIT = 200_000
_IPTC, _IPTC_DIGEST = b"\x04\x04", b"\x04\x25"
_MP_ENTRIES = 0xB002


def _has_valid_first_size(data: bytes, marker: int, start: int, end: int) -> bool:
    block = data[start + 8 : end]
    entries = (
        _mp_entries(block)
        if marker == _APP2 and data[start + 4 : start + 8] == b"MPF\0"
        else []
    )
    if not entries:
        return False
    scan = (_head(data) or [(0, 0, 0)])[-1][1]
    size, offset = _size_and_offset(block, entries[0])
    return offset == 0 and data.find(b"\xff\xd9", scan) + 2 <= size <= len(data)


def _size_and_offset(block: bytes | bytearray, at: int) -> tuple[int, int]:
    size, offset = struct.unpack_from(
        ("<" if block[:2] == b"II" else ">") + "II",
        block,
        at + 4,
    )
    return size, offset


def _pieces(data: bytes, *, size_follows: bool) -> Pieces | None:
    # None if the segments before the image are broken.
    segments = _head(data)
    if segments is None:
        return None
    scan = segments.pop()[1]
    pieces: Pieces = []
    blocks: dict[bytes, bytes] = {}
    for marker, start, end in segments:
        payload = data[start + 4 : end]
        names = (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0")
        block = next(
            (name for name in names if marker == 0xE1 and payload.startswith(name)),
            None,
        )
        if block and block not in blocks:
            blocks[block] = payload
        elif marker == 0xED and payload.startswith(b"Photoshop 3.0\0"):
            pieces += _resources(payload[14:], blocks)
        elif marker == _APP2 and payload.startswith(b"MPF\0"):
            pieces += _index(
                data[start + 8 : end],
                scan - start - 8,
                scan if size_follows else None,
            )
        else:
            pieces.append((f"the JPEG segment {marker:02X}", payload))
    return [
        *pieces,
        ("the digest of IPTC", _digest(blocks)),
        ("the image, or the data after it", data[scan:]),
    ]


def _head(data: bytes) -> list[tuple[int, int, int]] | None:
    # (marker, start, end) of each segment up to the first scan, which is the last.
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


def _resources(payload: bytes, blocks: dict[bytes, bytes]) -> Pieces:
    # The Photoshop resources without the first IPTC resource and the first IPTC digest.
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
                    (
                        f"the name of the Photoshop resource {number.hex()}",
                        payload[at:value_size_at],
                    )
                )
        else:
            pieces.append(
                (
                    f"the Photoshop resource {number.hex()}",
                    (payload[at:start], payload[start:end]),
                )
            )
        at = end + (end - start) % 2
    return (
        [*pieces, ("the end of the Photoshop resources", payload[at:])]
        if payload[at:]
        else pieces
    )


def _digest(blocks: dict[bytes, bytes]) -> bytes | None:
    # The digest of IPTC; b"correct" if it matches, as a write then updates it. A wrong one has a meaning.
    digest = blocks.get(_IPTC_DIGEST)
    expected = hashlib.md5(blocks.get(_IPTC, b""), usedforsecurity=False).digest()
    return b"correct" if digest == expected else digest


def _index(block: bytes, scan: int, first_scan: int | None) -> Pieces:
    # The index of images with its offsets relative to the first scan.
    # All bytes from the first scan on are compared, too, so equal relative offsets point to the same image.
    # `scan` is the distance from the index to the first scan. `first_scan` is the distance from the first
    # image's start to the first scan if the first image's size must follow it, else None.
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
    return [
        ("the images after the first", targets),
        ("the index of images", bytes(remaining_index)),
    ]


def _mp_entries(block: bytes) -> list[int]:
    # The offset of each image's entry in the block; empty if the index cannot be read.
    if len(block) < 8 or block[:2] not in (b"II", b"MM"):
        return []
    order = "<" if block[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", block, 4)
    if first + 2 > len(block):
        return []
    (count,) = struct.unpack_from(order + "H", block, first)
    for at in range(
        first + 2,
        min(first + 2 + 12 * count, len(block) - 11),
        12,
    ):
        tag, _, size, start = struct.unpack_from(order + "HHII", block, at)
        if tag == _MP_ENTRIES and start + size <= len(block):
            return list(range(start, start + size - 15, 16))
    return []
