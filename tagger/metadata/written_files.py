"""The files that this program wrote, as the undo log has them: where each is now, and which are lost.

A file is looked for where it was written. What stands beside a photo today decides only about what is not on
record.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tagger.database.enums import Target
from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import may_hold_tags, read_blocks
from tagger.metadata.plans import FilePlan, plan_sidecar
from tagger.metadata.replacement import read_for_writing
from tagger.metadata.restored_files import FindUndoRecord, digest_file
from tagger.metadata.sidecar_names import find_written
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.xmp import has_our_fields
from tagger.photos.paths import ObjectPath, path_text
from tagger.photos.side_files import SIDECAR_MAX_BYTES, folded_name


@dataclass(frozen=True)
class WrittenFile:
    """A file on record: where it was written, the digests of its content and of its original (None: none).

    `is_complete`: it is known that it was written. `is_own`: it is one of this photo, and not of a photo with
    the same image that is gone, which may be this photo under its former name. `has_moved`: its photo is
    gone, and its image is elsewhere.
    """

    path: Path
    target: Target
    written_digest: str
    base_digest: str | None
    is_complete: bool = True
    is_own: bool = True
    has_moved: bool = False


@dataclass(frozen=True)
class LostFile:
    """A file on record that is gone or changed. `text` is None if it moved with its photo: no problem."""

    file: WrittenFile
    text: str | None


def written_sidecars(
    files: Sequence[WrittenFile], root: Path | None, others: Collection[Path] = (), *, removes: bool = False
) -> list[Path]:
    """The photo's sidecars on record that exist, without `others`. `removes`: also those perhaps not written.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    found: dict[Path, bool] = {}
    for file in files:
        if file.is_own and file.target is Target.SIDECAR:
            path = find_written(file.path, root)
            found[path] = (
                (removes and not file.is_complete) or found.get(path, False) or os.path.lexists(path)
            )
    return [path for path, counts in found.items() if counts and not is_among(path, others)]


def is_among(path: Path, others: Collection[Path]) -> bool:
    """Whether a path leads to one of these files, also by another spelling of its name."""
    if path in others:
        return True
    folded = folded_name(path.name)
    return any(
        folded_name(other.name) == folded and _is_same_file(path, other)
        for other in others
        if not isinstance(other, ObjectPath) and other.parent == path.parent
    )


def plan_left_sidecars(
    files: Sequence[WrittenFile],
    root: Path | None,
    planned: Collection[Path],
    find_undo_record: FindUndoRecord,
) -> Iterator[FilePlan]:
    """Plan the removal of our values from what was left when the photo was renamed, if unchanged since.

    Raises:
        WriteRefused, WriteFailed: as `plan_sidecar`.
    """
    left = (file for file in files if not file.is_own and file.target is Target.SIDECAR)
    for file in {file.path: file for file in left}.values():
        path = find_written(file.path, root)
        if not is_among(path, planned):
            data = read_for_writing(path, max_bytes=SIDECAR_MAX_BYTES, root=root).data
            if data is not None and digest_file(data) == file.written_digest:
                yield plan_sidecar(path, TagFields(), find_undo_record, root=root)


def find_lost(
    files: Sequence[WrittenFile], plans: Sequence[FilePlan], *, adds: bool, is_gone: bool
) -> tuple[LostFile, ...]:
    """The files on record that are lost. `adds`: one without values is written again."""
    names = {folded_name(file.path.name) for file in files}
    # A sidecar that another program has renamed with its photo, or merged into another one.
    was_moved = any(
        folded_name(plan.path.name) not in names and _has_our_values(plan)
        for plan in plans
        if plan.target is Target.SIDECAR
    )
    lost: dict[Path, LostFile] = {}
    for file in files:
        plan = _plan_of(file, plans)
        is_expected = file.target is Target.SIDECAR or is_gone
        if not file.is_own or not file.is_complete:
            continue
        if plan is None and is_expected:
            is_known = file.has_moved or (was_moved and file.target is Target.SIDECAR)
            lost[file.path] = LostFile(file, None if is_known else _MISSING.format(file.path.name))
        elif plan is not None and not adds and _was_replaced(file, plan):
            lost[file.path] = LostFile(file, _REPLACED.format(file.path.name))
    return tuple(lost.values())


_MISSING = (
    "{!r}, into which tags were written, is not there any more: it was moved, renamed or deleted. "
    "If it was moved, undo it by "
    "its name: tagger metadata undo PATH."
)
_REPLACED = (
    "{!r} was replaced by another program, without the record of what had been written into it. "
    "Tags may be left in it; remove "
    "them there."
)


def _plan_of(file: WrittenFile, plans: Sequence[FilePlan]) -> FilePlan | None:
    """The plan of a file on record, if it exists or will exist."""
    folded = folded_name(file.path.name)
    found = [plan for plan in plans if plan.path.parent == file.path.parent]
    same = [plan for plan in found if plan.path == file.path]
    same += [plan for plan in found if folded_name(path_text(plan.path.name)[0]) == folded]
    return next((plan for plan in same if plan.original.data is not None or plan.data is not None), None)


def _was_replaced(file: WrittenFile, plan: FilePlan) -> bool:
    data = plan.original.data
    return data is not None and not _has_our_values(plan) and digest_file(data) != file.base_digest


def _has_our_values(plan: FilePlan) -> bool:
    data = plan.original.data
    if data is None or plan.target is Target.SIDECAR:
        return has_our_fields(data)
    try:
        return has_our_fields(read_blocks(data).xmp) if may_hold_tags(data) else False
    except WriteRefused:
        return True


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False
