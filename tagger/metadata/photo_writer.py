"""One photo's metadata: its own file and its sidecars are planned, prepared and replaced. Knows no SQL.

Which files were written is on record, and updates and undo go by it: what stands beside a photo today may say
otherwise (see written_files).

If embedding is refused, the tags go into a sidecar, unless the photo is no longer the one that was tagged.
For display, the fields of a file are read by name, and two versions are compared.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from tagger.database.enums import Outcome, Target
from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata import exif, iptc, xmp
from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.formats import is_jpeg, may_hold_tags, read_blocks, read_only_blocks
from tagger.metadata.plans import FilePlan, check_image, plan_embed, plan_sidecar, sidecar_has_position
from tagger.metadata.replacement import PreparedFile, prepare
from tagger.metadata.restored_files import FindUndoRecord
from tagger.metadata.sidecar_names import find_sidecars, new_sidecar_name
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.temporary_files import remove_leftover
from tagger.metadata.written_files import (
    LostFile,
    WrittenFile,
    find_lost,
    is_among,
    plan_left_sidecars,
    written_sidecars,
)
from tagger.metadata.xmp import has_our_fields
from tagger.photos.containers import digest_photo, exif_of
from tagger.photos.files import read_photo
from tagger.photos.paths import ObjectPath
from tagger.photos.program_folders import owning_folder
from tagger.photos.side_files import folded_name
from tagger.system.text_format import distance_text

Fields: TypeAlias = Mapping[str, str | list[str]]
"""Values by name, such as `XMP:dc:subject` or `EXIF:Model`. Structures are written as text."""

TAGGER_RECORD = "landmarkTagger:"
"""The fields of tagger's own record of what it wrote; they are not shown as fields."""


def photo_fields(data: bytes) -> Fields:
    """The fields of a photo's own file. Values that cannot be read are absent.

    Raises:
        WriteRefused: the container or its XMP is broken.
    """
    blocks = read_blocks(data) if may_hold_tags(data) else read_only_blocks(data)
    return {
        **exif.read(exif_of(data) or blocks.exif),
        **(iptc.read(blocks.iptc) if blocks.iptc is not None else {}),
        **xmp_fields(blocks.xmp),
    }


def xmp_fields(packet: bytes | None) -> Fields:
    """The fields of an XMP packet or sidecar.

    Raises:
        WriteRefused: it cannot be read.
    """
    return {
        f"XMP:{name}": list(map(_one_line, value)) if isinstance(value, list) else _one_line(value)
        for name, value in xmp.properties(packet).items()
    }


def xmp_packet(data: bytes) -> bytes | None:
    """The XMP packet in a photo's own file."""
    return read_blocks(data).xmp if may_hold_tags(data) else None


def exif_refusal(data: bytes) -> str | None:
    """Why a JPEG photo's EXIF cannot be written; None if it can, or if the photo is not a JPEG."""
    if not is_jpeg(data):
        return None
    try:
        exif.add(read_blocks(data).exif, TagFields(keywords=("any keyword",)))
    except WriteRefused as error:
        return str(error)
    return None


def differences(before: Fields, after: Fields) -> list[tuple[str, str, str]]:
    """(sign, field, value) for each value that is removed (`-`) or added (`+`), sorted by field."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = _values(before.get(name)), _values(after.get(name))
        lines += [("-", name, value) for value in old if value not in new]
        lines += [("+", name, value) for value in new if value not in old]
    return lines


def _values(value: str | list[str] | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _one_line(value: xmp.Value) -> str:
    if isinstance(value, dict):
        if list(value) == ["x-default"]:
            return _one_line(value["x-default"])
        return "; ".join(f"{name.rpartition(':')[2]}={_one_line(item)}" for name, item in value.items())
    return ", ".join(map(_one_line, value)) if isinstance(value, list) else value


NO_SIDECAR_KINDS = (RefusalKind.CHANGED, RefusalKind.BUSY)
"""Refusals after which a sidecar could state wrong tags."""


@dataclass(frozen=True)
class WriteRequest:
    """A photo and the values its metadata should hold. No link to a folder is followed below `root`.

    `image_digest` is the digest the photo was tagged under; None accepts any image. `target` None is an undo.
    `written_targets` are the targets that this program has written before. `single_job` limits an undo to the
    writes of one job, so files that the job has no record of are left alone. `written_files` are those on
    record. `is_gone`: the photo was gone at the last scan. `raw_files` are further files of the photo, which
    get sidecars of their own.
    """

    path: Path
    root: Path
    image_digest: str | None
    tag_fields: TagFields
    target: Target | None
    written_targets: frozenset[Target]
    max_bytes: int
    single_job: bool = False
    is_gone: bool = False
    raw_files: tuple[Path, ...] = ()
    written_files: tuple[WrittenFile, ...] = ()


@dataclass(frozen=True)
class PhotoPlan:
    """The plans of a photo's files. `refusal`: why its own file is not changed although this was requested.

    `lost` are the files on record that are not there any more, or not as they were written.
    """

    request: WriteRequest
    files: tuple[FilePlan, ...] = ()
    refusal: WriteRefused | None = None
    lost: tuple[LostFile, ...] = ()

    @property
    def refusal_kind(self) -> RefusalKind | None:
        """The reason of the photo's outcome, if not everything could be done."""
        if self.refusal is not None:
            return self.refusal.kind
        return RefusalKind.LOST if any(file.text for file in self.lost) else None


