"""Verifies that a plan changes our values only: both files are parsed anew and compared block by block."""

from collections.abc import Iterable

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.formats import difference_outside_blocks, read_blocks
from tagger.metadata.formats.blocks import Blocks
from tagger.photos.containers import digest_photo

_OTHER_BLOCKS = "the blocks are not the ones that were meant to be written"


def verify_insertion(base: bytes, new: bytes, base_blocks: Blocks, new_blocks: Blocks) -> None:
    """Verify that `new` is `base` with our values added, and that both hold these blocks.

    Raises:
        WriteRefused: something else differs.
    """
    before, after = read_blocks(base), read_blocks(new)
    added = xmp.added_values(after.xmp)
    _refuse_first(
        (
            None if digest_photo(new) == digest_photo(base) else "the image",
            difference_outside_blocks(base, new),
            xmp.insertion_difference(before.xmp, after.xmp),
            exif.insertion_difference(before.exif, after.exif, added),
            iptc.insertion_difference(before.iptc or b"", after.iptc or b"", added),
            None if (before, after) == (base_blocks, new_blocks) else _OTHER_BLOCKS,
        )
    )


def verify_removal(data: bytes, base: bytes, data_blocks: Blocks, base_blocks: Blocks) -> None:
    """Verify that `base` is `data`, which others may have changed, without our values.

    Raises:
        WriteRefused: something else differs.
    """
    remaining, added = read_blocks(base), xmp.added_values(data_blocks.xmp)
    _refuse_first(
        (
            None if digest_photo(base) == digest_photo(data) else "the image",
            difference_outside_blocks(data, base),
            xmp.removal_difference(data_blocks.xmp, remaining.xmp),
            exif.removal_difference(data_blocks.exif, remaining.exif, added),
            iptc.removal_difference(data_blocks.iptc or b"", remaining.iptc or b"", added),
            None if remaining == base_blocks else _OTHER_BLOCKS,
        )
    )


def refuse_difference(difference: str | None) -> None:
    """Raise WriteRefused if there is a difference that is not ours."""
    if difference is not None:
        raise WriteRefused(
            RefusalKind.CHECK,
            f"The write would have changed other data ({difference}), so the file was left unchanged.",
        )


def _refuse_first(differences: Iterable[str | None]) -> None:
    for difference in differences:
        refuse_difference(difference)
