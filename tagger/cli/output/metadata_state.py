"""The text of `tagger metadata show`: the fields of a photo and its sidecar files, side by side."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_table
from tagger.metadata.inspection import TAGGER_RECORD

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.metadata.inspection import Fields
    from tagger.metadata.xmp import WrittenLandmark


@dataclass(frozen=True)
class FileState:
    """The metadata of a photo or a sidecar file. `problem` is the reason if it cannot be read."""

    path: Path
    fields: Fields
    landmarks: tuple[WrittenLandmark, ...]
    problem: str | None = None

    def document(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "fields": {name: value for name, value in self.fields.items() if TAGGER_RECORD not in name},
            "landmarks": [asdict(landmark) for landmark in self.landmarks],
            "problem": self.problem,
        }


@dataclass(frozen=True)
class MetadataState:
    """A photo (None for a sidecar file alone) and its sidecar files. `note` says what is never written to it, and why."""

    photo: FileState | None
    sidecars: tuple[FileState, ...]
    note: str | None

    def document(self) -> dict[str, Any]:
        return {
            "photo": self.photo and self.photo.document(),
            "sidecars": [sidecar.document() for sidecar in self.sidecars],
            "note": self.note,
        }


def metadata_state(file: Path, max_bytes: int) -> MetadataState:
    """Read the metadata of a photo and its sidecar files, or of one sidecar file.

    Raises:
        PathNotFound: the file does not exist.
        BucketUnavailable: its bucket does not answer.
        SystemRefused: the photo cannot be read.
    """
    from tagger.errors import PhotoFailed, SystemRefused
    from tagger.metadata.errors import WriteFailed, WriteRefused
    from tagger.metadata.files.sidecars import is_sidecar_name
    from tagger.metadata.inspection import exif_refusal
    from tagger.metadata.writable_files import existing_sidecars
    from tagger.photos.object_paths import ObjectPath, parse_path
    from tagger.photos.source import check_exists, read_named

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
        sidecars = existing_sidecars(file)
    except (WriteRefused, WriteFailed) as problem:
        raise SystemRefused(what=str(file), reason=str(problem)) from problem
    note = exif_refusal(data)
    return MetadataState(
        _photo_state(file, data),
        tuple(map(_sidecar_state, sidecars)),
        note and f"tagger never changes the EXIF of this photo, only its XMP: {note}",
    )


def print_state(state: MetadataState) -> None:
    """Print a table with a row for each field and a column for each file."""
    files = [*([state.photo] if state.photo else []), *state.sidecars]
    names = sorted({name for file in files for name in file.fields if TAGGER_RECORD not in name})
    rows = ([name, *(_cell(file.fields.get(name)) for file in files)] for name in names)
    write_table(("Field", *(printable(file.path.name) for file in files)), rows)
    for file in files:
        for landmark in file.landmarks:
            typer.echo(f"{printable(file.path.name)}: tagger wrote {_landmark_text(landmark)}")
        if file.problem:
            console.warning(f"{printable(str(file.path))}: {file.problem}")
    if state.photo and not state.sidecars:
        console.info("there is no sidecar file")
    if state.note:
        console.info(state.note)


def _photo_state(path: Path, data: bytes) -> FileState:
    from tagger.metadata.errors import WriteRefused
    from tagger.metadata.inspection import photo_fields, xmp_packet
    from tagger.metadata.xmp import written_landmarks

    try:
        return FileState(path, photo_fields(data), written_landmarks(xmp_packet(data)))
    except WriteRefused as refused:
        return FileState(path, {}, (), refused.text)


def _sidecar_state(path: Path) -> FileState:
    from tagger.errors import PhotoFailed
    from tagger.metadata.errors import WriteRefused
    from tagger.metadata.files.sidecars import SIDECAR_MAX_BYTES
    from tagger.metadata.inspection import xmp_fields
    from tagger.metadata.xmp import written_landmarks
    from tagger.photos.source import read_named

    try:
        data = read_named(path, max_bytes=SIDECAR_MAX_BYTES).data
        return FileState(path, xmp_fields(data), written_landmarks(data))
    except PhotoFailed as failed:
        return FileState(path, {}, (), failed.failure.text)
    except WriteRefused as refused:
        return FileState(path, {}, (), refused.text)


def _cell(value: str | list[str] | None) -> str:
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else "; ".join(value))


def _landmark_text(landmark: WrittenLandmark) -> str:
    parts = (landmark.score, landmark.model and f"by {landmark.model}", landmark.verdict)
    details = " ".join(part for part in parts if part)
    return f"{printable(landmark.name or landmark.slug)}{f' ({printable(details)})' if details else ''}"
