"""The base of a file, which is without our values, and the verification that a write changes these only.

If nobody changed the file since we wrote it, its base is the original, restored exactly from the undo record.
Otherwise it is the file with our values removed. The owner's values in it decide what we add: fields that are
taken, and keywords that XMP must repeat. For the verification, both files are parsed again and compared block
by block.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from blake3 import blake3

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.formats import is_jpeg, may_hold_tags, only_jpeg, read_blocks, replace_blocks
from tagger.metadata.formats.comparison import difference_outside_blocks
from tagger.metadata.splices import apply_splices, undo_splices
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.xmp.schema import POSITION
from tagger.photos.containers import digest_photo, exif_of
from tagger.photos.formats.reader import Blocks

_OTHER_BLOCKS = "the blocks are not the ones that were meant to be written"


def without_occupied_fields(photo: bytes, blocks: Blocks, tag_fields: TagFields) -> TagFields:
    """Drop position and description if any block has one: programs differ in which block they read."""
    properties = xmp.properties(blocks.xmp)
    exif_data = exif_of(photo) or blocks.exif
    has_position = exif.has_position(exif_data) or has_position_fields(properties)
    captions = (
        exif.read(exif_data).get("EXIF:ImageDescription"),
        iptc.read(blocks.iptc).get("IPTC:Caption-Abstract") if blocks.iptc else None,
        properties.get("dc:description"),
    )
    return replace(
        tag_fields,
        position=None if has_position else tag_fields.position,
        description=None if any(captions) else tag_fields.description,
    )


def has_position_fields(names: Iterable[str]) -> bool:
    """Whether XMP has a part of a position: a datum or method alone would misdescribe ours."""
    return not set(POSITION).isdisjoint(names)


def existing_keywords(blocks: Blocks) -> tuple[str, ...]:
    """The owner's keywords in IPTC and EXIF, which XMP repeats: who finds keywords there reads no others."""
    iptc_keywords = iptc.read(blocks.iptc).get("IPTC:Keywords", []) if blocks.iptc else []
    exif_keywords = map(str.strip, exif.read(blocks.exif).get("EXIF:XPKeywords", "").split(";"))
    return tuple(dict.fromkeys(keyword for keyword in (*iptc_keywords, *exif_keywords) if keyword))


@dataclass(frozen=True)
class UndoRecord:
    """What restores a file after a write.

    `written_digest` and `base_digest` are digests of the whole file, after the write and of its base.
    `inverse` holds the inverse splices. `base_digest` and `inverse` are None if the write created the file.
    """

    written_digest: str
    base_digest: str | None
    inverse: bytes | None


# Finds the undo record of the write that produced a file with this digest.
FindUndoRecord = Callable[[str], UndoRecord | None]


def digest_file(data: bytes) -> str:
    """The BLAKE3 digest of a whole file, by which its undo record is found."""
    return blake3(data).hexdigest()


Content = TypeVar("Content", bytes, bytes | None)


@dataclass(frozen=True)
class Base(Generic[Content]):
    """A file without our values. `data` is None for a sidecar that did not exist before we created it.

    `is_restored`: an undo record says that these are the bytes of the original. Undo records come from the
    database, so anyone who can write to it can forge them: see verify_insertion.
    """

    data: Content
    is_restored: bool = False


def base_of_photo(data: bytes, find_undo_record: FindUndoRecord) -> Base[bytes]:
    """The photo's file without our values: the exact original if nobody else has changed it.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    if not may_hold_tags(data):
        raise only_jpeg()
    blocks = read_blocks(data)
    if xmp.names_our_namespace(blocks.xmp):
        original = _undone(data, find_undo_record(digest_file(data)))
        if original is not None:
            return Base(original, is_restored=True)
    if not xmp.has_our_fields(blocks.xmp):
        return Base(data)
    if not is_jpeg(data):
        raise WriteRefused(
            RefusalKind.FORMAT,
            "Version 1 embedded its tags into the file, and another program has changed it since. "
            "Tags are removed from JPEG files only: "
            "restore the file from a backup, or remove the keywords with that program.",
        )
    return Base(_remove_our_values(data, blocks))


def base_of_sidecar(data: bytes | None, find_undo_record: FindUndoRecord) -> Base[bytes | None]:
    """The sidecar without our values.

    An undo record alone does not prove that we created it (see Base): the sidecar itself must say so.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    if data is None:
        return Base(None)
    if xmp.names_our_namespace(data):
        record = find_undo_record(digest_file(data))
        if record is not None and record.inverse is None and xmp.is_our_sidecar(data):
            return Base(None)
        original = _undone(data, record)
        if original is not None:  # may be an empty file
            return Base(original, is_restored=True)
    if not xmp.has_our_fields(data):
        return Base(data)
    base = xmp.remove(data)
    refuse_difference(xmp.removal_difference(data, base))
    return Base(base)


