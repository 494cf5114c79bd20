"""Parses TIFF directories and JPEG segments, and selects those of the image; and Photoshop's resources.

The tags of a TIFF photo or of an EXIF block, a TIFF without pixels, are in directories. In a JPEG, a start of
scan is followed by coded data up to the next marker. Photoshop's resources, in a JPEG or PNG, are a list of
numbered blocks, one of which holds IPTC.

Reads stay within bounds, loops are not followed, and parsing takes linear time and bounded memory. Bad input
never raises: unreadable tags and segments are absent. Of tags, only the orientation is understood.
"""

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeAlias

import numpy as np

# TIFF

ORIENTATION = 274
# Of the directories of EXIF and GPS, and of what a camera notes in a form of its own.
EXIF_POINTER, GPS_POINTER, MAKER_NOTE = 0x8769, 0x8825, 0x927C

# Real directories have tens of tags.
_ENTRY_LIMIT = 4096
_DIRECTORY_LIMIT = 64
# Most numbers in one tag. Even one number per line of the largest image needs fewer.
COUNT_LIMIT = 100_000

# By type of value: its letters in `struct`. Those of texts (2) and undefined content (7) are bytes.
LETTERS = {
    **dict(
        enumerate(
            ("B", "B", "H", "I", "II", "b", "B", "h", "i", "ii", "f", "d", "I"), 1
        )
    ),
    **dict(enumerate(("Q", "q", "Q"), 16)),
}
VALUE_SIZES = {
    kind: struct.calcsize("<" + letters) for kind, letters in LETTERS.items()
}
INTEGERS = {kind: LETTERS[kind] for kind in (1, 3, 4, 6, 8, 9, 13, 16, 17, 18)}

# TIFF; "RO" and "RS" of Olympus; "U" of Panasonic. BigTIFF is 43.
_VERSIONS = (42, 0x4F52, 0x5352, 0x55)


@dataclass(frozen=True)
class TiffTag:
    """The values of one tag, at `start` in the block. A view, because thousands of tags may share bytes."""

    kind: int
    count: int
    raw: memoryview
    start: int


@dataclass(frozen=True)
class TiffDirectory:
    """The tags of one directory by number, and the offset of the next directory (0: none)."""

    tags: Mapping[int, TiffTag]
    following: int


