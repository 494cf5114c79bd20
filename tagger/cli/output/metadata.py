"""The metadata of a photo as `tagger metadata show` prints it, and what a write would change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json_list, write_table
from tagger.cli.output.job_text import count_of
from tagger.database.enums import Target
from tagger.errors import PhotoFailed, SystemRefused
from tagger.jobs.processing.metadata_preview import changed_fields
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.photo_files import (
    TAGGER_RECORD,
    WrittenFile,
    exif_refusal,
    find_photo_files,
    is_sidecar_name,
    photo_fields,
    xmp_fields,
    xmp_packet,
)
from tagger.metadata.xmp import written_landmarks
from tagger.photos.formats import detect_format
from tagger.photos.paths import ObjectPath, parse_path
from tagger.photos.side_files import SIDECAR_MAX_BYTES
from tagger.photos.source import check_exists, read_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tagger.jobs.processing.metadata_preview import MetadataPreview
    from tagger.metadata.photo_files import Fields
    from tagger.metadata.plans import FilePlan
    from tagger.metadata.xmp import WrittenLandmark


# The fields that stand for all others of a tag in a line.
KEYWORDS = ("dc:subject", "Keywords")


def print_differences(previews: Iterable[MetadataPreview], *, json: bool) -> None:
    """Print the changes of each file, with -v field by field, and a summary."""
    if json:
        write_json_list(map(_document, previews))
        return
    counts: Counter[str] = Counter()
    for preview in previews:
        _print_preview(preview)
        counts.update(_summarised(preview))
    photos = count_of(counts["changed"], "photo") if counts["changed"] else "no photo"
    parts = [f"{photos} would be changed"]
    parts += [f"{count_of(counts['new'], 'new sidecar')} would be created"] if counts["new"] else []
    if counts["sidecar"]:
        parts.append(f"{count_of(counts['sidecar'], 'sidecar')} would be changed or removed")
    parts += [f"{count_of(counts['same'], 'photo')} up to date"] if counts["same"] else []
    parts += [f"{count_of(counts['refused'], 'photo')} would not be written"] if counts["refused"] else []
    hint = "" if console.verbosity > 0 else ". To see each field, add -v"
    console.info(f"{', '.join(parts)}; nothing was changed{hint}")


def _summarised(preview: MetadataPreview) -> Iterator[str]:
    """What would happen to the photo and its sidecar files, for the summary."""
    if preview.plan is None:
        yield "refused"
        return
    changing = [file for file in preview.plan.files if file.changes]
    if not changing:
        yield "same"
    for file in changing:
        is_new = file.original.data is None
        yield "changed" if file.target == "embed" else "new" if is_new else "sidecar"


def _print_preview(preview: MetadataPreview) -> None:
    path = printable(str(preview.path))
    if preview.plan is None:
        typer.echo(f"{path}: would not be written: {printable(str(preview.problem))}")
        return
    if preview.plan.refusal:
        typer.echo(f"{path}: would get a sidecar file instead: {printable(preview.plan.refusal.text)}")
    for file in preview.plan.files:
        if file.changes:
            _print_file(file)
    for text in preview.plan.lost.values():
        typer.echo(f"{path}: {printable(text)}")


def _print_file(plan: FilePlan) -> None:
    state = " (removed)" if plan.data is None else ""
    if plan.original.data is None:
        state = " (new" + (", a copy of the photo's XMP)" if plan.template is not None else ")")
    fields = changed_fields(plan)
    keywords = dict.fromkeys(f"{sign} {value}" for sign, name, value in fields if name.endswith(KEYWORDS))
    text = ", ".join(keywords) or ", ".join(f"{sign} {name}" for sign, name, _ in fields)
    text = text or "only the layout, or tagger's record of what it wrote"
    typer.echo(f"{printable(str(plan.original.path))}{state}: {printable(text)}")
    for sign, name, value in fields if console.verbosity > 0 else ():
        typer.echo(f"  {sign} {printable(name)}: {printable(value)}")
    for note in plan.notes:
        typer.echo(f"    {printable(note)}")


def _document(preview: MetadataPreview) -> dict[str, Any]:
    plan = preview.plan
    return {
        "path": str(preview.path),
        "problem": str(preview.problem) if preview.problem else None,
        "refusal": plan.refusal.text if plan and plan.refusal else None,
        "files": [
            {
                "path": str(file.original.path),
                "changes": [
                    {"change": {"+": "added", "-": "removed"}[sign], "field": name, "value": value}
                    for sign, name, value in changed_fields(file)
                ],
                "notes": list(file.notes),
            }
            for file in (plan.files if plan else ())
            if file.changes
        ],
    }


@dataclass(frozen=True)
class FileState:
    """The metadata of a photo or a sidecar file. `problem` is the reason if it cannot be read."""

    path: Path
    fields: Fields
    landmarks: tuple[WrittenLandmark, ...]
    problem: str | None = None


@dataclass(frozen=True)
class MetadataState:
    """A photo (None for a sidecar alone) and its sidecars. `note` says what is never written to it, and why.

    `lost` are the names of the sidecar files that were written and are not there any more.
    """

    photo: FileState | None
    sidecars: tuple[FileState, ...]
    note: str | None
    lost: tuple[str, ...] = ()


def metadata_state(file: Path, max_bytes: int, recorded: Sequence[str] = ()) -> MetadataState:
    """Read the metadata of a photo and its sidecars, with those `recorded` as written, or of one sidecar.

    Raises:
        PathNotFound: the file does not exist.
        BucketUnavailable: its bucket does not answer.
        typer.BadParameter: it is a folder, or no photo and without a sidecar.
        SystemRefused: the photo cannot be read.
    """
    file = parse_path(file)
    if not isinstance(file, ObjectPath) and file.is_dir():
        raise typer.BadParameter("it is a folder; name one photo", param_hint="FILE")
    check_exists(file)
    if is_sidecar_name(file.name):
        return MetadataState(None, (_sidecar_state(file),), None)
    try:
        data = read_named(file, max_bytes=max_bytes).data
    except PhotoFailed as failed:
        raise SystemRefused(what=str(file), reason=failed.failure.text) from failed
    try:
        written = [WrittenFile(file.with_name(name), Target.SIDECAR, "", None) for name in recorded]
        found = find_photo_files(file, None, written)
    except (WriteRefused, WriteFailed) as problem:
        raise SystemRefused(what=str(file), reason=str(problem)) from problem
    sidecars = (*found.beside, *found.recorded)
    if detect_format(data) is None and not sidecars and not found.absent:
        raise typer.BadParameter("it is no photo and no sidecar file; name one", param_hint="FILE")
    note = exif_refusal(data)
    return MetadataState(
        _photo_state(file, data),
        tuple(map(_sidecar_state, sidecars)),
        note and f"tagger never changes the EXIF of this photo, only its XMP: {note}",
        tuple(path.name for path in found.absent),
    )


def print_state(state: MetadataState) -> None:
    """Print a table with a row for each field and a column for each file."""
    files = [*([state.photo] if state.photo else []), *state.sidecars]
    names = sorted({name for file in files for name in file.fields})
    rows = ([name, *(_cell(file.fields.get(name)) for file in files)] for name in names)
    write_table(("Field", *(printable(file.path.name) for file in files)), rows)
    for file in files:
        for landmark in file.landmarks:
            typer.echo(f"{printable(file.path.name)}: tagger wrote {_landmark_text(landmark)}")
        if file.problem:
            console.warning(f"{printable(str(file.path))}: {file.problem}")
    for name in state.lost:
        console.warning(f"{printable(name)}, into which tags were written, is not there any more")
    if state.photo and not state.sidecars:
        console.info("there is no sidecar file")
    if state.note:
        console.info(state.note)


def _photo_state(path: Path, data: bytes) -> FileState:
    try:
        return FileState(path, _shown(photo_fields(data)), written_landmarks(xmp_packet(data)))
    except WriteRefused as refused:
        return FileState(path, {}, (), refused.text)


def _sidecar_state(path: Path) -> FileState:
    try:
        data = read_named(path, max_bytes=SIDECAR_MAX_BYTES).data
        return FileState(path, _shown(xmp_fields(data)), written_landmarks(data))
    except PhotoFailed as failed:
        return FileState(path, {}, (), failed.failure.text)
    except WriteRefused as refused:
        return FileState(path, {}, (), refused.text)


def _shown(fields: Fields) -> Fields:
    """The fields without tagger's own record."""
    return {name: value for name, value in fields.items() if TAGGER_RECORD not in name}


def _cell(value: str | list[str] | None) -> str:
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else "; ".join(value))


def _landmark_text(landmark: WrittenLandmark) -> str:
    parts = (landmark.score, landmark.model and f"by {landmark.model}", landmark.verdict)
    details = " ".join(part for part in parts if part)
    return f"{printable(landmark.name or landmark.slug)}{f' ({printable(details)})' if details else ''}"