def _undone(data: bytes, record: UndoRecord | None) -> bytes | None:
    if record is None or record.inverse is None:
        return None
    try:
        base = undo_splices(data, record.inverse)
    except ValueError:  # the record is damaged; the file's own XMP still names our values
        return None
    return base if digest_file(base) == record.base_digest else None


def _remove_our_values(data: bytes, blocks: Blocks) -> bytes:
    """Remove our values from a file that somebody else changed after we wrote it, and keep their changes.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    added = xmp.added_values(blocks.xmp)
    remaining = Blocks(
        xmp.remove(blocks.xmp) if blocks.xmp is not None else None,
        _remove_from_exif(blocks.exif, added),
        iptc.remove(blocks.iptc, added) if blocks.iptc else blocks.iptc,
    )
    base = apply_splices(data, replace_blocks(data, remaining))
    _verify_removal(data, base, blocks, remaining)
    return base


def _remove_from_exif(block: bytes | None, added: Sequence[tuple[str, str]]) -> bytes | None:
    if block is None or not any(name.startswith("EXIF:") for name, _ in added):
        return block
    try:
        return exif.remove(block, added)
    except WriteRefused as error:
        # The block was safe to rewrite when we added to it, so another program has changed it since.
        raise WriteRefused(
            RefusalKind.CHECK, f"Our keywords cannot be removed from its EXIF: {error}"
        ) from error


def verify_insertion(base: bytes, new: bytes, base_blocks: Blocks, new_blocks: Blocks) -> None:
    """Verify that `new` is `base` with our values added, and that both hold these blocks.

    Raises:
        WriteRefused: something else differs.
    """
    before, after = read_blocks(base), read_blocks(new)
    added = xmp.added_values(after.xmp)
    refuse_difference(
        None if digest_photo(new) == digest_photo(base) else "the image",
        _other_difference(base, new),
        xmp.insertion_difference(before.xmp, after.xmp),
        exif.insertion_difference(before.exif, after.exif, added),
        iptc.insertion_difference(before.iptc or b"", after.iptc or b"", added),
        None if (before, after) == (base_blocks, new_blocks) else _OTHER_BLOCKS,
    )


def _other_difference(base: bytes, new: bytes) -> str | None:
    """The first difference outside of the blocks. Files that are no JPEG are only restored."""
    if is_jpeg(base):
        return difference_outside_blocks(base, new)
    return None if exif.read(exif_of(base)) == exif.read(exif_of(new)) else "EXIF"


def _verify_removal(data: bytes, base: bytes, data_blocks: Blocks, base_blocks: Blocks) -> None:
    """Verify that `base` is `data`, which others may have changed, without our values.

    Raises:
        WriteRefused: something else differs.
    """
    remaining, added = read_blocks(base), xmp.added_values(data_blocks.xmp)
    refuse_difference(
        None if digest_photo(base) == digest_photo(data) else "the image",
        difference_outside_blocks(data, base),
        xmp.removal_difference(data_blocks.xmp, remaining.xmp),
        exif.removal_difference(data_blocks.exif, remaining.exif, added),
        iptc.removal_difference(data_blocks.iptc or b"", remaining.iptc or b"", added),
        None if remaining == base_blocks else _OTHER_BLOCKS,
    )


def refuse_difference(*differences: str | None) -> None:
    """Raise WriteRefused with the first difference that is not ours, if there is one."""
    for difference in differences:
        if difference is not None:
            raise WriteRefused(
                RefusalKind.CHECK,
                f"The write would have changed other data ({difference}), so the file was left unchanged.",
            )
