"""The base of a file: the file without any of our values."""

from collections.abc import Sequence
from dataclasses import dataclass

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.formats import read_blocks, replace_blocks
from tagger.metadata.formats.blocks import Blocks
from tagger.metadata.plans.file_plan import FindUndoRecord, UndoRecord, digest_file
from tagger.metadata.plans.verification import refuse_difference, verify_removal
from tagger.metadata.splices import apply_splices, undo_splices


@dataclass(frozen=True)
class PhotoBase:
    """A photo's file without our values. `is_restored`: an undo record says that these are the bytes of the original.

    Undo records come from the database, so whoever can write to it chooses them: see verify_insertion.
    """

    data: bytes
    is_restored: bool


@dataclass(frozen=True)
class SidecarBase:
    """A sidecar without our values, like PhotoBase. `data` is None if it did not exist before we created it."""

    data: bytes | None
    is_restored: bool = False


def base_of_photo(data: bytes, find_undo_record: FindUndoRecord) -> PhotoBase:
    """The photo's file without our values: the exact original if nobody else has changed it.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    blocks = read_blocks(data)
    if _may_hold_our_fields(blocks.xmp):
        original = _undone(data, find_undo_record(digest_file(data)))
        if original is not None:
            return PhotoBase(original, is_restored=True)
    base = remove_our_values(data, blocks) if xmp.has_our_fields(blocks.xmp) else data
    return PhotoBase(base, is_restored=False)


def base_of_sidecar(data: bytes | None, find_undo_record: FindUndoRecord) -> SidecarBase:
    """The sidecar without our values.

    An undo record alone does not say that we created it (see PhotoBase): the sidecar itself has to.

    Raises:
        WriteRefused: our values cannot be removed without changing something else.
    """
    if data is None:
        return SidecarBase(None)
    if _may_hold_our_fields(data):
        record = find_undo_record(digest_file(data))
        if record is not None and record.inverse is None and xmp.is_our_sidecar(data):
            return SidecarBase(None)
        original = _undone(data, record)
        if original is not None:  # may be an empty file
            return SidecarBase(original, is_restored=True)
    if not xmp.has_our_fields(data):
        return SidecarBase(data)
    base = xmp.remove(data)
    refuse_difference(xmp.removal_difference(data, base))
    return SidecarBase(base)


def _may_hold_our_fields(packet: bytes | None) -> bool:
    """Whether the undo log may know the file. Most written packets are recognised without parsing them."""
    return xmp.names_our_namespace(packet) or xmp.has_our_fields(packet)


def _undone(data: bytes, record: UndoRecord | None) -> bytes | None:
    if record is None or record.inverse is None:
        return None
    try:
        base = undo_splices(data, record.inverse)
    except ValueError:  # the record is damaged; the file's own XMP still names our values
        return None
    return base if digest_file(base) == record.base_digest else None


def remove_our_values(data: bytes, blocks: Blocks) -> bytes:
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
    verify_removal(data, base, blocks, remaining)
    return base


def _remove_from_exif(block: bytes | None, added: Sequence[tuple[str, str]]) -> bytes | None:
    if block is None or not any(name.startswith("EXIF:") for name, _ in added):
        return block
    try:
        return exif.remove(block, added)
    except exif.ExifRewriteError as error:
        # The block was safe to rewrite when we added to it, so another program has changed it since.
        raise WriteRefused(
            RefusalKind.CHECK, f"Our keywords cannot be removed from its EXIF: {error}"
        ) from error
