"""One file, as it is and as it should be: what a write would change, worked out without changing anything.

The base of a file is what it would be without anything of ours: the original, taken back exactly from what was kept,
or, where somebody else has changed the file since, the file with our additions taken out. What is wanted is always
added to the base; so doing it twice changes nothing, and undoing it is doing it with nothing to add.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from blake3 import blake3

from tagger.metadata import exif, iptc, xmp
from tagger.metadata.additions import Additions
from tagger.metadata.blocks import Blocks
from tagger.metadata.boxes import read_boxes
from tagger.metadata.formats import (
    can_embed,
    extended_xmp,
    read_blocks,
    replace_blocks,
    same_but_blocks,
)
from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.replacing import Original, WriteFailed, read_for_writing
from tagger.metadata.splices import Splice, inverse, spliced, undone
from tagger.photos.containers import exif_of
from tagger.photos.digest import digest_photo

SIDECAR_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Kept:
    """What takes a written file back: digests of the whole file as `written` and of its base, and the inverse splices.

    `base` and `undo` are None where there was no file.
    """

    written: str
    base: str | None
    undo: bytes | None


FindKept = Callable[[str], Kept | None]
"""Finds what was kept of the write that made a file with this digest."""


@dataclass(frozen=True)
class Plan:
    """A file and what it should be. `data` None: it should not be there. `kept` None: nothing of ours would be in it.

    `notes` say what of the additions could not be put where it belongs, and why.
    """

    original: Original
    data: bytes | None
    kept: Kept | None
    notes: tuple[str, ...] = ()
    copied: bytes | None = None
    """What a new sidecar repeats of the photo's own XMP."""
    restored: bool = False
    """What takes everything of ours out makes it the original again, byte for byte."""

    @property
    def changes(self) -> bool:
        return self.data != self.original.data


def plan_embed(
    path: Path, additions: Additions, find_kept: FindKept, *, picture: str | None, max_bytes: int
) -> Plan:
    """What the photo's own file should be. `picture` is the digest it was tagged under; None: any picture will do.

    Raises:
        WriteRefused: it cannot be done without a risk; the file is as it was.
        WriteFailed: the file cannot be read.
    """
    original = read_for_writing(path, max_bytes=max_bytes)
    data = _there(original)
    check_picture(data, picture)
    if not can_embed(data):
        raise WriteRefused(RefusalKind.FORMAT, "Metadata is embedded in JPEG, PNG, WebP and TIFF files only.")
    base = _base(data, find_kept)
    if not additions:
        return Plan(original, base, None, restored=_taken_back(data, find_kept) is not None)
    new, undo, notes = _embedded(base, additions)
    return Plan(original, new, Kept(digest_file(new), digest_file(base), undo), notes)


def plan_sidecar(
    path: Path, additions: Additions, find_kept: FindKept, *, of_photo: bytes | None = None
) -> Plan:
    """What the sidecar at `path` should be. `of_photo` are the bytes of its photo, needed where something is added.

    A sidecar that is made begins as a copy of the photo's own XMP and keywords: programs that read it believe it alone.

    Raises:
        WriteRefused: it cannot be done without losing something that is in it.
        WriteFailed: it cannot be read.
    """
    original = read_for_writing(path, max_bytes=SIDECAR_BYTES)
    base = _sidecar_base(original.data, find_kept)
    if not additions or of_photo is None:
        restored = original.data is not None and _taken_back(original.data, find_kept) is not None
        return Plan(original, base, None, restored=restored)
    owners = _owners(of_photo, find_kept)
    blocks = _blocks_to_repeat(owners)
    wanted = _where_empty(owners, blocks, additions)
    begun = _copied(blocks.xmp) if base is None else base
    new = xmp.add(begun, wanted, sidecar=True, created=base is None, repeated=_keywords(blocks))
    _refuse_difference(xmp.only_ours_differs(begun, new))
    if base is None:
        return Plan(original, new, Kept(digest_file(new), None, None), copied=begun)
    return Plan(original, new, Kept(digest_file(new), digest_file(base), inverse(base, _whole(base, new))))


def check_picture(data: bytes, picture: str | None) -> None:
    """Raises:
    WriteRefused: it is not the picture that was tagged.
    """
    if picture is not None and digest_photo(data) != picture:
        raise WriteRefused(
            RefusalKind.CHANGED,
            "It is not the picture that was tagged any more. Tag it again, then write its metadata.",
        )


def digest_file(data: bytes) -> str:
    """Of the whole file, by which what was kept of a write is found again."""
    return blake3(data).hexdigest()


