"""The plan for a sidecar: an existing one with our values merged, or a new one that repeats the photo's own XMP."""

from dataclasses import replace
from pathlib import Path

from tagger.database.enums import Target
from tagger.metadata import xmp
from tagger.metadata.errors import WriteRefused
from tagger.metadata.files.originals import Original
from tagger.metadata.files.sidecar_names import SIDECAR_MAX_BYTES
from tagger.metadata.formats import can_embed, read_blocks
from tagger.metadata.formats.block_io import read_only_blocks
from tagger.metadata.plans.base import (
    FilePlan,
    FindUndoRecord,
    UndoRecord,
    base_of_photo,
    base_of_sidecar,
    digest_file,
    existing_keywords,
    has_position_fields,
    refuse_difference,
    remove_our_values,
    without_occupied_fields,
)
from tagger.metadata.splices import Blocks, Splice, inverse_of
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.writable_files import read_for_writing


def plan_sidecar(
    path: Path,
    tag_fields: TagFields,
    find_undo_record: FindUndoRecord,
    *,
    photo_data: bytes | None = None,
    root: Path | None = None,
) -> FilePlan:
    """Plan the sidecar at `path`. `photo_data` is the content of its photo, required to add values.

    A new sidecar starts as a copy of the photo's own XMP and keywords, because programs that read a sidecar ignore the
    photo's own metadata.

    Raises:
        WriteRefused: the write would lose data that the sidecar holds.
        WriteFailed: the sidecar cannot be read.
    """
    original = read_for_writing(path, max_bytes=SIDECAR_MAX_BYTES, root=root)
    base = base_of_sidecar(original.data, find_undo_record)
    blocks = Blocks()
    if tag_fields and photo_data is not None:
        photo = _photo_base(photo_data, find_undo_record)
        blocks = _readable_blocks(photo)
        tag_fields = without_occupied_fields(photo, blocks, tag_fields)
    if not tag_fields or photo_data is None:
        plan = FilePlan(Target.SIDECAR, original, base.data, None, restores_original=base.is_restored)
    else:
        plan = _plan_insertion(original, base.data, tag_fields, blocks)
    if base.is_restored and plan.changes:
        # What was written passed this check, so a record that does not pass it was not made by a write.
        refuse_difference(xmp.insertion_difference(base.data, original.data))
    return plan


def sidecar_has_position(path: Path, find_undo_record: FindUndoRecord, root: Path | None) -> bool:
    """Whether the sidecar at `path` has a position that is not ours.

    Raises:
        WriteRefused, WriteFailed: as `plan_sidecar`.
    """
    original = read_for_writing(path, max_bytes=SIDECAR_MAX_BYTES, root=root)
    return has_position_fields(xmp.properties(base_of_sidecar(original.data, find_undo_record).data))


def _plan_insertion(
    original: Original, base: bytes | None, tag_fields: TagFields, blocks: Blocks
) -> FilePlan:
    """Plan a sidecar with our values. `base` is the sidecar without them, `blocks` are the photo's."""
    start = _template(blocks.xmp) if base is None else base
    new = xmp.add(
        start,
        tag_fields,
        sidecar=True,
        created=base is None,
        repeated=existing_keywords(blocks),
    )
    if new != original.data:  # else nothing is written
        refuse_difference(xmp.insertion_difference(start, new))
    if base is None:
        record = UndoRecord(digest_file(new), None, None)
        return FilePlan(Target.SIDECAR, original, new, record, tag_fields.position, template=start)
    record = UndoRecord(digest_file(new), digest_file(base), inverse_of(base, (_single_splice(base, new),)))
    return FilePlan(Target.SIDECAR, original, new, record, tag_fields.position)


def _photo_base(photo: bytes, find_undo_record: FindUndoRecord) -> bytes:
    """The photo without our values: values that we embedded in it must still go into the sidecar."""
    try:
        return base_of_photo(photo, find_undo_record).data if can_embed(photo) else photo
    except WriteRefused:
        return photo


def _readable_blocks(photo: bytes) -> Blocks:
    """The photo's blocks without our values; empty if they cannot be read, which does not prevent a sidecar."""
    try:
        blocks = read_blocks(photo) if can_embed(photo) else read_only_blocks(photo)
        if xmp.has_our_fields(blocks.xmp):
            blocks = _blocks_without_our_values(photo, blocks)
        xmp.properties(blocks.xmp)
    except WriteRefused:
        return Blocks()
    return blocks


def _blocks_without_our_values(photo: bytes, blocks: Blocks) -> Blocks:
    if can_embed(photo):
        return read_blocks(remove_our_values(photo, blocks))
    return replace(blocks, xmp=xmp.remove(blocks.xmp) if blocks.xmp else None)


def _template(packet: bytes | None) -> bytes | None:
    try:
        return xmp.sidecar_template(packet)
    except WriteRefused:
        return None


def _single_splice(base: bytes, new: bytes) -> Splice:
    """One splice from the first byte that differs to the last."""
    start = _common_bytes(base, new)
    end = _common_bytes(base[start:][::-1], new[start:][::-1])
    return Splice(start, len(base) - end, new[start : len(new) - end])


def _common_bytes(one: bytes, other: bytes) -> int:
    """The length of the common prefix."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
