"""Parses and packs TIFF directories: the tags of a TIFF photo or of an EXIF block, a TIFF without pixels.

Reads stay within bounds, loops are not followed, and bad input never raises: unreadable tags are absent.
Knows nothing of the meaning of tags except the orientation.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

ORIENTATION = 274

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


def has_tags(data: bytes | memoryview) -> bool:
    block = open_tiff(data)
    directory = block.directory(block.first) if block else None
    return directory is not None and len(directory.tags) > 0


# A photo has one block of EXIF, and rarely two.
_BLOCKS_TRIED = 8


def first_with_tags(blocks: Iterable[bytes]) -> bytes | None:
    """The first EXIF block that has tags, else the first: some programs write an empty one before it."""
    tried = list(islice(blocks, _BLOCKS_TRIED))
    return next(filter(has_tags, tried), next(iter(tried), None))


def orientation_of(block: TiffBlock | None) -> int:
    """Return the orientation, 1 to 8; 1 if there is none or it is invalid."""
    directory = block.directory(block.first) if block else None
    if block is None or directory is None:
        return 1
    values = block.integers(directory.tags.get(ORIENTATION))
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
