"""JPEG files: XMP and EXIF have segments of their own, IPTC is one of Photoshop's resources.

A write replaces whole segments before the image. Offsets across them are adjusted, or the write is refused:
those of the multi-picture index (CIPA DC-007) count from its own header. Cameras point from their maker notes
to previews after the image. Programs append notes there, of which only the kinds below may move.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tagger.metadata import RefusalKind, WriteRefused
from tagger.photos.containers import (
    EXIF,
    EXIF_POINTER,
    IPTC,
    MAKER_NOTE,
    SEGMENT_LIMIT,
    XMP,
    TiffBlock,
    iptc_in,
    resources_in,
    tiff_in,
)
from tagger.photos.formats import Blocks

# An identifier, the size of the whole, and the offset of the part.
_EXTENDED_HEAD_BYTES = 40
_ODD_XMP = b"adobe:ns:meta"
_SOI_BYTES = 2


def read_blocks(data: bytes) -> Blocks:
    jpeg = read_jpeg(data)
    xmp, exif = jpeg.segments_named(APP1, XMP), jpeg.segments_named(APP1, EXIF)
    resources = (
        jpeg.content(segment, PHOTOSHOP)
        for segment in jpeg.segments_named(APP13, PHOTOSHOP)
    )
    return Blocks(
        xmp=jpeg.content(xmp[0], XMP) if xmp else None,
        exif=jpeg.content(exif[0], EXIF) if exif else None,
        iptc=next(
            (iptc for resource in resources if (iptc := iptc_in(resource)) is not None),
            None,
        ),
    )


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    jpeg = read_jpeg(data)
    changes = _changes(jpeg, read_blocks(data), new)
    if changes and any(
        b"c2pa" in jpeg.content(segment, b"")[:128]
        for segment in jpeg.segments_named(APP11, b"JP")
    ):
        # A signature over the whole file, which any change breaks.
        raise WriteRefused(
            RefusalKind.SIGNED,
            "It carries content credentials (C2PA), a signature over the whole file, "
            "which a write would break. Keep its tags in a sidecar.",
        )
    if all(len(change.replacement) == change.end - change.start for change in changes):
        return tuple(changes)
    index = _read_index(jpeg)
    _require_movable(jpeg, index)
    if index:
        changes += _offset_patches(jpeg, index, changes)
    return tuple(sorted(changes, key=lambda change: change.start))


def extended_xmp(data: bytes) -> bytes:
    """The part of the XMP in extension segments, in the order of these."""
    jpeg = read_jpeg(data)
    return b"".join(
        jpeg.content(segment, EXTENDED_XMP)[_EXTENDED_HEAD_BYTES:]
        for segment in jpeg.segments_named(APP1, EXTENDED_XMP)
    )


def _changes(jpeg: Jpeg, current: Blocks, new: Blocks) -> list[Splice]:
    changes = []
    if new.exif != current.exif:
        existing = jpeg.segments_named(APP1, EXIF)
        if len(existing) > 1:
            raise ambiguous_blocks("It has several EXIF segments")
        if len(existing) < len(jpeg.segments_named(APP1, EXIF[:5])):
            raise broken_structure("an EXIF segment has an invalid name")
        new_at = _after_jfif(jpeg)
        changes.append(_change(existing, EXIF, new.exif, new_at, APP1))
    if new.xmp != current.xmp:
        existing = jpeg.segments_named(APP1, XMP)
        if len(existing) > 1:
            raise ambiguous_blocks("It has several XMP segments")
        others = [
            jpeg.content(segment, b"")
            for segment in jpeg.head
            if segment.marker == APP1 and segment not in existing
        ]
        if any(
            payload.startswith(XMP[:-1]) or _ODD_XMP in payload
            for payload in others
            if not payload.startswith((EXIF, EXTENDED_XMP))
        ):
            raise broken_structure("an XMP segment has an invalid name")
        new_at = _after_exif(jpeg)
        changes.append(_change(existing, XMP, new.xmp, new_at, APP1))
    if new.iptc != current.iptc:
        segments = jpeg.segments_named(APP13, PHOTOSHOP)
        if len(segments) > 1:
            raise ambiguous_blocks(
                "It has several segments of Photoshop resources, which hold IPTC"
            )
        payload = replace_iptc(
            jpeg.content(segments[0], PHOTOSHOP) if segments else b"",
            new.iptc,
        )
        new_at = _after_exif(jpeg)
        changes.append(_change(segments, PHOTOSHOP, payload or None, new_at, APP13))
    return in_order(changes)


def _change(
    existing: list[Segment],
    name: bytes,
    block: bytes | None,
    new_at: int,
    marker: int,
) -> Splice:
    start, end = (existing[0].start, existing[0].end) if existing else (new_at, new_at)
    if block is None:
        return Splice(start, end, b"")
    if len(name) + len(block) > PAYLOAD_LIMIT:
        raise WriteRefused(
            RefusalKind.TOO_LARGE,
            "The photo's metadata would exceed the 64 KB of a JPEG segment. "
            "Keep its tags in a sidecar.",
        )
    payload = name + block
    # The size counts its own two bytes, too.
    size = (len(payload) + 2).to_bytes(2, "big")
    return Splice(start, end, b"\xff" + bytes([marker]) + size + payload)


def _after_jfif(jpeg: Jpeg) -> int:
    # The offset after the APP0 segments at the start of the file.
    at = _SOI_BYTES
    for segment in jpeg.head:
        if segment.marker != APP0:
            break
        at = segment.end
    return at


def _after_exif(jpeg: Jpeg) -> int:
    exif = jpeg.segments_named(APP1, EXIF)
    return exif[-1].end if exif else _after_jfif(jpeg)


_ENTRIES, _UNDEFINED = 0xB002, 7
_ENTRY_BYTES, _SIZE_AT, _OFFSET_AT = 16, 4, 8
_LARGEST = 2**32 - 1
_THUMBNAIL = 0x0201
_MOVABLE_LIMIT = 16


@dataclass(frozen=True)
class _IndexedImage:
    # An image in the index: the offset of its entry, and the offset and size that the entry states.
    entry_at: int
    start: int
    size: int


@dataclass(frozen=True)
class _Index:
    # `base` is the offset that all offsets count from. `images` are the images after the first.
    order: str
    base: int
    first: _IndexedImage | None
    images: tuple[_IndexedImage, ...]


def _read_index(jpeg: Jpeg) -> _Index | None:
    # Read the index; None if the file has none.
    # Raises WriteRefused: the index cannot be interpreted.
    segments = jpeg.segments_named(APP2, MPF)
    if not segments:
        return None
    base = segments[0].payload + len(MPF)
    block = tiff_in(jpeg.data[base : segments[0].end])
    entries = block.tags.get(_ENTRIES)
    is_readable = (
        entries is not None
        and entries.kind == _UNDEFINED
        and not entries.count % _ENTRY_BYTES
    )
    if len(segments) > 1 or entries is None or not is_readable:
        raise fixed_offsets("It holds several images, and their index cannot be read")
    starts = range(
        base + entries.start,
        base + entries.start + entries.count,
        _ENTRY_BYTES,
    )
    images = [_image(jpeg, block.order, base, at) for at in starts]
    first = images[0] if images[0].start == base else None
    # An entry without an offset or a size is unused.
    others = tuple(image for image in images if image.start != base and image.size)
    return _Index(block.order, base, first, others)


def _image(jpeg: Jpeg, order: str, base: int, entry_at: int) -> _IndexedImage:
    size, offset = struct.unpack_from(
        order + "II",
        jpeg.data,
        entry_at + _SIZE_AT,
    )
    image = _IndexedImage(entry_at, base + offset, size)
    # If a program dropped the images but kept the index, it points past the file's end, and continues to.
    is_inside = offset and size and image.start < len(jpeg.data)
    if is_inside and (
        image.start < jpeg.end or not jpeg.data.startswith(b"\xff\xd8\xff", image.start)
    ):
        raise fixed_offsets("Its index of images points to data that is not an image")
    return image


def _offset_patches(
    jpeg: Jpeg,
    index: _Index,
    changes: Sequence[Splice],
) -> list[Splice]:
    # The splices that update the index after the changes.
    # Raises WriteRefused: a new number does not fit.

    def shift(position: int) -> int:
        # The offset after the changes of the byte at `position`; an insertion at this offset comes before it.
        return position + sum(
            change.growth for change in changes if change.end <= position
        )

    base = shift(index.base)
    numbers = [
        (image.entry_at + _OFFSET_AT, shift(image.start) - base)
        for image in index.images
    ]
    first = index.first
    # Some writers store a wrong size. A size that reaches past the image's end includes the inserted bytes.
    if first and jpeg.end <= first.size <= len(jpeg.data):
        numbers.append(
            (first.entry_at + _SIZE_AT, first.size + shift(jpeg.end) - jpeg.end)
        )
    if any(not 0 < number <= _LARGEST for _, number in numbers):
        raise fixed_offsets("Its index of images cannot hold larger numbers")
    splices = (
        Splice(at, at + 4, struct.pack(index.order + "I", number))
        for at, number in numbers
    )
    return [
        splice
        for splice in splices
        if jpeg.data[splice.start : splice.end] != splice.replacement
    ]


def _require_movable(jpeg: Jpeg, index: _Index | None) -> None:
    # Check that bytes can be inserted before the image.
    # Raises WriteRefused: an offset to other data would become wrong.
    # The trailer without the images in the index.
    rest, at = [], jpeg.end
    for image in sorted(index.images if index else (), key=lambda image: image.start):
        rest.append(jpeg.data[at : max(at, image.start)])
        at = max(at, image.start + image.size)
    tail = jpeg.data[at:]
    between = b"".join(rest)
    unindexed = tail if not between.strip(b"\0") else between + tail

    if not _is_movable(unindexed):
        raise fixed_offsets(
            "It holds data after the image that may be found by its position in the file"
        )
    segments = jpeg.segments_named(APP1, EXIF)
    base = segments[0].payload + len(EXIF) if segments else 0
    block = tiff_in(jpeg.data[base : segments[0].end] if segments else None)
    # A thumbnail after the EXIF and inside of the file. Past its end, it is lost already.
    thumbnails = (
        start
        for directory in block.directories()
        for start in block.integers(directory.tags.get(_THUMBNAIL))
    )
    if any(len(block.data) <= start < len(jpeg.data) - base for start in thumbnails):
        raise fixed_offsets("Its EXIF points to data outside of the EXIF")
    starts = (
        [image.start for image in index.images if image.start < len(jpeg.data)]
        if index
        else []
    )
    if starts and any(_note_holds_offset(block, base, start) for start in starts):
        raise fixed_offsets(
            "The camera's maker notes point to another image after the image"
        )


def _is_movable(trailer: bytes) -> bool:
    # Whether the trailer is padding, videos and Samsung's notes, which hold relative offsets only.
    rest = trailer
    for _ in range(_MOVABLE_LIMIT):
        if not rest or b"ftyp" in rest.lstrip(b"\0")[:8]:
            return True
        size = _samsung_bytes(rest)
        # Padding may follow notes, which may end in zeros themselves.
        shorter = rest[: len(rest) - size] if size else rest.rstrip(b"\0")
        if shorter == rest:
            return False
        rest = shorter
    return False


def _samsung_bytes(trailer: bytes) -> int:
    # The size of Samsung's notes, whose directory states how far before it each block starts; 0: none.
    size = int.from_bytes(trailer[-8:-4], "little")
    start = len(trailer) - 8 - size
    if trailer[-4:] != b"SEFT" or start < 0 or trailer[start : start + 4] != b"SEFH":
        return 0
    count = int.from_bytes(trailer[start + 8 : start + 12], "little")
    entries = range(
        start + 12,
        min(start + 12 + 12 * count, len(trailer) - 12),
        12,
    )
    farthest = max(
        (int.from_bytes(trailer[at + 4 : at + 8], "little") for at in entries),
        default=0,
    )
    whole = len(trailer) - start + farthest
    return whole if whole <= len(trailer) else 0


def _note_holds_offset(block: TiffBlock, base: int, image_start: int) -> bool:
    # Whether the maker note contains the offset of an image, counted from any likely origin.
    note = block.tags_behind(EXIF_POINTER).get(MAKER_NOTE)
    if note is None:
        return False
    origins = (
        origin
        for origin in (0, base, base + note.start)
        if 0 <= image_start - origin <= _LARGEST
    )
    content = bytes(note.raw)
    return any(
        struct.pack(order + "I", image_start - at) in content
        for at in origins
        for order in "<>"
    )


# The segments of a JPEG, read strictly, as a write accounts for every byte; and Photoshop's
# resources.
#
# The bytes after the end of the first image (further images, videos, notes of programs) are the
# trailer.

EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
MPF = b"MPF\0"
PAYLOAD_LIMIT = 65_533

SOS, EOI, APP0, APP1, APP2, APP11, APP13 = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEB, 0xED
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """The offsets of a segment, marker and length included. `payload` is the offset of its content."""

    marker: int
    start: int
    end: int

    @property
    def payload(self) -> int:
        return self.start + 4


@dataclass(frozen=True)
class Jpeg:
    """`head` holds the segments before the first scan, at `scan`. The trailer starts at `end`."""

    data: bytes
    head: tuple[Segment, ...]
    scan: int
    end: int

    def segments_named(self, marker: int, name: bytes) -> list[Segment]:
        return [
            segment
            for segment in self.head
            if segment.marker == marker
            and self.data.startswith(name, segment.payload, segment.end)
        ]

    def content(self, segment: Segment, name: bytes) -> bytes:
        return self.data[segment.payload + len(name) : segment.end]


def read_jpeg(data: bytes) -> Jpeg:
    """Parse the first image of a file.

    Raises:
        WriteRefused: it is broken.
    """
    head: list[Segment] = []
    for segment in _segments(data):
        if segment.marker == SOS:
            return Jpeg(
                data,
                tuple(head),
                segment.start,
                _image_end(data, segment),
            )
        head.append(segment)
        if len(head) > SEGMENT_LIMIT:
            raise broken_structure("it has too many segments")
    raise broken_structure("it holds no image")


def _segments(data: bytes) -> Iterator[Segment]:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise broken_structure(f"no segment starts at byte {at}")
        marker = data[at + 1]
        # A marker may be preceded by several 0xFF bytes, which stay where they are.
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if (
            marker in _STANDALONE
            or marker in (0, EOI)
            or end < at + 4
            or end > len(data)
        ):
            raise broken_structure(f"the segment at byte {at} is incomplete")
        yield Segment(marker, at, end)
        at = end


def _image_end(data: bytes, scan: Segment) -> int:
    # The offset after the image's end marker. Further scans and their tables may follow the first scan.
    at = scan.end
    for _ in range(SEGMENT_LIMIT):
        marker_match = _MARKER_IN_SCAN.search(data, at)
        if marker_match is None:
            break
        marker, at = data[marker_match.start() + 1], marker_match.end()
        if marker == EOI:
            return at
        if marker in _STANDALONE:
            continue
        at += max(int.from_bytes(data[at : at + 2], "big"), 2)
    raise broken_structure("the image has no end marker")


_IPTC_DIGEST = 0x0425
_NEW_HEAD = b"8BIM" + IPTC.to_bytes(2, "big") + b"\0\0"


def replace_iptc(payload: bytes, iptc: bytes | None) -> bytes:
    """Return the resources with these IPTC datasets; all other resources stay unchanged.

    A digest that was correct is updated. A wrong digest means that a program changed IPTC but not XMP, and
    readers use it to decide which of the two to trust, so it stays wrong.

    Raises:
        WriteRefused: the resources cannot be read, or hold IPTC twice.
    """
    resources = list(resources_in(payload))
    rest = payload[sum(len(resource.raw) for resource in resources) :]
    if rest.strip(b"\0"):
        raise broken_structure(
            "the Photoshop resources, which hold IPTC, cannot be read"
        )
    if sum(resource.number == IPTC for resource in resources) > 1:
        raise ambiguous_blocks("It has IPTC datasets twice")
    digest_before = next(
        (_digest(resource.value) for resource in resources if resource.number == IPTC),
        _digest(b""),
    )
    packed: list[bytes] = []
    for resource in resources:
        if resource.number == IPTC:
            packed += [_pack(resource.head, iptc)] if iptc is not None else []
        elif resource.number == _IPTC_DIGEST:
            was_correct = resource.value == digest_before
            packed += (
                [_pack(resource.head, _digest(iptc or b""))]
                if was_correct
                else [resource.raw]
            )
        else:
            packed.append(resource.raw)
    if iptc is not None and all(resource.number != IPTC for resource in resources):
        packed.append(_pack(_NEW_HEAD, iptc))
    return b"".join((*packed, rest))


def _pack(head: bytes, value: bytes) -> bytes:
    return head + len(value).to_bytes(4, "big") + value + b"\0" * (len(value) % 2)


def _digest(iptc: bytes) -> bytes:
    return hashlib.md5(iptc, usedforsecurity=False).digest()


# What the readers and writers of metadata share: refusals, and splices.
#
# Each cause of a refusal has one text. A splice replaces a range of bytes in a file; bytes outside
# of the splices stay as they are. The inverse of a list of splices holds the replaced bytes and
# their offsets, and restores the original exactly.

_VERSION = b"\x01"
_HEAD = struct.Struct("<QQQ")
# The limit on an unpacked inverse, in bytes: a few kilobytes for embedded tags, at most a whole
# sidecar.
LARGEST_INVERSE = 64 * 2**20
MOST_SPLICES = 10_000


@dataclass(frozen=True)
class Splice:
    """Replaces the bytes from `start` to `end` (exclusive). For an insertion, start equals end."""

    start: int
    end: int
    replacement: bytes

    @property
    def growth(self) -> int:
        return len(self.replacement) - (self.end - self.start)


def apply_splices(data: bytes, splices: Sequence[Splice]) -> bytes:
    """Return the file with all splices applied. They are in file order and do not overlap."""
    parts: list[bytes | memoryview] = []
    view = memoryview(data)
    at = 0
    for splice in splices:
        if not at <= splice.start <= splice.end <= len(data):
            raise ValueError(
                f"splices overlap or lie outside the file: {splice.start} to {splice.end}"
            )
        parts += (view[at : splice.start], splice.replacement)
        at = splice.end
    return b"".join((*parts, view[at:]))


def in_order(splices: Sequence[Splice]) -> list[Splice]:
    """Sort by offset. Insertions at the same offset become one splice, in their order."""
    ordered: list[Splice] = []
    for splice in sorted(splices, key=lambda splice: (splice.start, splice.end)):
        if ordered and ordered[-1].end == splice.start:
            last = ordered.pop()
            ordered.append(
                Splice(
                    last.start,
                    splice.end,
                    last.replacement + splice.replacement,
                )
            )
        else:
            ordered.append(splice)
    return ordered


def inverse_of(data: bytes, splices: Sequence[Splice]) -> bytes:
    """Pack the inverse, which turns the spliced file back into `data`."""
    packed = bytearray()
    growth = 0
    for splice in splices:
        start = splice.start + growth
        replaced = data[splice.start : splice.end]
        packed += (
            _HEAD.pack(start, start + len(splice.replacement), len(replaced)) + replaced
        )
        growth += splice.growth
    return _VERSION + zlib.compress(bytes(packed), 9)


def undo_splices(data: bytes, inverse: bytes) -> bytes:
    """Return the file before the splices. The caller checks the digests of both files.

    Raises:
        ValueError: the inverse is damaged, larger than any, or belongs to another file.
    """
    # Decompress an inverse within LARGEST_INVERSE: a few bytes may stand for gigabytes.
    if not inverse.startswith(_VERSION):
        raise ValueError("unknown version")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(
            memoryview(inverse)[len(_VERSION) :],
            LARGEST_INVERSE + 1,
        )
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) > LARGEST_INVERSE:
        raise ValueError("too large")
    if not stream.eof or stream.unused_data:
        raise ValueError("truncated, or followed by other data")

    splices: list[Splice] = []
    at = 0
    while at < len(raw):
        if at + _HEAD.size > len(raw):
            raise ValueError("truncated")
        start, end, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if size > len(raw) - at or len(splices) == MOST_SPLICES:
            raise ValueError("truncated, or too many splices")
        splices.append(Splice(start, end, raw[at : at + size]))
        at += size
    return apply_splices(data, splices)


def broken_structure(problem: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"The file is broken: {problem}. Copy it again from its source, or save it with an image editor.",
    )


def ambiguous_blocks(problem: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"{problem}, and programs differ in which one they read. Save its metadata with your photo program.",
    )


def fixed_offsets(problem: str) -> WriteRefused:
    return WriteRefused(
        RefusalKind.OFFSETS,
        f"{problem}, which a write into the file would break. Keep its tags in a sidecar.",
    )
