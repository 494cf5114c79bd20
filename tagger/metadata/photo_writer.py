"""One photo's metadata: its own file and its sidecars are planned, prepared and replaced. Knows no SQL.

Which files were written is on record, and updates and undo go by it: what stands beside a photo today may say
otherwise (see photo_files).

If embedding is refused, the tags go into a sidecar, unless the photo is no longer the one that was tagged.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from tagger.database import Outcome, Target
from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata import RefusalKind, TagFields, WriteFailed, WriteRefused, xmp
from tagger.metadata.photo_files import (
    PhotoFiles,
    WrittenFile,
    find_photo_files,
    is_among,
    new_sidecar,
    refuse_shared,
    remove_leftover,
    xmp_packet,
)
from tagger.metadata.plans import (
    FilePlan,
    FindUndoRecord,
    check_image,
    digest_file,
    has_position_fields,
    owner_values,
    plan_embed,
    plan_sidecar,
    read_sidecar,
)
from tagger.metadata.replacement import PreparedFile, prepare, read_for_writing
from tagger.metadata.xmp.packet import SIDECAR_ONLY_FIELDS, sidecar_template
from tagger.photos.files import read_photo
from tagger.photos.formats import Blocks, digest_photo
from tagger.photos.names import owning_folder
from tagger.photos.paths import folded_name, path_text
from tagger.photos.side_files import SIDECAR_MAX_BYTES
from tagger.photos.source import open_source
from tagger.texts.text_format import distance_text

# Refusals after which a sidecar could state wrong tags.
NO_SIDECAR_KINDS = (RefusalKind.CHANGED, RefusalKind.BUSY)


@dataclass(frozen=True)
class PhotoWriteRequest:
    """A photo, and the values its metadata should hold.

    No link to a folder is followed below `root`. `written_targets` are the targets that this program has
    written before, and `written_files` the files on record. `target` None is an undo; `single_job` limits it
    to the writes of one job, so files that the job has no record of are left alone, and `is_gone` says that
    the photo was gone at the last scan. `image_digest` is the digest the photo was tagged under; None accepts
    any image. `raw_files` are further files of the photo, which get sidecars of their own.
    """

    path: Path
    root: Path
    max_bytes: int
    written_targets: frozenset[Target] = frozenset()
    written_files: tuple[WrittenFile, ...] = ()
    target: Target | None = None
    tag_fields: TagFields = field(default_factory=TagFields)
    image_digest: str | None = None
    raw_files: tuple[Path, ...] = ()
    single_job: bool = False
    is_gone: bool = False


@dataclass(frozen=True)
class PhotoPlan:
    """The plans of a photo's files. `refusal`: why its own file is not changed although this was requested.

    `lost` are the files on record that are not there any more, or not as they were written, each with a text.
    """

    request: PhotoWriteRequest
    files: tuple[FilePlan, ...] = ()
    refusal: WriteRefused | None = None
    lost: Mapping[Path, str] = field(default_factory=dict)

    @property
    def refusal_kind(self) -> RefusalKind | None:
        """The reason of the photo's outcome, if not everything could be done."""
        if self.refusal is not None:
            return self.refusal.kind
        return RefusalKind.LOST if self.lost else None


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
        return [
            file
            for file in self.replaced
            if file.data is not None and not file.restores_original
        ]

    def discard(self) -> None:
        for _, prepared in self.prepared:
            prepared.discard()

    @property
    def outcome(self) -> Outcome:
        if self.plan.refusal_kind is not None:
            return Outcome.REFUSED
        return Outcome.WRITTEN if self.prepared else Outcome.UNCHANGED


def plan_and_prepare(
    request: PhotoWriteRequest, find_undo_record: FindUndoRecord
) -> PreparedPhoto:
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
        embeds = (
            request.target is Target.EMBED
            and request.tag_fields
            and plan.refusal is None
        )
        if not embeds or refused.kind in NO_SIDECAR_KINDS:
            raise
        return prepare_photo(plan_photo(request, find_undo_record, refused))


def plan_photo(
    request: PhotoWriteRequest,
    find_undo_record: FindUndoRecord,
    refusal: WriteRefused | None = None,
) -> PhotoPlan:
    """Plan the changes to a photo's files, or to one sidecar alone; nothing is changed yet.

    Existing sidecars are updated whatever the target is: programs prefer a sidecar over the photo's own
    metadata. With a `refusal`, the photo's own file is left out.

    Raises:
        WriteRefused: neither the photo nor a sidecar can be written.
        WriteFailed: a file cannot be read.
    """
    if (
        request.target is not None
        and not request.tag_fields
        and not request.written_targets
    ):
        return PhotoPlan(request)
    _refuse_place(request.path, request.target)

    # An undo's plan, refused where a sidecar cannot be read any more and so not undone. Its record
    # stays.
    plan = _Planner(request, find_undo_record).plan(refusal)
    if plan.request.target is not None:
        return plan
    unreadable = [
        file for file in plan.files if _is_unreadable_sidecar(file, plan.request)
    ]
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


