"""Plans of file changes: the new bytes of a photo or sidecar, verified before anything is written.

New values are always added to the base of a file (see restored_files): repeating a write changes nothing, and
undo is a write with nothing to add. A photo's own file gets XMP, and EXIF and IPTC where it is safe to change
them. An existing sidecar is merged with our values, a new one repeats the photo's own XMP.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tagger.database.enums import Target
from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.formats import (
    is_jpeg,
    may_hold_tags,
    only_jpeg,
    read_blocks,
    replace_blocks,
)
from tagger.metadata.formats.jpeg import extended_xmp
from tagger.metadata.replacement import Original, read_for_writing
from tagger.metadata.restored_files import (
    Base,
    FindUndoRecord,
    UndoRecord,
    base_of_photo,
    base_of_sidecar,
    digest_file,
    existing_keywords,
    refuse_difference,
    verify_insertion,
    without_occupied_fields,
)
from tagger.metadata.splices import Splice, apply_splices, inverse_of
from tagger.metadata.tag_fields import PositionEstimate, TagFields
from tagger.photos.containers import digest_photo
from tagger.photos.formats.reader import Blocks
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
    base = base_of_photo(data, find_undo_record)
    blocks = read_blocks(base.data)
    if tag_fields:
        tag_fields = without_occupied_fields(base.data, blocks, tag_fields)
    if tag_fields:
        new, inverse, notes = _embed(base.data, blocks, tag_fields, current=data)
        record = UndoRecord(digest_file(new), digest_file(base.data), inverse)
        plan = FilePlan(Target.EMBED, original, new, record, tag_fields.position, notes)
    else:
        plan = FilePlan(Target.EMBED, original, base.data, None, restores_original=base.is_restored)
    if base.is_restored and plan.changes:
        # What was written passed this check, so a record that does not pass it was not made by a write.
        verify_insertion(base.data, data, read_blocks(base.data), read_blocks(data))
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
    """Return the new file, the inverse splices and the notes on values that were left out."""
    if xmp.conflicts_with_extended(extended_xmp(base)):
        raise WriteRefused(
            RefusalKind.XMP, "Its keywords or locations are in extended XMP, which is never changed."
        )
    exif_change, exif_notes = _change_exif(blocks, tag_fields)
    datasets, iptc_values, iptc_notes = _change_iptc(base, blocks, tag_fields)
    packet = xmp.add(
        blocks.xmp,
        tag_fields,
        sidecar=False,
        repeated=existing_keywords(blocks),
        also_added=(*exif_change.added, *iptc_values),
    )
    new_blocks = Blocks(packet, exif_change.block, datasets)
    splices = replace_blocks(base, new_blocks)
    new = apply_splices(base, splices)
    if new != current:  # else nothing is written
        verify_insertion(base, new, blocks, new_blocks)
    return new, inverse_of(base, splices), (*exif_notes, *iptc_notes)


def _change_exif(blocks: Blocks, tag_fields: TagFields) -> tuple[exif.ExifChange, tuple[str, ...]]:
    try:
        return exif.add(blocks.exif, tag_fields), ()
    except WriteRefused as error:
        return exif.ExifChange(blocks.exif, ()), (f"EXIF is left unchanged, only XMP is written: {error}",)


def _change_iptc(
    base: bytes, blocks: Blocks, tag_fields: TagFields
) -> tuple[bytes | None, Sequence[tuple[str, str]], tuple[str, ...]]:
    """Change IPTC in files that have it already and where it can be changed."""
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
    """A sidecar as it was read, and its base."""

    original: Original
    base: Base[bytes | None]


def read_sidecar(path: Path, find_undo_record: FindUndoRecord, root: Path | None = None) -> Sidecar:
    """Read a sidecar, or find that it does not exist yet.

    Raises:
        WriteRefused: a write would lose data that the sidecar holds.
        WriteFailed: the sidecar cannot be read.
    """
    original = read_for_writing(path, max_bytes=SIDECAR_MAX_BYTES, root=root)
    return Sidecar(original, base_of_sidecar(original.data, find_undo_record))


def plan_sidecar(
    sidecar: Sidecar, tag_fields: TagFields, blocks: Blocks = _NO_BLOCKS, template: bytes | None = None
) -> FilePlan:
    """Plan a sidecar. `blocks` are those of its photo, without our values.

    A new one starts as a copy of what programs read so far and will ignore: as the `template`, else as the
    photo's own XMP and keywords.

    Raises:
        WriteRefused: the write would lose data that the sidecar holds.
    """
    original, base = sidecar.original, sidecar.base.data
    if not tag_fields:
        plan = FilePlan(Target.SIDECAR, original, base, None, restores_original=sidecar.base.is_restored)
    else:
        plan = _plan_insertion(original, base, tag_fields, blocks, template)
    if sidecar.base.is_restored and plan.changes:
        # What was written passed this check, so a record that does not pass it was not made by a write.
        refuse_difference(xmp.insertion_difference(base, original.data))
    return plan


def owner_values(
    photo: bytes, tag_fields: TagFields, find_undo_record: FindUndoRecord
) -> tuple[Blocks, TagFields]:
    """The blocks of a photo without our values, and what its sidecars should get beside them."""
    base = photo
    with suppress(WriteRefused):
        base = base_of_photo(photo, find_undo_record).data if may_hold_tags(photo) else photo
    blocks = _readable_blocks(base)
    return blocks, without_occupied_fields(base, blocks, tag_fields)


def _plan_insertion(
    original: Original, base: bytes | None, tag_fields: TagFields, blocks: Blocks, template: bytes | None
) -> FilePlan:
    """Plan a sidecar with our values: `base` is it without them, a new one starts as the `template`."""
    start = template or xmp.sidecar_template(blocks.xmp) if base is None else base
    add = partial(xmp.add, tag_fields=tag_fields, sidecar=True, created=base is None)
    try:
        new = add(start, repeated=existing_keywords(blocks))
    except WriteRefused:
        if base is not None or start is None:
            raise
        # Its fields in forms that cannot be extended are left out of the copy, and their keywords repeated.
        repeated = (*xmp.keywords(start), *existing_keywords(blocks))
        start = xmp.sidecar_template(start, xmp.LIST_FIELDS)
        new = add(start, repeated=repeated)
    if new != original.data:  # else nothing is written
        refuse_difference(xmp.insertion_difference(start, new))
    if base is None:
        record = UndoRecord(digest_file(new), None, None)
        return FilePlan(Target.SIDECAR, original, new, record, tag_fields.position, template=start)
    record = UndoRecord(digest_file(new), digest_file(base), inverse_of(base, (_single_splice(base, new),)))
    return FilePlan(Target.SIDECAR, original, new, record, tag_fields.position)


def _readable_blocks(photo: bytes) -> Blocks:
    """The photo's blocks without our values; empty if they cannot be read, which prevents no sidecar."""
    try:
        blocks = read_blocks(photo)
        if xmp.has_our_fields(blocks.xmp):  # they cannot be removed from the photo (see base_of_photo)
            blocks = Blocks() if is_jpeg(photo) else replace(blocks, xmp=xmp.remove(blocks.xmp or b""))
        xmp.properties(blocks.xmp)
    except WriteRefused:
        return Blocks()
    return blocks


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
