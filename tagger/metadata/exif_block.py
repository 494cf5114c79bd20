"""Parsing EXIF blocks into tags that compare independently of byte order and layout.

Strict where `tagger.photos.containers` is lenient: a block is rejected if any part of it cannot be read. This
verifies that a rewritten block lost nothing, so the module shares no code with what writes it (see `exif`).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tagger.metadata import RefusalKind, WriteRefused
from tagger.photos.containers import LETTERS, TiffBlock, TiffDirectory, open_tiff

# The room of a JPEG segment without marker, length and "Exif\0\0".
BLOCK_LIMIT = 65_527
MAIN, FIRST, EXIF, GPS, INTEROP = "0th", "1st", "Exif", "GPS", "Interop"
BYTE, ASCII, LONG, RATIONAL, UNDEFINED = 1, 2, 4, 5, 7
POINTERS = {(MAIN, 0x8769): EXIF, (MAIN, 0x8825): GPS, (EXIF, 0xA005): INTEROP}
MAKER_NOTE, USER_COMMENT, PADDING = 0x927C, 0x9286, 0xEA1C
PROCESSING_METHOD, AREA_INFORMATION = 27, 28

# A directory's name and a tag's number.
TagKey: TypeAlias = tuple[str, int]


def exif_refused(text: str) -> WriteRefused:
    return WriteRefused(RefusalKind.STRUCTURE, text)


@dataclass(frozen=True)
class TagValue:
    """A tag's type and its value, in big-endian byte order."""

    kind: int
    value: bytes


@dataclass(frozen=True)
class ParsedBlock:
    order: str = ">"
    tags: Mapping[TagKey, TagValue] = field(default_factory=dict)
    thumbnail: bytes | None = None
    has_unreferenced_bytes: bool = False


def parse_block(data: bytes | None) -> ParsedBlock:
    """Parse a block. None is parsed as an empty block.

    Raises:
        WriteRefused: the block is broken.
    """
    if data is None:
        return ParsedBlock()
    tiff = open_tiff(data)
    if tiff is None or tiff.big:
        raise _broken("it has no TIFF header")
    if len(data) > BLOCK_LIMIT:
        raise exif_refused(
            f"The EXIF has {len(data):,} bytes, more than a JPEG segment can hold, so it was left unchanged."
        )
    return _BlockReader(tiff).read()


def difference(before: ParsedBlock, after: ParsedBlock) -> str | None:
    for key in sorted(before.tags.keys() | after.tags.keys()):
        old, new = before.tags.get(key), after.tags.get(key)
        if old != new:
            return f"{_change(old, new)}: {tag_label(key)}"
    return "the thumbnail would change" if before.thumbnail != after.thumbnail else None


def rewrite_obstacle(block: ParsedBlock) -> str | None:
    """What would break if the tags were written in a new layout; None if nothing would."""
    for key, value in sorted(block.tags.items()):
        if key[1] == MAKER_NOTE:
            return "a maker note, whose parts are found by their offsets"
        if key[1] in _OFFSETS:
            return f"{tag_label(key)}, which is an offset"
        if value.kind in (BYTE, UNDEFINED) and key not in _SELF_CONTAINED:
            return f"{tag_label(key)}, whose parts may be found by their offsets"
    return "bytes that no tag references" if block.has_unreferenced_bytes else None


def tag_label(key: TagKey) -> str:
    return f"tag 0x{key[1]:04X} of {key[0]}"


_NEXT_BYTES = 4
_THUMBNAIL, _THUMBNAIL_SIZE = (FIRST, 0x0201), (FIRST, 0x0202)
# Strips, tiles, JPEG tables, further directories and private data.
_OFFSETS = {
    0x0111,
    0x0120,
    0x0144,
    0x014A,
    0x0190,
    0x0201,
    0x0207,
    0x0208,
    0x0209,
    0xC634,
    0xC68C,
}
# Tags with content of an undefined type that holds no offsets.
_SELF_CONTAINED = {
    *(
        (MAIN, tag)
        for tag in (
            0x02BC,
            0x83BB,
            0x8649,
            0x8773,
            *range(0x9C9B, 0x9CA0),
            0xC4A5,
            PADDING,
        )
    ),
    *(
        (EXIF, tag)
        for tag in (0x8828, 0x9000, 0x9101, USER_COMMENT, 0xA000, 0xA20C, PADDING)
    ),
    *((EXIF, tag) for tag in (*range(0xA300, 0xA303), 0xA40B, 0xA462)),
    *((GPS, tag) for tag in (0, 5, PROCESSING_METHOD, AREA_INFORMATION)),
    (INTEROP, 2),
}


