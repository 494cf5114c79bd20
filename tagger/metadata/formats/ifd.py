"""TIFF directories with the offsets of their entries, for code that patches or copies entries.

Reads within bounds and never raises on bad input: what cannot be read is None. Knows nothing of the tags' meaning.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tagger.photos.tiff import INTEGERS, VALUE_SIZES

_ENTRY_LIMIT = 4096
_INTEGER_LIMIT = 100_000
_DIRECTORY_LIMIT = 256
_WITHIN_IMAGES = 0x014A
# These, EXIF, GPS, interoperability.
_POINTERS = (_WITHIN_IMAGES, 0x8769, 0x8825, 0xA005)


@dataclass(frozen=True)
class TiffHeader:
    """The byte order of a TIFF file or block, and the offset of its first directory."""

    order: str
    big: bool
    first: int

    @property
    def slot(self) -> int:
        """The size in bytes of an offset, and of a value stored in the entry itself."""
        return 8 if self.big else 4

    @property
    def first_position(self) -> int:
        """The position in the header of the first directory's offset."""
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * self.slot

    def packed(self, number: int) -> bytes:
        """Pack an offset or count."""
        return struct.pack(self.order + ("Q" if self.big else "I"), number)

    def packed_length(self, entries: int) -> bytes:
        """Pack the number of entries, with which a directory starts."""
        return struct.pack(self.order + ("Q" if self.big else "H"), entries)


@dataclass(frozen=True)
class IfdEntry:
    """An entry of a directory at offset `at`. Its value has `size` bytes and starts at `start`, which may lie outside of the file."""

    tag: int
    kind: int
    count: int
    at: int
    start: int
    size: int


@dataclass(frozen=True)
class Ifd:
    """An image file directory: its entries in their order, and the offset of the next directory (0: none)."""

    at: int
    entries: tuple[IfdEntry, ...]
    next_offset: int

    def entry(self, tag: int) -> IfdEntry | None:
        """The first entry with this tag."""
        return next((entry for entry in self.entries if entry.tag == tag), None)


def read_header(data: bytes) -> TiffHeader | None:
    """The header of a TIFF or BigTIFF file, an EXIF block or an MPF block."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    version, first = struct.unpack_from(order + "HI", data, 2)
    if version == 42:
        return TiffHeader(order, big=False, first=first)
    if data[2:8] == struct.pack(order + "HHH", 43, 8, 0) and len(data) >= 16:
        return TiffHeader(order, big=True, first=struct.unpack_from(order + "Q", data, 8)[0])
    return None


def read_directory(data: bytes, header: TiffHeader, at: int) -> Ifd | None:
    """The directory at offset `at`; None if it is not completely inside of the block."""
    span = _entries_span(data, header, at)
    if span is None:
        return None
    entries = tuple(_read_entry(data, header, entry) for entry in range(*span, header.entry_bytes))
    return Ifd(at, entries, _number(data, header, span[1]))


def next_directory_offset(data: bytes, header: TiffHeader, at: int) -> int:
    """The offset of the directory after the one at `at` (0: none), without reading its entries."""
    span = _entries_span(data, header, at)
    return _number(data, header, span[1]) if span else 0


def directory_end(data: bytes, header: TiffHeader, at: int) -> int:
    """The end of the directory at `at`, even if it lies past the end of the file."""
    start = at + len(header.packed_length(0))
    count = int.from_bytes(data[at:start], "little" if header.order == "<" else "big")
    return start + count * header.entry_bytes + header.slot


def directories(data: bytes, header: TiffHeader) -> Iterator[Ifd]:
    """All directories that can be reached from the header, each once.

    No directory follows EXIF, GPS and interoperability. Some writers omit the zero that marks this,
    so the number at this position is ignored.
    """
    pending, visited = [(header.first, True)], set[int]()
    while pending and len(visited) < _DIRECTORY_LIMIT:
        at, in_chain = pending.pop()
        directory = read_directory(data, header, at) if at not in visited else None
        visited.add(at)
        if directory:
            directory = directory if in_chain else replace(directory, next_offset=0)
            yield directory
            for tag in _POINTERS:
                offsets = integers(data, header, directory.entry(tag))[:_DIRECTORY_LIMIT]
                pending += [(at, tag == _WITHIN_IMAGES) for at in offsets]
            pending.append((directory.next_offset, in_chain))


def child_offsets(data: bytes, header: TiffHeader, directory: Ifd) -> list[int]:
    """The offsets of the directories that the tags of this one point to."""
    return [at for tag in _POINTERS for at in integers(data, header, directory.entry(tag))[:_DIRECTORY_LIMIT]]


def integers(data: bytes, header: TiffHeader, entry: IfdEntry | None) -> tuple[int, ...]:
    """The values of an integer entry; empty if they have another type or lie outside of the block."""
    if entry is None or entry.kind not in INTEGERS or entry.count > _INTEGER_LIMIT:
        return ()
    if entry.start + entry.size > len(data):
        return ()
    return struct.unpack_from(f"{header.order}{entry.count}{INTEGERS[entry.kind]}", data, entry.start)


def _entries_span(data: bytes, header: TiffHeader, at: int) -> tuple[int, int] | None:
    """The start and end of a directory's entries."""
    count_format = struct.Struct(header.order + ("Q" if header.big else "H"))
    if not 0 < at <= len(data) - count_format.size:
        return None
    (count,) = count_format.unpack_from(data, at)
    start = at + count_format.size
    end = start + count * header.entry_bytes
    return (start, end) if count <= _ENTRY_LIMIT and end + header.slot <= len(data) else None


def _read_entry(data: bytes, header: TiffHeader, at: int) -> IfdEntry:
    tag, kind = struct.unpack_from(header.order + "HH", data, at)
    count = _number(data, header, at + 4)
    size = VALUE_SIZES.get(kind, 0) * count
    inline_at = at + 4 + header.slot
    return IfdEntry(
        tag, kind, count, at, inline_at if size <= header.slot else _number(data, header, inline_at), size
    )


def _number(data: bytes, header: TiffHeader, at: int) -> int:
    return int.from_bytes(data[at : at + header.slot], "little" if header.order == "<" else "big")