class _Planner:
    # Plans the files of one photo. Each sidecar is read once.
    def __init__(
        self, request: PhotoWriteRequest, find_undo_record: FindUndoRecord
    ) -> None:
        self._request = request
        self._find_undo_record = find_undo_record
        self._read = cache(
            partial(read_sidecar, find_undo_record=find_undo_record, root=request.root)
        )

    def plan(self, refusal: WriteRefused | None) -> PhotoPlan:
        request = self._request
        photo_files = find_photo_files(
            request.path, request.root, request.written_files
        )
        request = self._request = replace(
            request,
            tag_fields=self._without_known_position(request.tag_fields, photo_files),
        )
        own_file = None
        if refusal is None:
            try:
                own_file = self._plan_own_file()
            except WriteRefused as refused:
                if refused.kind in NO_SIDECAR_KINDS:
                    raise
                refusal = refused
            except WriteFailed as failed:
                if failed.kind != "gone" or not request.is_gone:
                    raise
        files = [] if own_file is None else [own_file]
        recorded_only = request.target is not None or request.single_job
        if (
            request.tag_fields
            or not recorded_only
            or Target.SIDECAR in request.written_targets
        ):
            creates = request.target is Target.SIDECAR or refusal is not None
            files += self._plan_sidecars(photo_files, own_file, creates=creates)
        return PhotoPlan(
            request,
            tuple(files),
            refusal,
            _find_lost(request, files),
        )

    def _without_known_position(
        self, tag_fields: TagFields, photo_files: PhotoFiles
    ) -> TagFields:
        # Leave our position out of all files if a sidecar has one: no program may find two.
        paths = (
            (
                *photo_files.beside,
                *photo_files.hidden,
                *photo_files.recorded,
            )
            if tag_fields.position is not None
            else ()
        )
        bases = (self._read(path).base for path in paths)
        is_known = any(has_position_fields(xmp.properties(base)) for base in bases)
        return replace(tag_fields, position=None) if is_known else tag_fields

    def _plan_own_file(self) -> FilePlan | None:
        request = self._request
        adds = request.target is Target.EMBED and bool(request.tag_fields)
        removes = (
            request.target is not Target.SIDECAR
            and Target.EMBED in request.written_targets
        )
        # A changed copy may hold our values without an undo record, which only its original has.
        removes = removes or (
            request.target is None
            and not request.single_job
            and self._photo_holds_our_values()
        )
        if not adds and not removes:
            return None
        return plan_embed(
            request.path,
            request.tag_fields,
            self._find_undo_record,
            image_digest=request.image_digest,
            max_bytes=request.max_bytes,
            root=request.root,
        )

    def _photo_holds_our_values(self) -> bool:
        # Whether the photo's own XMP names values of ours; False if it cannot be read.
        try:
            return xmp.has_our_fields(xmp_packet(self._read_photo(self._request.path)))
        except (WriteFailed, WriteRefused):
            return False

    def _plan_sidecars(
        self, photo_files: PhotoFiles, own_file: FilePlan | None, *, creates: bool
    ) -> list[FilePlan]:
        # The sidecars of photo and RAW files, and those left behind when the photo was renamed or moved.
        request = self._request
        of_raw_files = [
            plan for path in request.raw_files for plan in self._plan_raw_sidecars(path)
        ]
        others = {plan.path for plan in of_raw_files}
        unfinished = [
            path for path, is_complete in photo_files.absent.items() if not is_complete
        ]
        recorded = (
            *photo_files.recorded,
            *(unfinished if not request.tag_fields else ()),
        )
        paths = (
            *photo_files.beside,
            *(path for path in recorded if not is_among(path, others)),
        )
        if not paths and creates:
            paths = (new_sidecar(request.path),)
        data = None
        if request.tag_fields and paths:
            data = (
                own_file.original.data if own_file is not None else self._tagged_photo()
            )
        plans = self._plan_beside(
            request.path,
            data,
            request.tag_fields,
            paths,
            photo_files,
        )
        planned = {*paths, *others}
        left = [
            plan_sidecar(self._read(path), TagFields())
            for path, digest in photo_files.left.items()
            if not is_among(path, planned) and self._is_unchanged(path, digest)
        ]
        return [*plans, *of_raw_files, *left]

    def _plan_raw_sidecars(self, path: Path) -> list[FilePlan]:
        # The sidecars of one of the photo's RAW files, whatever the target. A deleted file has none.
        request = self._request
        try:
            photo_files = find_photo_files(path, request.root)
            paths = photo_files.beside or (
                (new_sidecar(path),) if request.target is not None else ()
            )
            tag_fields = self._without_known_position(request.tag_fields, photo_files)
            data = self._read_photo(path) if tag_fields and paths else None
            return self._plan_beside(path, data, tag_fields, paths, photo_files)
        except WriteFailed as failed:
            if failed.kind != "gone":
                raise
        return []

    def _plan_beside(
        self,
        photo: Path,
        data: bytes | None,
        tag_fields: TagFields,
        paths: Iterable[Path],
        photo_files: PhotoFiles,
    ) -> list[FilePlan]:
        # Plan these sidecars of one file, whose content is `data` if values are added.
        blocks = Blocks()
        if data is not None:
            refuse_shared(photo, self._request.root, paths)
            blocks, tag_fields = owner_values(data, tag_fields, self._find_undo_record)
        own_name = folded_name(new_sidecar(photo).name)
        # In `photo.xmp`, darktable takes the coordinates of any location for the camera's position.
        stem_fields = tag_fields.without_landmark_coordinates()
        plans = []
        for path in paths:
            sidecar = self._read(path)
            template = (
                self._template(photo_files.hidden)
                if tag_fields and sidecar.base is None
                else None
            )
            fields = tag_fields if folded_name(path.name) == own_name else stem_fields
            plans.append(plan_sidecar(sidecar, fields, blocks, template))
        return plans

    def _template(self, hidden: Iterable[Path]) -> bytes | None:
        # What a new sidecar copies from the first of those it hides that can be read.
        for path in hidden:
            with suppress(WriteRefused):
                base = self._read(path).base
                if (
                    template := sidecar_template(base, SIDECAR_ONLY_FIELDS)
                ) is not None:
                    return template
        return None

    def _is_unchanged(self, path: Path, written_digest: str) -> bool:
        data = read_for_writing(
            path,
            max_bytes=SIDECAR_MAX_BYTES,
            root=self._request.root,
        ).data
        return data is not None and digest_file(data) == written_digest

    def _tagged_photo(self) -> bytes:
        # Read the photo, if it still is the one that was tagged.
        request = self._request
        data = self._read_photo(request.path)
        try:
            check_image(data, request.image_digest)
        except WriteRefused:
            # A RAW file is tagged in the place of a file that cannot be decoded.
            if not any(map(self._has_tagged_image, request.raw_files)):
                raise
        return data

    def _has_tagged_image(self, path: Path) -> bool:
        try:
            return digest_photo(self._read_photo(path)) == self._request.image_digest
        except WriteFailed:
            return False

    def _read_photo(self, path: Path) -> bytes:
        request = self._request
        try:
            return read_photo(path, max_bytes=request.max_bytes, root=request.root).data
        except PhotoFailed as failed:
            gone = failed.failure.kind is FailureKind.GONE
            raise WriteFailed(
                "gone" if gone else "unreadable", failed.failure.text
            ) from failed