@dataclass(frozen=True)
class TiffBlock:
    """A TIFF header and the bytes that its offsets refer to."""

    data: bytes | memoryview
    order: str
    big: bool
    first: int

    @cached_property
    def tags(self) -> Mapping[int, TiffTag]:
        """The tags of the first directory; none if it cannot be read."""
        main = self.directory(self.first)
        return main.tags if main else {}

    def tags_behind(self, pointer: int) -> Mapping[int, TiffTag]:
        """The tags of the directory to which a tag of the first one points; none if it cannot be read."""
        directory = self.child(self.tags.get(pointer))
        return directory.tags if directory else {}

    def directory(self, offset: int) -> TiffDirectory | None:
        """The directory at `offset`; None if it is outside the block. Tags with values outside are absent."""
        counting, entry, slot = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        count_size, head_size = (
            struct.calcsize("<" + counting),
            struct.calcsize("<" + entry),
        )
        if not 0 < offset <= len(self.data) - count_size:
            return None
        (count,) = struct.unpack_from(self.order + counting, self.data, offset)
        start, step = offset + count_size, head_size + slot
        end = start + count * step
        if count > _ENTRY_LIMIT or end > len(self.data):
            return None
        head = struct.Struct(self.order + entry)
        tags = {}
        for at in range(start, end, step):
            tag, kind, length = head.unpack_from(self.data, at)
            start_of_values, raw = self._values(
                at + head_size, slot, VALUE_SIZES.get(kind, 0) * length
            )
            if raw:
                tags[tag] = TiffTag(kind, length, raw, start_of_values)
        return TiffDirectory(tags, self._offset(end, slot))

    def directories(self) -> Iterator[TiffDirectory]:
        """Yield the chain of directories until one cannot be read or repeats."""
        seen: set[int] = set()
        offset = self.first
        while offset and offset not in seen and len(seen) < _DIRECTORY_LIMIT:
            seen.add(offset)
            found = self.directory(offset)
            if found is None:
                return
            yield found
            offset = found.following

    def child(self, entry: TiffTag | None) -> TiffDirectory | None:
        offsets = self.integers(entry)
        return self.directory(offsets[0]) if len(offsets) == 1 else None

    def integers(self, entry: TiffTag | None) -> tuple[int, ...]:
        """The values of a tag of any whole-number type; none for other types, or more than a photo has."""
        if entry is None or entry.kind not in INTEGERS or entry.count > COUNT_LIMIT:
            return ()
        return struct.unpack(
            f"{self.order}{entry.count}{INTEGERS[entry.kind]}", entry.raw
        )

    def fractions(self, entry: TiffTag | None) -> tuple[tuple[float, int], ...]:
        """Numerators and denominators; other numbers have 1. None for more than a photo has."""
        if entry is None or entry.count > COUNT_LIMIT:
            return ()
        if entry.kind in (11, 12):
            numbers = struct.unpack(
                f"{self.order}{entry.count}{LETTERS[entry.kind]}", entry.raw
            )
            return tuple((number, 1) for number in numbers)
        if entry.kind not in (5, 10):
            return tuple((number, 1) for number in self.integers(entry))
        letter = "I" if entry.kind == 5 else "i"
        flat = struct.unpack(f"{self.order}{entry.count * 2}{letter}", entry.raw)
        return tuple(zip(flat[::2], flat[1::2], strict=True))

    def _values(self, at: int, slot: int, size: int) -> tuple[int, memoryview]:
        start = at if size <= slot else self._offset(at, slot)
        end = start + size if 0 < start <= len(self.data) - size else start
        return start, memoryview(self.data)[start:end]

    def _offset(self, at: int, slot: int) -> int:
        if at + slot > len(self.data):
            return 0
        return int.from_bytes(
            self.data[at : at + slot], "little" if self.order == "<" else "big"
        )