@dataclass
class PreparedPhoto:
    """A planned photo with its new files beside the old ones. End with `replace_files` or `discard`."""

    plan: PhotoPlan
    prepared: tuple[tuple[FilePlan, PreparedFile], ...] = ()
    replaced: list[FilePlan] = field(default_factory=list)

    def replace_files(self) -> None:
        """Replace the photo's files, in order.

        Raises:
            WriteRefused, WriteFailed: one file could not be replaced; those before it are written.
        """
        try:
            for file, prepared in self.prepared:
                prepared.replace()
                self.replaced.append(file)
        finally:
            self.discard()

    @property
    def edited(self) -> list[FilePlan]:
        """The files that an undo replaced by other than the originals, because others have edited them."""
        if self.plan.request.target is not None:
            return []
        return [file for file in self.replaced if file.data is not None and not file.restores_original]

    def discard(self) -> None:
        for _, prepared in self.prepared:
            prepared.discard()

    @property
    def outcome(self) -> Outcome:
        """The photo's outcome once all files are replaced."""
        if self.plan.refusal_kind is not None:
            return Outcome.REFUSED
        return Outcome.WRITTEN if self.prepared else Outcome.UNCHANGED


def plan_and_prepare(request: WriteRequest, find_undo_record: FindUndoRecord) -> PreparedPhoto:
    """Plan a photo's files and prepare those that change.

    Some attributes of the photo's own file, such as its owner, turn out impossible to copy only when the new
    file is made. The tags go into a sidecar then, too.

    Raises:
        WriteRefused, WriteFailed: as `plan_photo` and `prepare_photo`.
    """
    plan = plan_photo(request, find_undo_record)
    try:
        return prepare_photo(plan)
    except WriteRefused as refused:
        request = plan.request
        embeds = request.target is Target.EMBED and request.tag_fields and plan.refusal is None
        if not embeds or refused.kind in NO_SIDECAR_KINDS:
            raise
        sidecars = _plan_all_sidecars(request, find_undo_record, may_create=True)
        return prepare_photo(_checked(PhotoPlan(request, sidecars, refused)))


def plan_photo(request: WriteRequest, find_undo_record: FindUndoRecord) -> PhotoPlan:
    """Plan the changes to a photo's files; nothing is changed yet.

    Existing sidecars are updated whatever the target is: programs prefer a sidecar over the photo's own
    metadata.

    Raises:
        WriteRefused: neither the photo nor a sidecar can be written.
        WriteFailed: a file cannot be read.
    """
    if request.target is not None and not request.tag_fields and not request.written_targets:
        return PhotoPlan(request)
    refuse_object(request.path, request.target)
    if request.target is not None:
        _refuse_library(request.path)
    request = _without_known_position(request, find_undo_record)
    refusal = None
    own_file: tuple[FilePlan, ...] = ()
    try:
        own_file = _plan_own_file(request, find_undo_record)
    except WriteRefused as refused:
        if refused.kind in NO_SIDECAR_KINDS:
            raise
        refusal = refused
    except WriteFailed as failed:
        if failed.kind != "gone" or not request.is_gone:
            raise
    may_create = request.target is Target.SIDECAR or refusal is not None
    sidecars = _plan_all_sidecars(request, find_undo_record, may_create=may_create)
    return _checked(PhotoPlan(request, (*own_file, *sidecars), refusal))


def _checked(plan: PhotoPlan) -> PhotoPlan:
    request = plan.request
    adds, is_gone = bool(request.tag_fields), request.is_gone and request.target is None
    lost = find_lost(request.written_files, plan.files, adds=adds, is_gone=is_gone)
    return without_unreadable_sidecars(replace(plan, lost=lost))


def refuse_object(path: Path, target: Target | None) -> None:
    """Refuse a photo or sidecar in a bucket.

    Raises:
        WriteRefused: it is in a bucket.
    """
    if isinstance(path, ObjectPath):
        undo = "What version 1 wrote there is undone with version 1"
        write = "To write tags, copy the photos to a folder"
        text = f"Buckets are only read. {undo if target is None else write}."
        raise WriteRefused(RefusalKind.BUCKET, text)