def _find_lost(
    request: PhotoWriteRequest, plans: Sequence[FilePlan]
) -> Mapping[Path, str]:
    # The files on record that are lost, and what to do about each. One without values is written again.
    names = {folded_name(file.path.name) for file in request.written_files}
    # A sidecar that another program has renamed with its photo, or merged into another one.
    was_moved = any(
        folded_name(plan.path.name) not in names and _has_our_values(plan)
        for plan in plans
        if plan.target is Target.SIDECAR
    )
    lost: dict[Path, str] = {}
    for file in request.written_files:
        # The plan of a file on record, if it exists or will exist.
        folded = folded_name(file.path.name)
        beside = [plan for plan in plans if plan.path.parent == file.path.parent]
        same = [plan for plan in beside if plan.path == file.path]
        same += [
            plan
            for plan in beside
            if folded_name(path_text(plan.path.name)[0]) == folded
        ]
        plan = next(
            (
                plan
                for plan in same
                if plan.original.data is not None or plan.data is not None
            ),
            None,
        )
        is_expected = (
            not was_moved if file.target is Target.SIDECAR else request.is_gone
        )
        if not file.is_own or not file.is_complete:
            continue
        if plan is None and is_expected and not file.has_moved:
            lost[file.path] = (
                f"{file.path.name!r}, into which tags were written, is not there any more: it was moved, "
                "renamed or deleted. If it was moved, move it back, and undo again."
            )
        elif plan is not None and not request.tag_fields and _was_replaced(file, plan):
            lost[file.path] = (
                f"{file.path.name!r} was replaced by another program, without the record of what had been "
                "written into it. Tags may be left in it; remove them there."
            )
    return lost


