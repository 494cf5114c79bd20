"""The tags of an EXIF block in a form in which two blocks compare, whatever their byte order and layout.

Strict where `tagger.photos.tiff` is lenient: a block of which anything cannot be read has no such form. It is the proof that a rewritten block lost nothing, so it shares nothing with the library that
writes. Knows nothing of what is added.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tagger.photos.tiff import Directory, TiffBlock, open_tiff

BLOCK_LIMIT = 65_527
"""What one segment of a JPEG holds beside its marker, its length and "Exif\\0\\0"."""
MAIN, FIRST, EXIF, GPS, INTEROP = "0th", "1st", "Exif", "GPS", "Interop"
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL = 1, 2, 3, 4, 5, 7, 10
POINTERS = {(MAIN, 0x8769): EXIF, (MAIN, 0x8825): GPS, (EXIF, 0xA005): INTEROP}
MAKER_NOTE, USER_COMMENT, PADDING = 0x927C, 0x9286, 0xEA1C
PROCESSING_METHOD, AREA_INFORMATION = 27, 28

Place: TypeAlias = tuple[str, int]
"""A directory's name and a tag's number."""


class ExifUnsafe(Exception):
    """An EXIF block cannot be rewritten without risk. `text` says why to a person; it is to be left as it is."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True)
class Field:
    """One tag's type and its values, most significant byte first."""

    kind: int
    value: bytes


@dataclass(frozen=True)
class Fields:
    """Everything in a block but its layout. `slots` says where each tag's entry stands in the block they were read from."""

    order: str = ">"
    tags: Mapping[Place, Field] = field(default_factory=dict)
    thumbnail: bytes | None = None
    slots: Mapping[Place, int] = field(default_factory=dict)
    has_unnamed_bytes: bool = False


def fields_of(block: bytes | None) -> Fields:
    """Take a block apart; no block has no fields.

    Raises:
        ExifUnsafe: it does not hold together.
    """
    if block is None:
        return Fields()
    tiff = open_tiff(block)
    if tiff is None or tiff.big:
        raise ExifUnsafe("The EXIF is broken (it has no TIFF header), so it was left as it is.")
    if len(block) > BLOCK_LIMIT:
        raise ExifUnsafe(
            f"The EXIF has {len(block):,} bytes, more than a JPEG can hold; it was left as it is."
        )
    reading = _Reading(tiff)
    reading.take_all()
    return Fields(tiff.order, reading.tags, reading.thumbnail, reading.slots, reading.has_unnamed_bytes())


def difference(left: Fields, right: Fields) -> str | None:
    """The first thing that is not the same in both, in words; None: nothing."""
    for place in sorted(left.tags.keys() | right.tags.keys()):
        before, after = left.tags.get(place), right.tags.get(place)
        if before != after:
            return f"{_how(before, after)}: {named(place)}"
    return "the thumbnail would change" if left.thumbnail != right.thumbnail else None


def unmovable(fields: Fields) -> str | None:
    """What would break if the tags were laid out anew, most significant byte first; None: nothing."""
    for place, found in sorted(fields.tags.items()):
        if place[1] == MAKER_NOTE:
            return "a maker note, whose parts are found by where they stand"
        if place[1] in _OFFSETS:
            return f"{named(place)}, which says where something else stands"
        if fields.order == "<" and _depends_on_order(place, found):
            return f"{named(place)}, whose content is written in the order of bytes of this block"
    return "bytes that no tag names" if fields.has_unnamed_bytes else None


def named(place: Place) -> str:
    """A tag in words."""
    return f"tag 0x{place[1]:04X} of {place[0]}"


_NEXT_SIZE = 4
_THUMBNAIL, _THUMBNAIL_SIZE = (FIRST, 0x0201), (FIRST, 0x0202)
# Strips, tiles, JPEG tables, further directories and private data: numbers that are distances.
_OFFSETS = {0x0111, 0x0120, 0x0144, 0x014A, 0x0190, 0x0201, 0x0207, 0x0208, 0x0209, 0xC634, 0xC68C}
# Of the tags whose content TIFF does not know, those that read the same in either order: versions, component order,
# sources, colour profiles, XMP, Photoshop's resources, and the UTF-16LE texts of Windows.
_ORDERLESS = {
    *((EXIF, tag) for tag in (0x9000, 0x9101, 0xA000, 0xA300, 0xA301, PADDING)),
    *((MAIN, tag) for tag in (0x02BC, 0x8649, 0x8773, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, PADDING)),
    *((GPS, tag) for tag in (0, 5)),
    (INTEROP, 2),
}
_TEXTS = {(EXIF, USER_COMMENT), (GPS, PROCESSING_METHOD), (GPS, AREA_INFORMATION)}
_UNICODE = b"UNICODE\0"