def _refuse_library(path: Path) -> None:
    """Refuse a photo in a folder of another program. An undo is not: it restores what this program changed.

    Raises:
        WriteRefused: the photo is in such a folder.
    """
    found = owning_folder(str(path), os.path.lexists)
    if found is not None:
        folder, owner = found
        name = folder.rpartition("/")[2]
        raise WriteRefused(
            RefusalKind.LIBRARY,
            f"It is in {name!r}, a folder with {owner.reason}, which keeps its own records of its files. "
            "Nothing is written there; "
            "export the photo from that program, and tag the exported file.",
        )


def without_unreadable_sidecars(plan: PhotoPlan) -> PhotoPlan:
    """An undo's plan, refused where a sidecar cannot be read any more and so not undone. Its record stays."""
    if plan.request.target is not None:
        return plan
    unreadable = [file for file in plan.files if _is_unreadable_sidecar(file, plan.request)]
    if not unreadable:
        return plan
    names = ", ".join(file.original.path.name for file in unreadable)
    refused = WriteRefused(
        RefusalKind.XMP,
        f"{names} cannot be undone, because another program has cut or damaged it since. "
        "Restore it from a backup and undo again, or "
        "delete it.",
    )
    files = tuple(file for file in plan.files if file not in unreadable)
    return replace(plan, files=files, refusal=plan.refusal or refused)


def _is_unreadable_sidecar(file: FilePlan, request: WriteRequest) -> bool:
    data = file.original.data
    if file.target is not Target.SIDECAR or file.changes or data is None:
        return False
    if Target.SIDECAR not in request.written_targets and not xmp.names_our_namespace(data):
        return False
    try:
        return not xmp.properties(data)
    except WriteRefused:
        return True


def prepare_photo(plan: PhotoPlan) -> PreparedPhoto:
    """Prepare every file that changes.

    Raises:
        WriteRefused, WriteFailed: no file was changed, and no temporary file remains.
    """
    ready: list[tuple[FilePlan, PreparedFile]] = []
    try:
        for file in plan.files:
            if not file.changes:
                remove_leftover(
                    file.original.path, file.original.root
                )  # left by a process that died while it wrote other values
                continue
            ready.append((file, prepare(file.original, file.data, photo=plan.request.path)))
    except BaseException:
        for _, prepared in ready:
            prepared.discard()
        raise
    return PreparedPhoto(plan, tuple(ready))


def describe_result(photo: PreparedPhoto) -> str:
    """State in one line what was written or removed."""
    plan = photo.plan
    names = ", ".join((*(landmark.name for landmark in plan.request.tag_fields.landmarks), *_estimate(plan)))
    files = ", ".join(_file_name(file) for file in photo.replaced)
    parts = [plan.refusal.text] if plan.refusal else []
    if names and (files or plan.refusal):
        target = files or ", ".join(f"{file.original.path.name} (already written)" for file in plan.files)
        values = "tags were" if plan.request.tag_fields.landmarks else "position was"
        # In the past: the text stays with the job, and an undo may delete the sidecar.
        parts.append(
            f"The {values} written to a sidecar: {names} → {target}"
            if plan.refusal
            else f"{names} → {target}{'.' if plan.refusal_kind else ''}"
        )
    elif files:
        parts.append(", ".join(_removal_text(file) for file in photo.replaced) + ("." if plan.lost else ""))
    elif plan.refusal_kind is None:
        is_undo = plan.request.target is None
        nothing = "it holds none of our values" if is_undo else "nothing to write"
        parts.append(f"{names}: already written" if names else nothing)
    parts += [file.text for file in plan.lost if file.text]
    return " ".join(parts) + (" (XMP only)" if any(file.notes for file in plan.files) else "")


def _without_known_position(request: WriteRequest, find_undo_record: FindUndoRecord) -> WriteRequest:
    """Leave our position out of all files if a sidecar has one: no program may find two."""
    if request.tag_fields.position is None:
        return request
    found = find_sidecars(request.path, request.root)
    recorded = written_sidecars(request.written_files, request.root)
    for path in dict.fromkeys((*found.paths, *found.hidden, *recorded)):
        if sidecar_has_position(path, find_undo_record, request.root):
            return replace(request, tag_fields=replace(request.tag_fields, position=None))
    return request


def _plan_own_file(request: WriteRequest, find_undo_record: FindUndoRecord) -> tuple[FilePlan, ...]:
    adds = request.target is Target.EMBED and bool(request.tag_fields)
    removes = request.target is not Target.SIDECAR and Target.EMBED in request.written_targets
    # A changed copy may hold our values without an undo record, which only the photo it was copied from has.
    removes = removes or (request.target is None and not request.single_job and _holds_our_values(request))
    if not adds and not removes:
        return ()
    plan = plan_embed(
        request.path,
        request.tag_fields,
        find_undo_record,
        image_digest=request.image_digest,
        max_bytes=request.max_bytes,
        root=request.root,
    )
    return (plan,)