def open_tiff(data: bytes | memoryview) -> TiffBlock | None:
    """Read the header of a TIFF or BigTIFF, of an EXIF block, or of a RAW file of Olympus or Panasonic."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return None
    version, first = struct.unpack_from(order + "HI", data, 2)
    if version in _VERSIONS:
        return TiffBlock(data, order, big=False, first=first)
    if version == 43 and len(data) >= 16:
        return TiffBlock(
            data,
            order,
            big=True,
            first=struct.unpack_from(order + "Q", data, 8)[0],
        )
    return None


def tiff_in(data: bytes | memoryview | None) -> TiffBlock:
    """The TIFF in a block, as `open_tiff` reads it; without one, a block that has no directories."""
    return open_tiff(data or b"") or TiffBlock(b"", "<", big=False, first=0)


def pages_to_main(block: TiffBlock) -> list[TiffDirectory]:
    """The directories up to that of the image: the first one that is no thumbnail or mask, else the first.

    It is empty if the first directory cannot be read.
    """
    pages = []
    for page in block.directories():
        pages.append(page)
        kind = (*block.integers(page.tags.get(_SUBFILE)), 0)[0]
        old_kind = (*block.integers(page.tags.get(_OLD_SUBFILE)), 0)[0]
        if not kind & _REDUCED_OR_MASK and old_kind != _OLD_REDUCED:
            return pages
    return pages[:1]


_SUBFILE, _OLD_SUBFILE = 254, 255
_REDUCED_OR_MASK, _OLD_REDUCED = 1 | 4, 2


def has_tags(data: bytes) -> bool:
    return bool(tiff_in(data).tags)


# A photo has one block of EXIF, and rarely two.
_BLOCKS_TRIED = 8


def first_with_tags(blocks: Iterable[bytes]) -> bytes | None:
    """The first EXIF block that has tags, else the first: some programs write an empty one before it."""
    tried = list(islice(blocks, _BLOCKS_TRIED))
    return next(filter(has_tags, tried), next(iter(tried), None))


def orientation_of(block: TiffBlock) -> int:
    """Return the orientation, 1 to 8; 1 if there is none or it is invalid."""
    values = block.integers(block.tags.get(ORIENTATION))
    return values[0] if len(values) == 1 and 1 <= values[0] <= 8 else 1


# A tag's type, the number of its values, and these in the block's byte order.
StoredValue: TypeAlias = tuple[int, int, bytes]


def append_directory(
    block: bytearray, order: str, values: Mapping[int, StoredValue]
) -> dict[int, int]:
    """Append a last directory to a block; return where the value of each tag, or its offset, is."""
    start = len(block)
    block += struct.pack(order + "H", len(values)) + bytes(12 * len(values) + 4)
    slots = {}
    for number, (tag, (kind, count, raw)) in enumerate(sorted(values.items())):
        at = start + 2 + 12 * number
        is_inline = len(raw) <= 4
        slot = (
            raw.ljust(4, b"\0") if is_inline else struct.pack(order + "I", len(block))
        )
        struct.pack_into(order + "HHI4s", block, at, tag, kind, count, slot)
        slots[tag] = at + 8
        block += b"" if is_inline else raw + bytes(len(raw) % 2)
    return slots


# JPEG

Part: TypeAlias = bytes | memoryview

# How segments with these blocks begin. Blocks in other formats may begin so, too.
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
# A photo has tens of segments or chunks. A file with more is not parsed; its digest is the file's.
SEGMENT_LIMIT = 100_000
# Without markers that have no segment, of which a hostile file may have millions.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
_USUAL_MARKERS = frozenset((*range(0xC0, 0xD0), *range(0xD9, 0xFF)))
_ENDS_SCAN = np.array(
    [0x01 <= second < 0xD0 or 0xD8 <= second < 0xFF for second in range(256)]
)
_SEARCHED_BYTES = 2**20
_JUNK_BYTES = 65_536
# Segments before the frame: tens, with a large profile a few hundred.
_FRAME_WITHIN = 1000
JPEG_LS = 0xF7
_FRAMES = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}
_BLOCK_PIXELS, _ZERO_RUN = 64, 2**14
_NO_RESTARTS = b"\xff\xdd\0\x04\0\0"
# A Huffman table whose only code is a bit 0. With 14 bits of 0 after it, 2**14 blocks end.
_ZERO_RUN_CODE = b"\xff\xc4\0\x14\x10\x01" + bytes(15) + b"\xe0"
_RESERVED = {0xC8, *range(0xF0, 0xFE)}
_SOF2, _SOS, _EOI, _COM = 0xC2, 0xDA, 0xD9, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF


def jpeg_parts(data: bytes) -> tuple[Part, ...] | None:
    view = memoryview(data)
    parts: list[Part] = []
    has_scan = False
    for count, (marker, start, end) in enumerate(_segments(data)):
        if count >= SEGMENT_LIMIT:
            return None
        has_scan = has_scan or marker == _SOS
        if _is_image_segment(data, marker, start):
            parts.append(view[start:end])
    return tuple(parts) if has_scan else None


def is_without_end(data: bytes) -> bool:
    """Return whether a JPEG has no end marker after its last scan. False for other files."""
    if data[:2] != b"\xff\xd8":
        return False
    last = max((end for _, _, end in _segments(data)), default=2)
    return data.find(b"\xff\xd9", last) < 0


def from_first_scan(data: bytes) -> bytes:
    """Return the file without the metadata before its first scan, which decoders skip slowly."""
    view = memoryview(data)
    parts: list[Part] = [data[:2]]
    after = 2
    for marker, start, end in _segments(data, scans=False):
        if marker == _SOS:
            return b"".join((*parts, view[start:]))
        if (
            _is_image_segment(data, marker, start) and marker not in _RESERVED
        ) or marker == _APP0:
            parts.append(view[start:end])
        after = end
    # No scan: keep enough data for the decoder to report why.
    return b"".join((*parts, view[after : after + _JUNK_BYTES]))


def at_an_eighth(data: bytes) -> bytes | None:
    """Return a progressive JPEG without those scans of AC coefficients that an eighth of its size needs not.

    Decoders need them for components of which they compute more pixels, because those have fewer. The others
    get a scan that sets them to 0, since decoders smooth an image that lacks some. None if the file has
    another coding, or does not end after its scans.
    """
    view = memoryview(data)
    parts: list[Part] = [data[:2]]
    frame, after = b"", len(data)
    unneeded: Mapping[int, bool] = {}
    for marker, start, after in _segments(data):
        if marker == _SOF2:
            frame = data[start + 4 : after]
            unneeded = _largest_components(frame[6:])
        scan = data[start + 4 : start + 2 + int.from_bytes(data[start + 2 : start + 4])]
        is_of_ac = marker == _SOS and scan[-3:-2] > b"\0"
        if is_of_ac and scan[1] not in unneeded:
            return None
        if not (is_of_ac and unneeded[scan[1]]):
            parts.append(view[start:after])
    if not unneeded or data.find(b"\xff\xd9", after) < 0:
        return None
    height, width = struct.unpack_from(">HH", frame, 1)
    zeros = bytes(2 * (width * height // _BLOCK_PIXELS // _ZERO_RUN + 1))
    scans = (
        b"\xff\xda\0\x08\x01%c\0\x01\x3f\0%b" % (component, zeros)
        for component, is_unneeded in unneeded.items()
        if is_unneeded
    )
    return b"".join((*parts, _NO_RESTARTS, _ZERO_RUN_CODE, *scans, b"\xff\xd9"))


def _largest_components(components: bytes) -> Mapping[int, bool]:
    # By the ids of all: whether they have as many samples as the image in one direction.
    samplings = [(factors >> 4, factors & 15) for factors in components[1::3]]
    most = [
        max((sampling[axis] for sampling in samplings), default=0) for axis in (0, 1)
    ]
    return {
        number: across == most[0] or down == most[1]
        for number, (across, down) in zip(
            components[::3],
            samplings,
            strict=False,
        )
    }


def scans_and_coding(data: bytes) -> tuple[int, int]:
    """The number of scans, and the frame's marker, which tells how they are coded (0: no frame)."""
    markers = [marker for marker, _, _ in _segments(data)]
    frames = (marker for marker in markers if marker in _FRAMES)
    return markers.count(_SOS), next(frames, 0)


