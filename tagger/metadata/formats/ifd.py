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


_SLOT = 4
"""The size in bytes of an offset, and of a value stored in the entry itself."""
_ENTRY_BYTES = 12


@dataclass(frozen=True)
class TiffHeader:
    """The byte order of an EXIF or MPF block, and the offset of its first directory."""

    order: str
    first: int

    def packed(self, number: int) -> bytes:
        """Pack an offset or count."""
        return struct.pack(self.order + "I", number)


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
    """The header of an EXIF or MPF block."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    version, first = struct.unpack_from(order + "HI", data, 2)
    return TiffHeader(order, first) if version == 42 else None


def read_directory(data: bytes, header: TiffHeader, at: int) -> Ifd | None:
    """The directory at offset `at`; None if it is not completely inside of the block."""
    span = _entries_span(data, header, at)
    if span is None:
        return None
    entries = tuple(_read_entry(data, header, entry) for entry in range(*span, _ENTRY_BYTES))
    return Ifd(at, entries, _number(data, header, span[1]))


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
    if not 0 < at <= len(data) - 2:
        return None
    (count,) = struct.unpack_from(header.order + "H", data, at)
    start = at + 2
    end = start + count * _ENTRY_BYTES
    return (start, end) if count <= _ENTRY_LIMIT and end + _SLOT <= len(data) else None


def _read_entry(data: bytes, header: TiffHeader, at: int) -> IfdEntry:
    tag, kind = struct.unpack_from(header.order + "HH", data, at)
    count = _number(data, header, at + 4)
    size = VALUE_SIZES.get(kind, 0) * count
    inline_at = at + 4 + _SLOT
    return IfdEntry(
        tag, kind, count, at, inline_at if size <= _SLOT else _number(data, header, inline_at), size
    )


def _number(data: bytes, header: TiffHeader, at: int) -> int:
    return int.from_bytes(data[at : at + _SLOT], "little" if header.order == "<" else "big")