def _holds_our_values(request: WriteRequest) -> bool:
    """Whether the photo's own XMP names values of ours; False if it cannot be read."""
    try:
        return has_our_fields(xmp_packet(_read(request)))
    except (PhotoFailed, WriteRefused):
        return False


def _plan_all_sidecars(
    request: WriteRequest, find_undo_record: FindUndoRecord, *, may_create: bool
) -> tuple[FilePlan, ...]:
    """The sidecars of photo and RAW files, and those left behind when the photo was renamed or moved."""
    raw_sidecars = tuple(_plan_raw_sidecars(request, find_undo_record))
    of_raw_files = {file.path for file in raw_sidecars}
    recorded = written_sidecars(
        request.written_files, request.root, of_raw_files, removes=not request.tag_fields
    )
    sidecars = _plan_sidecars(request, find_undo_record, may_create=may_create, recorded=recorded)
    planned = {file.path for file in (*sidecars, *raw_sidecars)}
    left = plan_left_sidecars(request.written_files, request.root, planned, find_undo_record)
    return (*sidecars, *raw_sidecars, *left)


def _plan_sidecars(
    request: WriteRequest,
    find_undo_record: FindUndoRecord,
    *,
    may_create: bool,
    recorded: Sequence[Path] = (),
) -> tuple[FilePlan, ...]:
    """Plan the sidecars on record, and those beside the photo, which may have been copied with it."""
    recorded_only = request.target is not None or request.single_job
    if not request.tag_fields and recorded_only and Target.SIDECAR not in request.written_targets:
        return ()
    adds = bool(request.tag_fields)
    found = find_sidecars(request.path, request.root, may_create=may_create and not recorded, adds=adds)
    paths = (*found.paths, *(path for path in recorded if not is_among(path, found.paths)))
    photo_data = _tagged_photo(request) if adds and paths else None
    own_name = folded_name(new_sidecar_name(request.path))
    # In `photo.xmp`, darktable takes the coordinates of any location for the camera's position.
    stem_fields = request.tag_fields.without_landmark_coordinates()
    return tuple(
        plan_sidecar(
            path,
            request.tag_fields if folded_name(path.name) == own_name else stem_fields,
            find_undo_record,
            photo_data=photo_data,
            hidden=found.hidden,
            root=request.root,
        )
        for path in paths
    )


def _plan_raw_sidecars(request: WriteRequest, find_undo_record: FindUndoRecord) -> Iterator[FilePlan]:
    """The sidecars of the photo's RAW files, whatever the target. A file that was deleted has none."""
    for path in request.raw_files:
        own = _without_known_position(
            replace(request, path=path, image_digest=None, raw_files=(), written_files=()), find_undo_record
        )
        try:
            yield from _plan_sidecars(own, find_undo_record, may_create=request.target is not None)
        except WriteFailed as failed:
            if failed.kind != "gone":
                raise


def _tagged_photo(request: WriteRequest) -> bytes:
    """Read the photo, if it still is the one that was tagged."""
    try:
        data = _read(request)
    except PhotoFailed as failed:
        gone = failed.failure.kind is FailureKind.GONE
        raise WriteFailed("gone" if gone else "unreadable", failed.failure.text) from failed
    try:
        check_image(data, request.image_digest)
    except WriteRefused:
        # A RAW file is tagged in the place of a file that cannot be decoded.
        if not any(_has_tagged_image(request, path) for path in request.raw_files):
            raise
    return data


def _has_tagged_image(request: WriteRequest, path: Path) -> bool:
    try:
        return digest_photo(_read(replace(request, path=path))) == request.image_digest
    except PhotoFailed:
        return False


def _read(request: WriteRequest) -> bytes:
    return read_photo(request.path, max_bytes=request.max_bytes, root=request.root).data


def _estimate(plan: PhotoPlan) -> list[str]:
    """The estimated position in one of the files, if there is one."""
    positions = [file.position for file in plan.files if file.position and file.position.source]
    return [f"position ± {distance_text(each.error_m)} ({each.source})" for each in positions[:1]]


def _removal_text(file: FilePlan) -> str:
    if file.data is None:
        return f"{_file_name(file)} deleted"
    state = "the original is restored" if file.restores_original else "changes by other programs are kept"
    return f"removed from {_file_name(file)}; {state}"


def _file_name(file: FilePlan) -> str:
    return file.original.path.name if file.target is Target.SIDECAR else "the photo itself"