def _there(original: Original) -> bytes:
    if original.data is None:
        raise WriteFailed("gone", "There is no such file any more. Scan the folder it was in.")
    return original.data


def _base(data: bytes, find_kept: FindKept) -> bytes:
    """The file without anything of ours: exactly the original if nobody else has touched it."""
    blocks = read_blocks(data)
    if not xmp.is_ours(blocks.xmp):
        return data
    base = _taken_back(data, find_kept)
    return _without_ours(data, blocks) if base is None else base


def _owners(photo: bytes, find_kept: FindKept) -> bytes:
    """The photo as its owner has it: what we have just written into it is no reason not to say it beside it."""
    try:
        return _base(photo, find_kept) if can_embed(photo) else photo
    except WriteRefused:
        return photo


def _sidecar_base(data: bytes | None, find_kept: FindKept) -> bytes | None:
    if data is None or not xmp.is_ours(data):
        return data
    kept = find_kept(digest_file(data))
    if kept is not None and kept.undo is None:
        return None
    base = _taken_back(data, find_kept)
    return _sidecar_without_ours(data) if base is None else base  # a base may be an empty file


def _sidecar_without_ours(data: bytes) -> bytes | None:
    base = xmp.remove(data)
    _refuse_difference(xmp.only_ours_went(data, base))
    return base


def _taken_back(data: bytes, find_kept: FindKept) -> bytes | None:
    kept = find_kept(digest_file(data))
    if kept is None or kept.undo is None:
        return None
    try:
        base = undone(data, kept.undo)
    except ValueError:  # what is kept is damaged, but the file says itself what is ours
        return None
    return base if digest_file(base) == kept.base else None


def _without_ours(data: bytes, blocks: Blocks) -> bytes:
    """Somebody else changed the file since it was written: what they did stays, what we added goes."""
    added = xmp.added(blocks.xmp)
    without = Blocks(
        xmp.remove(blocks.xmp) if blocks.xmp is not None else None,
        _exif_without(blocks.exif, added),
        iptc.remove(blocks.iptc, added) if blocks.iptc else blocks.iptc,
    )
    base = spliced(data, replace_blocks(data, without))
    _check_rest(data, base, blocks, without)
    return base


def _exif_without(block: bytes | None, added: Sequence[tuple[str, str]]) -> bytes | None:
    if block is None or not any(name.startswith("EXIF:") for name, _ in added):
        return block
    try:
        return exif.remove(block, added)
    except exif.ExifUnsafe as error:
        # It was safe when we added to it, so whoever changed it since made it what it is.
        raise WriteRefused(
            RefusalKind.CHECK, f"Our keywords cannot be taken out of its EXIF: {error}"
        ) from error


def _embedded(base: bytes, additions: Additions) -> tuple[bytes, bytes, tuple[str, ...]]:
    """The file with the additions, what takes them out again, and what could not be put where it belongs."""
    blocks = read_blocks(base)
    if xmp.in_extended(extended_xmp(base)):
        raise WriteRefused(
            RefusalKind.XMP, "Keywords or places of it are in extended XMP, which is not changed here."
        )
    wanted = _where_empty(base, blocks, additions)
    changed, notes = _exif_with(base, blocks, wanted)
    datasets, in_iptc, why_not = _iptc_with(base, blocks, wanted)
    packet = xmp.add(
        blocks.xmp,
        wanted,
        sidecar=False,
        repeated=_keywords(blocks),
        also_added=(*changed.added, *in_iptc),
    )
    with_ours = Blocks(packet, changed.block, datasets)
    splices = replace_blocks(base, with_ours)
    new = spliced(base, splices)
    _check(new, base, with_ours, blocks)
    return new, inverse(base, splices), (*notes, *why_not)


def _iptc_with(
    base: bytes, blocks: Blocks, additions: Additions
) -> tuple[bytes | None, tuple[tuple[str, str], ...], tuple[str, ...]]:
    """IPTC where the file has some, and it can be changed; else as it is, and why."""
    if not blocks.iptc:
        return blocks.iptc, (), ()
    try:
        datasets, added = iptc.add(blocks.iptc, additions)
        replace_blocks(base, replace(blocks, iptc=datasets))
    except WriteRefused as refused:
        return blocks.iptc, (), (f"its IPTC is left alone: {refused.text}",)
    return datasets, added, ()