def components_of_first_scan(data: bytes) -> int:
    counts = (
        data[start + 4 : start + 5]
        for marker, start, _ in _segments(data, scans=False)
        if marker == _SOS
    )
    return int.from_bytes(next(counts, b""))


def jpeg_exif(data: bytes | memoryview) -> bytes | None:
    return first_with_tags(
        bytes(data[start + 10 : end])
        for marker, start, end in _segments(data, scans=False)
        if marker == _APP1 and data[start + 4 : start + 10] == EXIF
    )


def jpeg_head(data: bytes) -> bytes:
    """A JPEG without the coded data of its image: enough to read metadata."""
    for marker, start, _ in _segments(data, scans=False):
        if marker == _SOS:
            return (
                data[: start + 2 + int.from_bytes(data[start + 2 : start + 4])]
                + b"\xff\xd9"
            )
    return data


@dataclass(frozen=True)
class JpegFrame:
    """What the frame says: the marker of its coding, bits per sample, size in pixels, and components."""

    coding: int
    bits: int
    width: int
    height: int
    components: int


def jpeg_frame(data: bytes | memoryview) -> JpegFrame | None:
    for marker, start, end in islice(_segments(data, scans=False), _FRAME_WITHIN):
        if marker in _FRAMES and end - start >= 10:
            bits, height, width, components = struct.unpack_from(
                ">BHHB",
                data,
                start + 4,
            )
            return JpegFrame(marker, bits, width, height, components)
    return None


