"""The plan for a photo's own file: XMP, and EXIF and IPTC where it is safe to change them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tagger.database.enums import Target
from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.files.originals import Original
from tagger.metadata.formats import can_embed, extended_xmp, is_jpeg, read_blocks, replace_blocks
from tagger.metadata.plans.base import (
    FilePlan,
    FindUndoRecord,
    UndoRecord,
    base_of_photo,
    digest_file,
    existing_keywords,
    verify_insertion,
    without_occupied_fields,
)
from tagger.metadata.splices import Blocks, apply_splices, inverse_of
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.writable_files import read_for_writing
from tagger.photos.containers import digest_photo


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
    data = _existing_data(original)
    check_image(data, image_digest)
    if not can_embed(data):
        raise WriteRefused(RefusalKind.FORMAT, "Metadata is embedded in JPEG, PNG, WebP and TIFF files only.")
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


def _existing_data(original: Original) -> bytes:
    if original.data is None:
        raise WriteFailed("gone", "The file no longer exists. Scan its folder again.")
    return original.data


def _embed(
    base: bytes, blocks: Blocks, tag_fields: TagFields, *, current: bytes
) -> tuple[bytes, bytes, tuple[str, ...]]:
    """Return the new file, the inverse splices and the notes on values that were left out."""
    if xmp.conflicts_with_extended(extended_xmp(base)):
        raise WriteRefused(
            RefusalKind.XMP, "Its keywords or locations are in extended XMP, which is never changed."
        )
    exif_change, exif_notes = _change_exif(base, blocks, tag_fields)
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


def _change_exif(
    base: bytes, blocks: Blocks, tag_fields: TagFields
) -> tuple[exif.ExifChange, tuple[str, ...]]:
    """Change EXIF in JPEG files only: in other formats, programs that read EXIF keywords read XMP too."""
    unchanged = exif.ExifChange(blocks.exif, ())
    if not is_jpeg(base):
        return unchanged, ()
    try:
        return exif.add(blocks.exif, tag_fields), ()
    except exif.ExifRewriteError as error:
        return unchanged, (f"EXIF is left unchanged, only XMP is written: {error}",)


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