def _where_empty(photo: bytes, blocks: Blocks, additions: Additions) -> Additions:
    """Position and description only where no block of the file has one: programs read now this one, now that."""
    known = xmp.properties(blocks.xmp)
    noted = exif_of(photo) or blocks.exif
    positioned = exif.has_position(noted) or "exif:GPSLatitude" in known
    captions = (
        exif.read(noted).get("EXIF:ImageDescription"),
        iptc.read(blocks.iptc).get("IPTC:Caption-Abstract") if blocks.iptc else None,
        known.get("dc:description"),
    )
    return replace(
        additions,
        position=None if positioned else additions.position,
        description=None if any(captions) else additions.description,
    )


def _keywords(blocks: Blocks) -> tuple[str, ...]:
    """The owner's keywords that XMP may not know: programs that find keywords in XMP look no further."""
    in_iptc = iptc.read(blocks.iptc).get("IPTC:Keywords", []) if blocks.iptc else []
    in_exif = exif.read(blocks.exif).get("EXIF:XPKeywords", "").split(";")
    return tuple(dict.fromkeys(word for word in (*in_iptc, *in_exif) if word))


def _copied(packet: bytes | None) -> bytes | None:
    """What a new sidecar repeats; a packet that cannot be read is no reason to make none."""
    try:
        return xmp.copied(packet)
    except WriteRefused:
        return None


def _blocks_to_repeat(photo: bytes) -> Blocks:
    """What a photo says without us, as far as it can be read; a container that cannot is no reason to write no sidecar."""
    try:
        blocks = read_blocks(photo) if can_embed(photo) else read_boxes(photo)
        if xmp.is_ours(blocks.xmp):
            blocks = _blocks_without_ours(photo, blocks)
        xmp.properties(blocks.xmp)
    except WriteRefused:
        return Blocks()
    return blocks


def _blocks_without_ours(photo: bytes, blocks: Blocks) -> Blocks:
    if can_embed(photo):
        return read_blocks(_without_ours(photo, blocks))
    return replace(blocks, xmp=xmp.remove(blocks.xmp) if blocks.xmp else None)


def _exif_with(base: bytes, blocks: Blocks, additions: Additions) -> tuple[exif.ExifChange, tuple[str, ...]]:
    """EXIF of JPEG files alone: in the others, programs that read EXIF keywords read XMP too."""
    untouched = exif.ExifChange(blocks.exif, ())
    if not base.startswith(b"\xff\xd8"):
        return untouched, ()
    try:
        return exif.add(blocks.exif, additions), ()
    except exif.ExifUnsafe as error:
        return untouched, (f"its EXIF is left alone, and XMP alone is written: {error}",)


def _check(new: bytes, base: bytes, wanted: Blocks, before: Blocks) -> None:
    """Read both files afresh, the one with our additions and the one without: what differs has to be ours."""
    with_ours, without = read_blocks(new), read_blocks(base)
    added = xmp.added(with_ours.xmp)
    found = (
        None if digest_photo(new) == digest_photo(base) else "the picture",
        same_but_blocks(base, new),
        xmp.only_ours_differs(without.xmp, with_ours.xmp),
        exif.only_ours_differs(without.exif, with_ours.exif, added),
        iptc.only_ours_differs(without.iptc or b"", with_ours.iptc or b"", added),
        None if (with_ours, without) == (wanted, before) else "what was written reads otherwise",
    )
    for difference in found:
        _refuse_difference(difference)


def _check_rest(data: bytes, base: bytes, before: Blocks, wanted: Blocks) -> None:
    """Read both files afresh, the one that others changed and what is left of it: what went has to be ours."""
    left, added = read_blocks(base), xmp.added(before.xmp)
    found = (
        None if digest_photo(base) == digest_photo(data) else "the picture",
        same_but_blocks(data, base),
        xmp.only_ours_went(before.xmp, left.xmp),
        exif.only_ours_went(before.exif, left.exif, added),
        iptc.only_ours_went(before.iptc or b"", left.iptc or b"", added),
        None if left == wanted else "what was written reads otherwise",
    )
    for difference in found:
        _refuse_difference(difference)


def _refuse_difference(difference: str | None) -> None:
    if difference is not None:
        raise WriteRefused(
            RefusalKind.CHECK,
            f"Writing would have changed something else ({difference}), so it was not done.",
        )


def _whole(base: bytes, new: bytes) -> tuple[Splice, ...]:
    """One splice from the first byte that differs to the last."""
    start = _alike(base, new)
    end = _alike(base[start:][::-1], new[start:][::-1])
    return (Splice(start, len(base) - end, new[start : len(new) - end]),)


def _alike(one: bytes, other: bytes) -> int:
    """How many bytes they have in common from their beginnings."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