def _depends_on_order(place: Place, found: Field) -> bool:
    """UTF-16 text follows the block's order of bytes, and so do numbers within content that TIFF does not know."""
    if place in _TEXTS:
        return found.value.startswith(_UNICODE)
    return found.kind in (BYTE, UNDEFINED) and place not in _ORDERLESS


def _how(before: Field | None, after: Field | None) -> str:
    if after is None:
        return "would be lost"
    if before is None:
        return "would be new"
    return "would change its type" if before.kind != after.kind else "would change"


class _Reading:
    """One way through a block: what was found, and which bytes that took."""

    def __init__(self, tiff: TiffBlock) -> None:
        self.tiff = tiff
        self.tags: dict[Place, Field] = {}
        self.slots: dict[Place, int] = {}
        self.thumbnail: bytes | None = None
        self._pointed: dict[Place, int] = {}
        self._taken = bytearray(len(tiff.data))
        self._budget = 2 * len(tiff.data)

    def take_all(self) -> None:
        self._take(0, 8)
        main = self._directory(MAIN, self.tiff.first)
        for place, name in POINTERS.items():
            if place in self._pointed:
                self._directory(name, self._pointed[place])
        self._take(self._end(self.tiff.first), _NEXT_SIZE)
        if main.following:
            self._first(main.following)

    def has_unnamed_bytes(self) -> bool:
        return any(byte for byte, taken in zip(self.tiff.data, self._taken, strict=True) if not taken)

    def _first(self, offset: int) -> None:
        """The directory of the thumbnail, which is the last in the chain."""
        if self._directory(FIRST, offset).following:
            raise ExifUnsafe("The EXIF has more than two directories in a row, so it was left as it is.")
        self._take(self._end(offset), _NEXT_SIZE)
        start, size = self._pointed.get(_THUMBNAIL), self._pointed.get(_THUMBNAIL_SIZE)
        if start is None and size is None:
            return
        if start is None or size is None:
            raise _broken("its thumbnail has a place without a size, or a size without a place")
        self._take(start, size)
        self.thumbnail = self.tiff.data[start : start + size]

    def _directory(self, name: str, offset: int) -> Directory:
        found = self.tiff.directory(offset)
        if found is None:
            raise _broken(f"its directory {name} lies outside of it")
        self._take(offset, self._end(offset) - offset)
        entry = struct.Struct(f"{self.tiff.order}HHII")
        for at in range(offset + 2, self._end(offset), entry.size):
            tag, _, _, value_at = entry.unpack_from(self.tiff.data, at)
            self._tag(found, (name, tag), at, value_at)
        return found

    def _tag(self, directory: Directory, place: Place, at: int, value_at: int) -> None:
        entry = directory.entries.get(place[1])
        if entry is None or place in self.slots:
            raise _broken(
                f"{named(place)} is {'there twice' if entry else 'cut off, empty or of no known type'}"
            )
        if len(entry.raw) > 4:
            self._take(value_at, len(entry.raw))
        self.slots[place] = at
        if place in POINTERS or place in (_THUMBNAIL, _THUMBNAIL_SIZE):
            numbers = self.tiff.integers(entry)
            if entry.kind != LONG or len(numbers) != 1:
                raise _broken(f"{named(place)} is no single number")
            self._pointed[place] = numbers[0]
        else:
            self.tags[place] = Field(entry.kind, _big_endian(bytes(entry.raw), entry.kind, self.tiff.order))

    def _end(self, offset: int) -> int:
        (count,) = struct.unpack_from(f"{self.tiff.order}H", self.tiff.data, offset)
        return offset + 2 + 12 * int(count)

    def _take(self, start: int, size: int) -> None:
        self._budget -= size
        if start + size > len(self.tiff.data) or self._budget < 0:
            raise _broken("parts of it are cut off, or lie on top of each other")
        self._taken[start : start + size] = b"\1" * size


def _broken(what: str) -> ExifUnsafe:
    return ExifUnsafe(f"The EXIF is broken ({what}), so it was left as it is.")


_UNITS = {
    3: "H",
    4: "I",
    5: "I",
    8: "H",
    9: "I",
    10: "I",
    11: "I",
    12: "Q",
    13: "I",
    16: "Q",
    17: "Q",
    18: "Q",
}


def _big_endian(raw: bytes, kind: int, order: str) -> bytes:
    unit = _UNITS.get(kind)
    if order == ">" or unit is None:
        return raw
    count = len(raw) // struct.calcsize("<" + unit)
    return struct.pack(f">{count}{unit}", *struct.unpack(f"<{count}{unit}", raw))
