"""Adding our values to an EXIF block and removing them."""

from collections.abc import Sequence
from dataclasses import dataclass

from tagger.metadata.exif.block import parse_block
from tagger.metadata.exif.piexif_writer import rewrite_block
from tagger.metadata.exif.values import OUR_FIELDS, AddedValue, new_values, with_values, without_values
from tagger.metadata.tag_fields import TagFields


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
