"""Adding our values to an EXIF block and removing them, with piexif, which loses or changes the tags it does not know.

Its output is used only after our own parser (see block) has found every tag in it unchanged. piexif leaves out the zero behind the
directories EXIF, GPS and interoperability that says that no directory follows: without it, readers take the value at this offset
for the next directory. It is added here.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import piexif

from tagger.metadata.exif.block import (
    ASCII,
    BLOCK_LIMIT,
    EXIF,
    FIRST,
    GPS,
    INTEROP,
    LONG,
    MAIN,
    PADDING,
    POINTERS,
    RATIONAL,
    SHORT,
    SRATIONAL,
    UNDEFINED,
    ExifRewriteError,
    ParsedBlock,
    TagKey,
    TagValue,
    difference,
    parse_block,
    rewrite_obstacle,
    tag_label,
)
from tagger.metadata.exif.values import OUR_FIELDS, AddedValue, Tags, new_values, with_values, without_values
from tagger.metadata.tag_fields import TagFields

ENDS_BYTES = 12
"""The most bytes by which a block grows."""
_END = bytes(4)
_ENTRY_BYTES = 12
_THUMBNAIL = (FIRST, 0x0201)


def add_directory_ends(data: bytes) -> bytes:
    """Insert the missing end marks into a block that piexif wrote, and adjust every offset in it.

    Raises:
        ExifRewriteError: the block is broken.
    """
    block = parse_block(data)
    ends = sorted(end for name in (EXIF, GPS, INTEROP) if (end := _entries_end(block, name)))
    patched = bytearray(data)
    for at in _offset_positions(block):
        (offset,) = struct.unpack_from(">I", data, at)
        if offset:
            struct.pack_into(">I", patched, at, offset + sum(len(_END) for end in ends if end <= offset))
    for end in reversed(ends):
        patched[end:end] = _END
    return bytes(patched)


def _entries_end(block: ParsedBlock, name: str) -> int | None:
    """Where the entries of a directory end."""
    ends = (at + _ENTRY_BYTES for (directory, _), at in block.entry_offsets.items() if directory == name)
    return max(ends, default=None)


def _offset_positions(block: ParsedBlock) -> Iterator[int]:
    """The positions in the block that hold an offset from the block's start."""
    for key, at in block.entry_offsets.items():
        value = block.tags.get(key)
        if key in POINTERS or key == _THUMBNAIL or (value and len(value.value) > len(_END)):
            yield at + 8
    if end := _entries_end(block, MAIN):
        yield end


_DIRECTORIES = (MAIN, FIRST, EXIF, GPS, INTEROP)
_HEADER = b"Exif\0\0"


def rewrite_block(block: ParsedBlock, tags: Tags) -> bytes:
    """Write the block with these tags, and verify that it holds them and nothing else.

    Raises:
        ExifRewriteError: the block cannot be rewritten without risk.
    """
    if obstacle := rewrite_obstacle(block):
        raise ExifRewriteError(f"The EXIF holds {obstacle}, so it was left unchanged.")
    target = replace(block, tags=tags)
    dumped = _dump(target)
    if len(dumped) + ENDS_BYTES > BLOCK_LIMIT:
        raise ExifRewriteError(
            "With our values the EXIF would exceed the limit of a JPEG segment, so it was left unchanged."
        )
    data = _restore_details(add_directory_ends(dumped), target)
    if found := difference(target, parse_block(data)):
        raise ExifRewriteError(
            f"Rewriting the EXIF would change other tags ({found}), so it was left unchanged."
        )
    return data


def _dump(target: ParsedBlock) -> bytes:
    """Serialise the tags with piexif. It strips thumbnails, so ours replaces a placeholder at the end."""
    for key, value in target.tags.items():
        if problem := _piexif_problem(key, value):
            raise ExifRewriteError(
                f"The EXIF holds {tag_label(key)}, which {problem}; it was left unchanged."
            )
    directories: dict[str, object] = {}
    try:
        for name in _DIRECTORIES:
            directories[name] = {
                tag: _piexif_value(value)
                for (directory, tag), value in target.tags.items()
                if directory == name
            }
        thumbnail = target.thumbnail or b""
        if thumbnail:
            directories["thumbnail"] = _PLACEHOLDER + bytes(len(thumbnail) - len(_PLACEHOLDER))
        dumped = bytes(piexif.dump(directories))
    except Exception as error:  # piexif raises errors of any type
        raise ExifRewriteError(
            f"The EXIF cannot be rewritten ({_one_line(error)}), so it was left unchanged."
        ) from error
    return dumped.removeprefix(_HEADER)[: -len(thumbnail) or None] + thumbnail