def _was_replaced(file: WrittenFile, plan: FilePlan) -> bool:
    data = plan.original.data
    return (
        data is not None
        and not _has_our_values(plan)
        and digest_file(data) != file.base_digest
    )


def _has_our_values(plan: FilePlan) -> bool:
    data = plan.original.data
    if data is None or plan.target is Target.SIDECAR:
        return xmp.has_our_fields(data)
    try:
        return xmp.has_our_fields(xmp_packet(data))
    except WriteRefused:
        return True


def _refuse_place(path: Path, target: Target | None) -> None:
    # Refuse a file in a bucket, or in a folder of another program, where only writes of ours are undone.
    # Raises WriteRefused: it is there.
    if not open_source(str(path)).is_writable:
        undo = "What version 1 wrote there is undone with version 1"
        write = "To write tags, copy the photos to a folder"
        text = f"Buckets are only read. {undo if target is None else write}."
        raise WriteRefused(RefusalKind.BUCKET, text)
    program_folder = (
        owning_folder(str(path), os.path.lexists) if target is not None else None
    )
    if program_folder is not None:
        folder, owner = program_folder
        name = folder.rpartition("/")[2]
        raise WriteRefused(
            RefusalKind.LIBRARY,
            f"It is in {name!r}, a folder with {owner.reason}, which keeps its own records of its files. "
            "Nothing is written there; "
            "export the photo from that program, and tag the exported file.",
        )


def _is_unreadable_sidecar(file: FilePlan, request: PhotoWriteRequest) -> bool:
    data = file.original.data
    if file.target is not Target.SIDECAR or file.changes or data is None:
        return False
    if Target.SIDECAR not in request.written_targets and not xmp.names_our_namespace(
        data
    ):
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
                # Left by a process that died while it wrote other values.
                remove_leftover(file.original.path, file.original.root)
                continue
            ready.append(
                (
                    file,
                    prepare(file.original, file.data, photo=plan.request.path),
                )
            )
    except BaseException:
        for _, prepared in ready:
            prepared.discard()
        raise
    return PreparedPhoto(plan, tuple(ready))


def describe_result(photo: PreparedPhoto) -> str:
    plan = photo.plan

    # The estimated position in one of the files, if there is one.
    positions = [
        file.position for file in plan.files if file.position and file.position.source
    ]
    estimate = [
        f"position ± {distance_text(position.error_m)} ({position.source})"
        for position in positions[:1]
    ]

    names = ", ".join((*plan.request.tag_fields.keywords, *estimate))
    files = ", ".join(_file_name(file) for file in photo.replaced)
    parts = [plan.refusal.text] if plan.refusal else []
    if names and (files or plan.refusal):
        target = files or ", ".join(
            f"{file.original.path.name} (already written)" for file in plan.files
        )
        values = "tags were" if plan.request.tag_fields.keywords else "position was"
        # In the past: the text stays with the job, and an undo may delete the sidecar.
        if plan.refusal:
            parts.append(f"The {values} written to a sidecar: {names} → {target}")
        else:
            parts.append(f"{names} → {target}{'.' if plan.refusal_kind else ''}")
    elif files:
        parts.append(
            ", ".join(_removal_text(file) for file in photo.replaced)
            + ("." if plan.lost else "")
        )
    elif plan.refusal_kind is None:
        is_undo = plan.request.target is None
        nothing = "it holds none of our values" if is_undo else "nothing to write"
        parts.append(f"{names}: already written" if names else nothing)
    parts += plan.lost.values()
    return " ".join(parts) + (
        " (XMP only)" if any(file.notes for file in plan.files) else ""
    )


def _removal_text(file: FilePlan) -> str:
    if file.data is None:
        return f"{_file_name(file)} deleted"
    state = (
        "the original is restored"
        if file.restores_original
        else "changes by other programs are kept"
    )
    return f"removed from {_file_name(file)}; {state}"


def _file_name(file: FilePlan) -> str:
    return (
        file.original.path.name if file.target is Target.SIDECAR else "the photo itself"
    )
