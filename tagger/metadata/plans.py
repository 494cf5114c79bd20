"""Plans of file changes: the new bytes of a photo or sidecar, verified before anything is written.

New values are always added to the base of a file, which is without our values: repeating a write changes
nothing, and undo is a write with nothing to add. A photo's own file gets XMP, and EXIF and IPTC where it is
safe to change them. An existing sidecar is merged with our values, a new one repeats the photo's own XMP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from blake3 import blake3

from tagger.database import Target
from tagger.metadata import (
    PositionEstimate,
    RefusalKind,
    TagFields,
    WriteFailed,
    WriteRefused,
    exif,
    iptc,
    xmp,
)
from tagger.metadata.formats import (
    difference_outside_blocks,
    is_jpeg,
    may_hold_tags,
    only_jpeg,
    read_blocks,
    replace_blocks,
)
from tagger.metadata.formats.jpeg import (
    Splice,
    apply_splices,
    extended_xmp,
    inverse_of,
    undo_splices,
)
from tagger.metadata.replacement import Original, read_for_writing
from tagger.metadata.xmp import changes as xmp_changes
from tagger.metadata.xmp.packet import LIST_FIELDS, POSITION, sidecar_template
from tagger.photos.formats import Blocks, digest_photo, exif_of
from tagger.photos.side_files import SIDECAR_MAX_BYTES


@dataclass(frozen=True)
class FilePlan:
    """A file and its new content.

    `data` is None if the file should not exist. `undo_record` is None if the new content holds none of our
    values. `position` is ours in the new content. `notes` name the values that were left out of a block, with
    the reason. `template` is the XMP that a new sidecar copies from its photo. `restores_original` says that
    removing our values yields the original, byte for byte.
    """

    target: Target
    original: Original
    data: bytes | None
    undo_record: UndoRecord | None
    position: PositionEstimate | None = None
    notes: tuple[str, ...] = ()
    template: bytes | None = None
    restores_original: bool = False

    @property
    def path(self) -> Path:
        return self.original.path

    @property
    def changes(self) -> bool:
        return self.data != self.original.data


def plan_embed(
    path: Path,
    tag_fields: TagFields,
    find_undo_record: FindUndoRecord,
    *,
    image_digest: str | None,
    max_bytes: int,
    root: Path | None = None,
) -> FilePlan:
    """Plan the photo's own file. `image_digest` is the digest it was tagged under; None accepts any image.

    Raises:
        WriteRefused: the write would risk losing data; the file is unchanged.
        WriteFailed: the file cannot be read.
    """
    original = read_for_writing(path, max_bytes=max_bytes, root=root)
    data = original.data
    if data is None:
        raise WriteFailed("gone", "The file no longer exists. Scan its folder again.")
    check_image(data, image_digest)
    if tag_fields and not is_jpeg(data):
        raise only_jpeg()
    base, is_restored = base_of_photo(data, find_undo_record)
    blocks = read_blocks(base)
    if tag_fields:
        tag_fields = without_occupied_fields(base, blocks, tag_fields)
    if tag_fields:
        new, inverse, notes = _embed(base, blocks, tag_fields, current=data)
        record = UndoRecord(digest_file(new), digest_file(base), inverse)
        plan = FilePlan(
            Target.EMBED,
            original,
            new,
            record,
            tag_fields.position,
            notes,
        )
    else:
        plan = FilePlan(
            Target.EMBED,
            original,
            base,
            None,
            restores_original=is_restored,
        )
    if is_restored and plan.changes:
        # What was written passed this check, so a record that does not pass it was not made by a write.
        verify_insertion(base, data, blocks, read_blocks(data))
    return plan


def check_image(data: bytes, image_digest: str | None) -> None:
    """Refuse a file whose image is not the one that was tagged.

    Raises:
        WriteRefused: the image has another digest.
    """
    if image_digest is not None and digest_photo(data) != image_digest:
        raise WriteRefused(
            RefusalKind.CHANGED,
            "The image has changed since it was tagged. Tag the photo again, then write its metadata.",
        )


def _embed(
    base: bytes, blocks: Blocks, tag_fields: TagFields, *, current: bytes
) -> tuple[bytes, bytes, tuple[str, ...]]:
    # Return the new file, the inverse splices and the notes on values that were left out.
    if xmp.conflicts_with_extended(extended_xmp(base)):
        raise WriteRefused(
            RefusalKind.XMP,
            "Its keywords or locations are in extended XMP, which is never changed.",
        )
    exif_block, exif_values, exif_notes = _change_exif(blocks, tag_fields)
    datasets, iptc_values, iptc_notes = _change_iptc(base, blocks, tag_fields)
    packet = xmp_changes.add(
        blocks.xmp,
        tag_fields,
        sidecar=False,
        repeated=existing_keywords(blocks),
        also_added=(*exif_values, *iptc_values),
    )
    new_blocks = Blocks(packet, exif_block, datasets)
    splices = replace_blocks(base, new_blocks)
    new = apply_splices(base, splices)
    if new != current:  # else nothing is written
        verify_insertion(base, new, blocks, new_blocks)
    return new, inverse_of(base, splices), (*exif_notes, *iptc_notes)


# A block with our values, these as (field, value), and notes on those that were left out.
_BlockChange: TypeAlias = tuple[
    bytes | None, Sequence[tuple[str, str]], tuple[str, ...]
]


def _change_exif(blocks: Blocks, tag_fields: TagFields) -> _BlockChange:
    try:
        return *exif.add(blocks.exif, tag_fields), ()
    except WriteRefused as error:
        note = f"EXIF is left unchanged, only XMP is written: {error}"
        return blocks.exif, (), (note,)


def _change_iptc(base: bytes, blocks: Blocks, tag_fields: TagFields) -> _BlockChange:
    # Change IPTC in files that have it already and where it can be changed.
    if not blocks.iptc:
        return blocks.iptc, (), ()
    try:
        datasets, added = iptc.add(blocks.iptc, tag_fields)
        replace_blocks(base, replace(blocks, iptc=datasets))
    except WriteRefused as refused:
        return blocks.iptc, (), (f"IPTC is left unchanged: {refused.text}",)
    return datasets, added, ()


_NO_BLOCKS = Blocks()


@dataclass(frozen=True)
class Sidecar:
    """A sidecar as it was read, and its base, which is without our values (see base_of_sidecar)."""

    original: Original
    base: bytes | None
    is_restored: bool


def read_sidecar(
    path: Path, find_undo_record: FindUndoRecord, root: Path | None = None
) -> Sidecar:
    """Read a sidecar, or find that it does not exist yet.

    Raises:
        WriteRefused: a write would lose data that the sidecar holds.
        WriteFailed: the sidecar cannot be read.
    """
    original = read_for_writing(path, max_bytes=SIDECAR_MAX_BYTES, root=root)
    return Sidecar(original, *base_of_sidecar(original.data, find_undo_record))


def plan_sidecar(
    sidecar: Sidecar,
    tag_fields: TagFields,
    blocks: Blocks = _NO_BLOCKS,
    template: bytes | None = None,
) -> FilePlan:
    """Plan a sidecar. `blocks` are those of its photo, without our values.

    A new one starts as a copy of what programs read so far and will ignore: as the `template`, else as the
    photo's own XMP and keywords.

    Raises:
        WriteRefused: the write would lose data that the sidecar holds.
    """
    original, base = sidecar.original, sidecar.base
    if not tag_fields:
        plan = FilePlan(
            Target.SIDECAR,
            original,
            base,
            None,
            restores_original=sidecar.is_restored,
        )
    else:
        plan = _plan_insertion(original, base, tag_fields, blocks, template)
    if sidecar.is_restored and plan.changes:
        # What was written passed this check, so a record that does not pass it was not made by a write.
        refuse_difference(xmp.insertion_difference(base, original.data))
    return plan


def owner_values(
    photo: bytes, tag_fields: TagFields, find_undo_record: FindUndoRecord
) -> tuple[Blocks, TagFields]:
    """The blocks of a photo without our values, and what its sidecars should get beside them."""
    base = photo
    with suppress(WriteRefused):
        if may_hold_tags(photo):
            base, _ = base_of_photo(photo, find_undo_record)
    blocks = _readable_blocks(base)
    return blocks, without_occupied_fields(base, blocks, tag_fields)


def _plan_insertion(
    original: Original,
    base: bytes | None,
    tag_fields: TagFields,
    blocks: Blocks,
    template: bytes | None,
) -> FilePlan:
    # Plan a sidecar with our values: `base` is it without them, a new one starts as the `template`.
    start = template or sidecar_template(blocks.xmp) if base is None else base
    add = partial(
        xmp_changes.add,
        tag_fields=tag_fields,
        sidecar=True,
        created=base is None,
    )
    try:
        new = add(start, repeated=existing_keywords(blocks))
    except WriteRefused:
        if base is not None or start is None:
            raise
        # Its fields in forms that cannot be extended are left out of the copy, and their keywords repeated.
        repeated = (*xmp.keywords(start), *existing_keywords(blocks))
        start = sidecar_template(start, LIST_FIELDS)
        new = add(start, repeated=repeated)
    if new != original.data:  # else nothing is written
        refuse_difference(xmp.insertion_difference(start, new))
    if base is None:
        record = UndoRecord(digest_file(new), None, None)
        return FilePlan(
            Target.SIDECAR,
            original,
            new,
            record,
            tag_fields.position,
            template=start,
        )
    record = UndoRecord(
        digest_file(new),
        digest_file(base),
        inverse_of(base, (_single_splice(base, new),)),
    )
    return FilePlan(Target.SIDECAR, original, new, record, tag_fields.position)


def _readable_blocks(photo: bytes) -> Blocks:
    # The photo's blocks without our values; empty if they cannot be read, which prevents no sidecar.
    try:
        blocks = read_blocks(photo)
        # They cannot be removed from the photo (see base_of_photo).
        if xmp.has_our_fields(blocks.xmp):
            blocks = (
                Blocks()
                if is_jpeg(photo)
                else replace(blocks, xmp=xmp_changes.remove(blocks.xmp or b""))
            )
        xmp.properties(blocks.xmp)
    except WriteRefused:
        return Blocks()
    return blocks


def _single_splice(base: bytes, new: bytes) -> Splice:
    # One splice from the first byte that differs to the last.
    start = _common_bytes(base, new)
    end = _common_bytes(base[start:][::-1], new[start:][::-1])
    return Splice(start, len(base) - end, new[start : len(new) - end])


def _common_bytes(one: bytes, other: bytes) -> int:
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return position
    return min(len(one), len(other))


# The base of a file, which is without our values, and the verification that a write changes these
# only.
#
# If nobody changed the file since we wrote it, its base is the original, restored exactly from the
# undo record. Otherwise it is the file with our values removed. The owner's values in it decide
# what we add: fields that are taken, and keywords that XMP must repeat. For the verification, both
# files are parsed again and compared block by block.

_OTHER_BLOCKS = "the blocks are not the ones that were meant to be written"


def without_occupied_fields(
    photo: bytes, blocks: Blocks, tag_fields: TagFields
) -> TagFields:
    """Drop position and description if any block has one: programs differ in which block they read."""
    properties = xmp.properties(blocks.xmp)
    exif_data = exif_of(photo) or blocks.exif
    has_position = exif.has_position(exif_data) or has_position_fields(properties)
    captions = (
        exif.read(exif_data).get("EXIF:ImageDescription"),
        iptc.read(blocks.iptc).get("IPTC:Caption-Abstract"),
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
    iptc_keywords = iptc.read(blocks.iptc).get("IPTC:Keywords", [])
    exif_keywords = map(
        str.strip,
        exif.read(blocks.exif).get("EXIF:XPKeywords", "").split(";"),
    )
    return tuple(
        dict.fromkeys(
            keyword for keyword in (*iptc_keywords, *exif_keywords) if keyword
        )
    )


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
    return blake3(data).hexdigest()


def base_of_photo(data: bytes, find_undo_record: FindUndoRecord) -> tuple[bytes, bool]:
    """The photo's file without our values: the exact original if nobody else has changed it.

    And whether an undo record says that these are the bytes of the original. Undo records come from the
    database, so anyone who can write to it can forge them: see verify_insertion.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    if not may_hold_tags(data):
        raise only_jpeg()
    blocks = read_blocks(data)
    if xmp.names_our_namespace(blocks.xmp):
        original = _undone(data, find_undo_record(digest_file(data)))
        if original is not None:
            return original, True
    if not xmp.has_our_fields(blocks.xmp):
        return data, False
    if not is_jpeg(data):
        raise WriteRefused(
            RefusalKind.FORMAT,
            "Version 1 embedded its tags into the file, and another program has changed it since. "
            "Tags are removed from JPEG files only: "
            "restore the file from a backup, or remove the keywords with that program.",
        )

    # Remove our values from a file that somebody else changed after we wrote it, and keep their
    # changes.
    added = xmp.added_values(blocks.xmp)
    remaining = Blocks(
        xmp_changes.remove(blocks.xmp or b""),
        _remove_from_exif(blocks.exif, added),
        iptc.remove(blocks.iptc, added) if blocks.iptc else blocks.iptc,
    )
    base = apply_splices(data, replace_blocks(data, remaining))
    # Verify that it is the file without our values, and nothing else.
    base_blocks = read_blocks(base)
    refuse_difference(
        None if digest_photo(base) == digest_photo(data) else "the image",
        difference_outside_blocks(data, base),
        xmp.removal_difference(blocks.xmp, base_blocks.xmp),
        exif.removal_difference(blocks.exif, base_blocks.exif, added),
        iptc.removal_difference(blocks.iptc or b"", base_blocks.iptc or b"", added),
        None if base_blocks == remaining else _OTHER_BLOCKS,
    )

    return base, False


