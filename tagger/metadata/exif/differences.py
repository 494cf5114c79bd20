"""Differences between two EXIF blocks beyond our values; a write must cause none. Both are parsed without piexif, which writes them."""

from collections.abc import Sequence
from dataclasses import replace

from tagger.metadata.exif.block import (
    ExifRewriteError,
    ParsedBlock,
    difference,
    parse_block,
    rewrite_obstacle,
)
from tagger.metadata.exif.values import (
    OUR_FIELDS,
    AddedValue,
    with_values,
    without_blank_values,
    without_values,
)


def insertion_difference(
    before: bytes | None, after: bytes | None, added: Sequence[AddedValue]
) -> str | None:
    """Return None if `after` is `before` plus the `added` values, else the first other difference in words."""
    our_values = _exif_values(added)
    if before == after and not our_values:
        return None
    try:
        return _insertion_difference(parse_block(before), parse_block(after), our_values)
    except ExifRewriteError as error:
        return error.text


def removal_difference(before: bytes | None, after: bytes | None, added: Sequence[AddedValue]) -> str | None:
    """Return None if `after` is `before`, which others may have changed, less some of the `added` values.

    Otherwise the first other difference in words.
    """
    if before == after:
        return None
    try:
        old = parse_block(before)
        remaining = replace(old, tags=without_values(old.tags, _exif_values(added)))
        return _described(difference(remaining, parse_block(after)))
    except ExifRewriteError as error:
        return error.text


def _insertion_difference(old: ParsedBlock, new: ParsedBlock, our_values: Sequence[AddedValue]) -> str | None:
    """Compare both ways: the old block with our values is the new one, and the new one without them is the old."""
    if obstacle := rewrite_obstacle(old):
        return f"The EXIF was rewritten although it holds {obstacle}."
    return _described(
        difference(replace(old, tags=with_values(old.tags, our_values)), new)
        or difference(
            replace(old, tags=without_blank_values(old.tags, our_values)),
            replace(new, tags=without_values(new.tags, our_values)),
        )
    )


def _exif_values(added: Sequence[AddedValue]) -> list[AddedValue]:
    return [(field, value) for field, value in added if field in OUR_FIELDS]


def _described(found: str | None) -> str | None:
    return f"The EXIF differs in more than our values; {found}." if found else None