# Tags that many files have and piexif does not know: the interoperability directory's version and image sizes, and
# the room that Windows reserves.
piexif.TAGS[INTEROP] |= {
    tag: {"name": name, "type": kind}
    for tag, name, kind in (
        (0x0002, "InteroperabilityVersion", UNDEFINED),
        (0x1000, "RelatedImageFileFormat", ASCII),
        (0x1001, "RelatedImageWidth", SHORT),
        (0x1002, "RelatedImageLength", SHORT),
    )
}
for _directory in (MAIN, EXIF):
    piexif.TAGS[_directory].setdefault(PADDING, {"name": "Padding", "type": UNDEFINED})
_PLACEHOLDER = b"\xff\xd8\xff\xda"
_NUMBERS = {3: "H", 4: "I", 5: "I", 6: "b", 8: "h", 9: "i", 10: "i", 11: "f", 12: "d"}


def _piexif_problem(key: TagKey, value: TagValue) -> str | None:
    directory, tag = key
    definition = piexif.TAGS[directory].get(tag)
    if definition is None:
        return "would be lost"
    if definition["type"] == value.kind or (definition["type"] == LONG and _is_single_short(value)):
        return None
    return "would change its type"


def _is_single_short(value: TagValue) -> bool:
    """The standard allows SHORT and LONG for widths and heights; piexif writes all of them as LONG."""
    return value.kind == SHORT and len(value.value) == 2


def _piexif_value(value: TagValue) -> object:
    """Convert a value to the form that piexif serialises."""
    if value.kind == ASCII:
        return value.value[:-1]
    letter = _NUMBERS.get(value.kind)
    if letter is None:
        return value.value
    count = len(value.value) // struct.calcsize(">" + letter)
    numbers = struct.unpack(f">{count}{letter}", value.value)
    if value.kind in (RATIONAL, SRATIONAL):
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return numbers


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _restore_details(dumped: bytes, target: ParsedBlock) -> bytes:
    """Undo two needless changes of piexif: single SHORT numbers become SHORT again, and entries are sorted."""
    data = bytearray(dumped)
    block = parse_block(dumped)
    for key, value in target.tags.items():
        if _is_single_short(value) and block.tags.get(key) == TagValue(LONG, b"\0\0" + value.value):
            at = block.entry_offsets[key]
            struct.pack_into(">H", data, at + 2, SHORT)
            data[at + 8 : at + 12] = value.value + b"\0\0"
    for name in _DIRECTORIES:
        _sort_entries(
            data, sorted(at for (directory, _), at in block.entry_offsets.items() if directory == name)
        )
    return bytes(data)


def _sort_entries(data: bytearray, offsets: Sequence[int]) -> None:
    entries = sorted(bytes(data[at : at + 12]) for at in offsets)
    for at, entry in zip(offsets, entries, strict=True):
        data[at : at + 12] = entry


@dataclass(frozen=True)
class ExifChange:
    """The block with our values, and these as (field, value), which a removal needs."""

    block: bytes | None
    added: tuple[AddedValue, ...]


def add(block: bytes | None, tag_fields: TagFields) -> ExifChange:
    """Add the values that the block lacks; if it lacks none, it is returned unchanged, byte for byte.

    Raises:
        ExifRewriteError: the block cannot be rewritten without risk.
    """
    before = parse_block(block)
    added = new_values(before.tags, tag_fields)
    if not added:
        return ExifChange(block, ())
    return ExifChange(rewrite_block(before, with_values(before.tags, added)), added)


def remove(block: bytes, added: Sequence[AddedValue]) -> bytes | None:
    """Remove the `added` values that are still as we wrote them; None if the block is empty then.

    Raises:
        ExifRewriteError: the block cannot be rewritten without risk.
    """
    if not any(field in OUR_FIELDS for field, _ in added):
        return block
    before = parse_block(block)
    remaining = without_values(before.tags, added)
    if remaining == before.tags:
        return block
    return rewrite_block(before, remaining) if remaining or before.thumbnail is not None else None