def base_of_sidecar(
    data: bytes | None, find_undo_record: FindUndoRecord
) -> tuple[bytes | None, bool]:
    """The sidecar without our values, None if we created it; and whether a record says so of its bytes.

    A record alone does not prove that we created it (see base_of_photo): the sidecar itself must say so.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    if data is None:
        return None, False
    if xmp.names_our_namespace(data):
        record = find_undo_record(digest_file(data))
        if record is not None and record.inverse is None and xmp.is_our_sidecar(data):
            return None, False
        original = _undone(data, record)
        if original is not None:  # may be an empty file
            return original, True
    if not xmp.has_our_fields(data):
        return data, False
    base = xmp_changes.remove(data)
    refuse_difference(xmp.removal_difference(data, base))
    return base, False


def _undone(data: bytes, record: UndoRecord | None) -> bytes | None:
    if record is None or record.inverse is None:
        return None
    try:
        base = undo_splices(data, record.inverse)
    except (
        ValueError
    ):  # the record is damaged; the file's own XMP still names our values
        return None
    return base if digest_file(base) == record.base_digest else None


def _remove_from_exif(
    block: bytes | None, added: Sequence[tuple[str, str]]
) -> bytes | None:
    if block is None:
        return None
    try:
        return exif.remove(block, added)
    except WriteRefused as error:
        # The block was safe to rewrite when we added to it, so another program has changed it since.
        raise WriteRefused(
            RefusalKind.CHECK, f"Our keywords cannot be removed from its EXIF: {error}"
        ) from error


def verify_insertion(
    base: bytes, new: bytes, base_blocks: Blocks, new_blocks: Blocks
) -> None:
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
    # The first difference outside of the blocks. Files that are no JPEG are only restored.
    if is_jpeg(base):
        return difference_outside_blocks(base, new)
    return None if exif.read(exif_of(base)) == exif.read(exif_of(new)) else "EXIF"


def refuse_difference(*differences: str | None) -> None:
    """Raise WriteRefused with the first difference that is not ours, if there is one."""
    for difference in differences:
        if difference is not None:
            raise WriteRefused(
                RefusalKind.CHECK,
                f"The write would have changed other data ({difference}), so the file was left unchanged.",
            )
