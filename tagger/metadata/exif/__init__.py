"""EXIF blocks: our keywords, description and position are added and removed, and nothing else changes.

A block is written in a new layout, and in its own byte order. The result is used only after the parser (see
block) has found every tag in it unchanged. Knows nothing of the files that hold EXIF.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tagger.metadata.exif.block import (
    BLOCK_LIMIT,
    EXIF,
    FIRST,
    GPS,
    INTEROP,
    LONG,
    MAIN,
    POINTERS,
    ParsedBlock,
    difference,
    exif_refused,
    parse_block,
    rewrite_obstacle,
    swapped,
)
from tagger.metadata.exif.values import (
    OUR_FIELDS,
    AddedValue,
    Tags,
    has_position,
    insertion_difference,
    new_values,
    read,
    removal_difference,
    with_values,
    without_values,
)
from tagger.metadata.tag_fields import TagFields
from tagger.photos.tiff import VALUE_SIZES, StoredValue, append_directory

__all__ = [
    "ExifChange",
    "add",
    "has_position",
    "insertion_difference",
    "read",
    "removal_difference",
    "remove",
]


_THUMBNAIL, _THUMBNAIL_SIZE = 0x0201, 0x0202
# Where the first directory begins, after the header.
_FIRST_AT = 8


@dataclass(frozen=True)
class ExifChange:
    """The block with our values, and these as (field, value), which a removal needs."""

    block: bytes | None
    added: tuple[AddedValue, ...]


def add(block: bytes | None, tag_fields: TagFields) -> ExifChange:
    """Add the values that the block lacks; if it lacks none, it is returned unchanged, byte for byte.

    Raises:
        WriteRefused: the block cannot be rewritten without risk.
    """
    before = parse_block(block)
    added = new_values(before.tags, tag_fields)
    if not added:
        return ExifChange(block, ())
    return ExifChange(_rewritten(before, with_values(before.tags, added)), added)


def remove(block: bytes, added: Sequence[AddedValue]) -> bytes | None:
    """Remove the `added` values that are still as we wrote them; None if the block is empty then.

    Raises:
        WriteRefused: the block cannot be rewritten without risk.
    """
    if not any(field in OUR_FIELDS for field, _ in added):
        return block
    before = parse_block(block)
    remaining = without_values(before.tags, added)
    if remaining == before.tags:
        return block
    return _rewritten(before, remaining) if remaining or before.thumbnail is not None else None


def _rewritten(block: ParsedBlock, tags: Tags) -> bytes:
    """Write the block with these tags, and verify that it holds them and nothing else."""
    if obstacle := rewrite_obstacle(block):
        raise exif_refused(f"The EXIF holds {obstacle}, so it was left unchanged.")
    target = replace(block, tags=tags)
    data = _packed(target)
    if len(data) > BLOCK_LIMIT:
        raise exif_refused(
            "With our values the EXIF would exceed the limit of a JPEG segment, so it was left unchanged."
        )
    if found := difference(target, parse_block(data)):
        raise exif_refused(f"Rewriting the EXIF would change other tags ({found}), so it was left unchanged.")
    return data


def _packed(block: ParsedBlock) -> bytes:
    """Each directory, followed by its values; the thumbnail is last."""
    order = block.order
    number = struct.Struct(order + "I")
    packed = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, _FIRST_AT))
    directories = _stored_values(block)
    slots = {MAIN: append_directory(packed, order, directories[MAIN])}
    for (parent, tag), name in POINTERS.items():
        if directories[name]:
            number.pack_into(packed, slots[parent][tag], len(packed))
            slots[name] = append_directory(packed, order, directories[name])
    if directories[FIRST]:
        following_at = _FIRST_AT + 2 + 12 * len(directories[MAIN])
        number.pack_into(packed, following_at, len(packed))
        slots[FIRST] = append_directory(packed, order, directories[FIRST])
    if block.thumbnail is not None:
        number.pack_into(packed, slots[FIRST][_THUMBNAIL], len(packed))
        packed += block.thumbnail
    return bytes(packed)


def _stored_values(block: ParsedBlock) -> dict[str, dict[int, StoredValue]]:
    """The values of each directory, with room for the offsets of other directories and of the thumbnail."""
    directories: dict[str, dict[int, StoredValue]] = {name: {} for name in (MAIN, FIRST, EXIF, GPS, INTEROP)}
    for (name, tag), value in block.tags.items():
        raw = swapped(value.value, value.kind) if block.order == "<" else value.value
        directories[name][tag] = (value.kind, len(raw) // VALUE_SIZES[value.kind], raw)
    # Interoperability first: its pointer may be the EXIF directory's only tag, which then needs one, too.
    for (parent, tag), name in reversed(POINTERS.items()):
        if directories[name]:
            directories[parent][tag] = (LONG, 1, bytes(4))
    if block.thumbnail is not None:
        size = struct.pack(block.order + "I", len(block.thumbnail))
        directories[FIRST] |= {_THUMBNAIL: (LONG, 1, bytes(4)), _THUMBNAIL_SIZE: (LONG, 1, size)}
    return directories