def _change(before: TagValue | None, after: TagValue | None) -> str:
    if after is None:
        return "would be lost"
    if before is None:
        return "would be new"
    return "would change its type" if before.kind != after.kind else "would change"


class _BlockReader:
    # Reads one block and marks the bytes that are referenced.
    def __init__(self, tiff: TiffBlock) -> None:
        self._tiff = tiff
        self._tags: dict[TagKey, TagValue] = {}
        self._thumbnail: bytes | None = None
        self._pointers: dict[TagKey, int] = {}
        self._referenced = bytearray(len(tiff.data))
        self._budget = 2 * len(tiff.data)

    def read(self) -> ParsedBlock:
        self._mark(0, 8)
        main = self._read_directory(MAIN, self._tiff.first)
        for key, name in POINTERS.items():
            if key in self._pointers:
                self._read_directory(name, self._pointers[key])
        self._mark(self._entries_end(self._tiff.first), _NEXT_BYTES)
        if main.following:
            self._read_thumbnail(main.following)
        pairs = zip(self._tiff.data, self._referenced, strict=True)
        has_unreferenced_bytes = any(
            byte for byte, referenced in pairs if not referenced
        )
        return ParsedBlock(
            self._tiff.order,
            self._tags,
            self._thumbnail,
            has_unreferenced_bytes,
        )

    def _read_directory(self, name: str, offset: int) -> TiffDirectory:
        directory = self._tiff.directory(offset)
        if directory is None:
            raise _broken(f"its directory {name} lies outside of it")
        end = self._entries_end(offset)
        self._mark(offset, end - offset)
        entries = self._tiff.data[offset + 2 : end]
        for (tag,) in struct.iter_unpack(f"{self._tiff.order}H10x", entries):
            self._read_tag(directory, (name, tag))
        return directory

    def _read_tag(self, directory: TiffDirectory, key: TagKey) -> None:
        entry = directory.tags.get(key[1])
        if entry is None or key in self._tags or key in self._pointers:
            problem = (
                "appears twice" if entry else "is cut off, empty or of an unknown type"
            )
            raise _broken(f"{tag_label(key)} {problem}")
        if len(entry.raw) > 4:
            self._mark(entry.start, len(entry.raw))
        if key in POINTERS or key in (_THUMBNAIL, _THUMBNAIL_SIZE):
            numbers = self._tiff.integers(entry)
            if entry.kind != LONG or len(numbers) != 1:
                raise _broken(f"{tag_label(key)} is not a single number")
            self._pointers[key] = numbers[0]
        else:
            raw = (
                swapped(bytes(entry.raw), entry.kind)
                if self._tiff.order == "<"
                else bytes(entry.raw)
            )
            self._tags[key] = TagValue(entry.kind, raw)

    def _read_thumbnail(self, offset: int) -> None:
        if self._read_directory(FIRST, offset).following:
            raise exif_refused(
                "The EXIF has more than two directories in a row, so it was left unchanged."
            )
        self._mark(self._entries_end(offset), _NEXT_BYTES)
        start, size = (
            self._pointers.get(_THUMBNAIL),
            self._pointers.get(_THUMBNAIL_SIZE),
        )
        if start is None and size is None:
            return
        if start is None or size is None:
            raise _broken(
                "its thumbnail has an offset without a size, or a size without an offset"
            )
        self._mark(start, size)
        self._thumbnail = bytes(self._tiff.data[start : start + size])

    def _entries_end(self, offset: int) -> int:
        (count,) = struct.unpack_from(
            f"{self._tiff.order}H",
            self._tiff.data,
            offset,
        )
        return offset + 2 + 12 * int(count)

    def _mark(self, start: int, size: int) -> None:
        self._budget -= size
        if start + size > len(self._tiff.data) or self._budget < 0:
            raise _broken("parts of it are cut off or overlap")
        self._referenced[start : start + size] = b"\1" * size


def _broken(problem: str) -> WriteRefused:
    return exif_refused(f"The EXIF is broken ({problem}), so it was left unchanged.")


def swapped(raw: bytes, kind: int) -> bytes:
    unit = struct.calcsize("<" + LETTERS[kind][0])
    return b"".join(raw[at : at + unit][::-1] for at in range(0, len(raw), unit))