def _segments(
    data: bytes | memoryview, *, scans: bool = True
) -> Iterator[tuple[int, int, int]]:
    # Yield (marker, start, end) up to the end marker or a truncated segment. A scan includes its coded data.
    # Without `scans`, the first scan is the last item and extends to the end of the file, which is not
    # searched for markers.
    start = 2
    for _ in range(SEGMENT_LIMIT + 1):
        # Nearly always, a segment follows at once, and a search would take longer than all else.
        if (
            start + 1 >= len(data)
            or data[start] != 0xFF
            or data[start + 1] not in _USUAL_MARKERS
        ):
            found = _MARKER.search(data, start)
            if found is None:
                return
            start = found.start()
        marker = data[start + 1]
        if marker == _EOI:
            return
        if marker == _SOS and not scans:
            yield marker, start, len(data)
            return
        end = start + 2 + max(int.from_bytes(data[start + 2 : start + 4], "big"), 2)
        if marker == _SOS:
            end = _end_of_scan(data, end)
        elif end > len(data):
            return
        yield marker, start, end
        start = end


def _end_of_scan(data: bytes | memoryview, start: int) -> int:
    # Where the next marker is that ends coded data, else the end of the file.
    # NumPy lets other threads run meanwhile, as a search in bytes does not.
    for at in range(start, len(data) - 1, _SEARCHED_BYTES):
        block = np.frombuffer(
            data,
            np.uint8,
            min(_SEARCHED_BYTES + 1, len(data) - at),
            at,
        )
        first_bytes = np.flatnonzero(block[:-1] == 0xFF)
        markers = first_bytes[_ENDS_SCAN[block[first_bytes + 1]]]
        if len(markers):
            return at + int(markers[0])
    return len(data)


def _is_image_segment(data: bytes, marker: int, start: int) -> bool:
    if marker == _APP2:
        return data[start + 4 : start + 16] == b"ICC_PROFILE\0"
    if marker == _APP14:
        return data[start + 4 : start + 9] == b"Adobe"
    return not (_APP0 <= marker <= _APP15 or marker == _COM)


IPTC = 0x0404
_SIGNATURES = {b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"}
_RESOURCE_LIMIT = 4096


def iptc_in(payload: bytes) -> bytes | None:
    return next(
        (
            resource.value
            for resource in resources_in(payload)
            if resource.number == IPTC
        ),
        None,
    )


@dataclass(frozen=True)
class Resource:
    """One resource. `raw` is all of it, padding included; `head` is its signature, number and name."""

    number: int
    raw: bytes
    head: bytes
    value: bytes


def resources_in(payload: bytes) -> Iterator[Resource]:
    """Yield the resources up to zeros, the end, or what cannot be read."""
    at = 0
    for _ in range(_RESOURCE_LIMIT):
        name_bytes = payload[at + 6] + 1 if at + 12 <= len(payload) else 0
        head = at + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(payload[head : head + 4], "big")
        if payload[at : at + 4] not in _SIGNATURES or head + 4 + size > len(payload):
            return
        end = head + 4 + size + size % 2
        number = int.from_bytes(payload[at + 4 : at + 6], "big")
        # The last resource may lack its padding, which is needed once another one follows.
        raw = payload[at:end] + b"\0" * (end - len(payload))
        yield Resource(
            number,
            raw,
            payload[at:head],
            payload[head + 4 : head + 4 + size],
        )
        at = end
