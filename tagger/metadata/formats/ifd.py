"""TIFF directories with the place of everything in them, for whoever patches or copies entries.

Bounded, and never raises on bad input: what cannot be read is None. Knows nothing of what the tags mean.
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
class Header:
    """How a TIFF file or block is written, and where its first directory is."""

    order: str
    big: bool
    first: int

    @property
    def slot(self) -> int:
        """The bytes of an offset, and of a value that stands in the entry itself."""
        return 8 if self.big else 4

    @property
    def first_at(self) -> int:
        """Where the header says where the first directory is."""
        return 8 if self.big else 4

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * self.slot

    def packed(self, number: int) -> bytes:
        """An offset or count as this file writes it."""
        return struct.pack(self.order + ("Q" if self.big else "I"), number)

    def packed_kind(self, tag: int, kind: int) -> bytes:
        """How an entry begins."""
        return struct.pack(self.order + "HH", tag, kind)

    def packed_length(self, entries: int) -> bytes:
        """How many entries a directory has, as it begins."""
        return struct.pack(self.order + ("Q" if self.big else "H"), entries)


@dataclass(frozen=True)
class Field:
    """One entry at `at`; its `size` bytes of value begin at `start`, which may lie anywhere, even outside."""

    tag: int
    kind: int
    count: int
    at: int
    start: int
    size: int


@dataclass(frozen=True)
class Directory:
    """The entries of a directory in their order, and what follows it (0: nothing)."""

    at: int
    fields: tuple[Field, ...]
    following: int

    def of(self, tag: int) -> Field | None:
        """The first entry with this tag."""
        return next((field for field in self.fields if field.tag == tag), None)


def read_header(data: bytes) -> Header | None:
    """The header of a TIFF or BigTIFF file, an EXIF block or an MPF block."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    version, first = struct.unpack_from(order + "HI", data, 2)
    if version == 42:
        return Header(order, big=False, first=first)
    if data[2:8] == struct.pack(order + "HHH", 43, 8, 0) and len(data) >= 16:
        return Header(order, big=True, first=struct.unpack_from(order + "Q", data, 8)[0])
    return None


def read_directory(data: bytes, header: Header, at: int) -> Directory | None:
    """The directory at `at`; None where it does not lie in the block as a whole."""
    span = _entries(data, header, at)
    if span is None:
        return None
    fields = tuple(_field(data, header, entry) for entry in range(*span, header.entry_bytes))
    return Directory(at, fields, _number(data, header, span[1]))


def following_of(data: bytes, header: Header, at: int) -> int:
    """Where the directory after the one at `at` is (0: nowhere), without reading its entries."""
    span = _entries(data, header, at)
    return _number(data, header, span[1]) if span else 0


def directory_end(data: bytes, header: Header, at: int) -> int:
    """Where the directory at `at` would end, even if that is behind the end of the file."""
    start = at + len(header.packed_length(0))
    count = int.from_bytes(data[at:start], "little" if header.order == "<" else "big")
    return start + count * header.entry_bytes + header.slot


def directories(data: bytes, header: Header) -> Iterator[Directory]:
    """All directories that can be reached from the header, each once.

    Nothing follows EXIF, GPS and interoperability. Writers that nobody should copy, piexif among them, leave out the zero
    that says so, and what stands there then is a value.
    """
    waiting, seen = [(header.first, True)], set[int]()
    while waiting and len(seen) < _DIRECTORY_LIMIT:
        at, in_row = waiting.pop()
        directory = read_directory(data, header, at) if at not in seen else None
        seen.add(at)
        if directory:
            directory = directory if in_row else replace(directory, following=0)
            yield directory
            for tag in _POINTERS:
                found = integers(data, header, directory.of(tag))[:_DIRECTORY_LIMIT]
                waiting += [(at, tag == _WITHIN_IMAGES) for at in found]
            waiting.append((directory.following, in_row))


def below(data: bytes, header: Header, directory: Directory) -> list[int]:
    """Where the directories are that the tags of this one point to."""
    return [at for tag in _POINTERS for at in integers(data, header, directory.of(tag))[:_DIRECTORY_LIMIT]]


def integers(data: bytes, header: Header, field: Field | None) -> tuple[int, ...]:
    """The values of an entry of whole numbers; none where they are of another type, or lie outside."""
    if field is None or field.kind not in INTEGERS or field.count > _INTEGER_LIMIT:
        return ()
    if field.start + field.size > len(data):
        return ()
    return struct.unpack_from(f"{header.order}{field.count}{INTEGERS[field.kind]}", data, field.start)


def _entries(data: bytes, header: Header, at: int) -> tuple[int, int] | None:
    """Where the entries of a directory begin and end."""
    counting = struct.Struct(header.order + ("Q" if header.big else "H"))
    if not 0 < at <= len(data) - counting.size:
        return None
    (count,) = counting.unpack_from(data, at)
    start = at + counting.size
    end = start + count * header.entry_bytes
    return (start, end) if count <= _ENTRY_LIMIT and end + header.slot <= len(data) else None


def _field(data: bytes, header: Header, at: int) -> Field:
    tag, kind = struct.unpack_from(header.order + "HH", data, at)
    count = _number(data, header, at + 4)
    size = VALUE_SIZES.get(kind, 0) * count
    inside = at + 4 + header.slot
    return Field(tag, kind, count, at, inside if size <= header.slot else _number(data, header, inside), size)


def _number(data: bytes, header: Header, at: int) -> int:
    return int.from_bytes(data[at : at + header.slot], "little" if header.order == "<" else "big")
