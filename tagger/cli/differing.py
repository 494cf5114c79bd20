"""How metadata is shown: what a photo and its sidecar say side by side, and what a write would change in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tagger.cli import console
from tagger.cli.output import printable, write_json_list, write_table
from tagger.errors import FolderNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tagger.metadata.described import Fields
    from tagger.metadata.xmp import WrittenLandmark
    from tagger.writing.photo import Planned
    from tagger.writing.preview import Previewed

OURS = "landmarkTagger:"
"""Our own record: shown in words of its own, not as a field."""


@dataclass(frozen=True)
class FileState:
    """A photo or sidecar as it is now. `problem` is why it cannot be read."""

    path: Path
    fields: Fields
    landmarks: tuple[WrittenLandmark, ...]
    problem: str | None = None

    def document(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "fields": {name: value for name, value in self.fields.items() if OURS not in name},
            "landmarks": [asdict(landmark) for landmark in self.landmarks],
            "problem": self.problem,
        }


@dataclass(frozen=True)
class State:
    """A photo (None if a sidecar was named) and its sidecars. `note`: what of it is never written, and why."""

    photo: FileState | None
    sidecars: tuple[FileState, ...]
    note: str | None

    def document(self) -> dict[str, Any]:
        return {
            "photo": self.photo and self.photo.document(),
            "sidecars": [sidecar.document() for sidecar in self.sidecars],
            "note": self.note,
        }


def state_of(file: Path, max_bytes: int) -> State:
    """What a photo and its sidecars say, or a sidecar that was named itself.

    Raises:
        FolderNotFound: there is no such file.
    """
    from tagger.errors import PhotoFailed, SystemRefused
    from tagger.metadata.described import exif_left_alone
    from tagger.metadata.sidecars import is_sidecar_name, sidecars_there
    from tagger.photos.reading import read_photo

    if file.is_dir():
        raise typer.BadParameter("it is a folder; name a photo in it", param_hint="FILE")
    if not file.is_file():
        raise FolderNotFound(path=file)
    if is_sidecar_name(file.name):
        return State(None, (_sidecar_state(file),), None)
    try:
        data = read_photo(file, max_bytes=max_bytes).data
    except PhotoFailed as failed:
        raise SystemRefused(what=str(file), reason=failed.failure.text) from failed
    note = exif_left_alone(data)
    return State(
        _photo_state(file, data),
        tuple(map(_sidecar_state, sidecars_there(file))),
        note and f"its EXIF is never written, its XMP alone is: {note}",
    )


def print_state(state: State) -> None:
    """Side by side: a line for each field, a column for each file."""
    files = [*([state.photo] if state.photo else []), *state.sidecars]
    names = sorted({name for file in files for name in file.fields if OURS not in name})
    rows = ([name, *(_cell(file.fields.get(name)) for file in files)] for name in names)
    write_table(("Field", *(printable(file.path.name) for file in files)), rows, flexible=1)
    for file in files:
        for landmark in file.landmarks:
            typer.echo(f"{printable(file.path.name)}: this program wrote {_in_words(landmark)}")
        if file.problem:
            console.warn(f"{printable(str(file.path))}: {file.problem}")
    if state.photo and not state.sidecars:
        console.say("there is no sidecar")
    if state.note:
        console.say(state.note)


def print_differences(found: Iterable[Previewed], *, json: bool) -> None:
    """What would change in which file, field by field; of files that would stay as they are, how many."""
    if json:
        write_json_list(_document(each) for each in found)
        return
    photos: set[Path] = set()
    new = changed = same = left = 0
    for each in found:
        if each.planned is None:
            left += 1
            typer.echo(f"{printable(str(each.path))}: would be left as it is: {each.problem}")
            continue
        refusal = each.planned.refusal
        if refusal:
            typer.echo(f"{printable(str(each.path))}: would get a sidecar instead: {refusal.text}")
        differing = [planned for planned in each.planned.files if planned.plan.changes]
        same += not differing
        for planned in differing:
            _print_difference(planned)
            if planned.target == "embed":
                photos.add(each.path)
            elif planned.plan.original.data is None:
                new += 1
            else:
                changed += 1
    parts = [f"{_number(len(photos), 'photo')} would be changed" if photos else "no photo would be touched"]
    parts += [f"{_number(new, 'new sidecar')} would be made"] if new else []
    parts += [f"{_number(changed, 'sidecar')} would be changed or removed"] if changed else []
    parts += [f"{_number(same, 'photo')} {'is' if same == 1 else 'are'} right already"] if same else []
    parts += (
        [f"{_number(left, 'photo')} would be left as {'it is' if left == 1 else 'they are'}"] if left else []
    )
    console.say(", ".join(parts) + "; this was a dry run, and nothing was changed")


def _number(number: int, thing: str) -> str:
    return f"1 {thing}" if number == 1 else f"{number} {thing}s"


def _print_difference(planned: Planned) -> None:
    plan = planned.plan
    state = ", which would be removed" if plan.data is None else ""
    if plan.original.data is None:
        state = ", new" + (", begun as a copy of the photo's own XMP" if plan.copied is not None else "")
    typer.echo(f"{printable(str(plan.original.path))}{state}")
    lines = _lines(planned)
    for sign, name, value in lines:
        typer.echo(f"  {sign} {printable(name)}: {printable(value)}")
    if not lines:
        typer.echo("    only in how it is laid out, or in our own record of what was written")
    for note in plan.notes:
        typer.echo(f"    {printable(note)}")


def _lines(planned: Planned) -> list[tuple[str, str, str]]:
    from tagger.metadata.described import differences, photo_fields, xmp_fields
    from tagger.tables import Target

    read = photo_fields if planned.target is Target.EMBED else xmp_fields
    plan = planned.plan
    was = plan.copied if plan.original.data is None else plan.original.data
    before = read(was) if was is not None else {}
    after = read(plan.data) if plan.data is not None else {}
    return [line for line in differences(before, after) if OURS not in line[1]]


def _document(each: Previewed) -> dict[str, Any]:
    planned = each.planned
    return {
        "path": str(each.path),
        "problem": str(each.problem) if each.problem else None,
        "refusal": planned.refusal.text if planned and planned.refusal else None,
        "files": [
            {
                "path": str(one.plan.original.path),
                "changes": [
                    {"change": {"+": "added", "-": "removed"}[sign], "field": name, "value": value}
                    for sign, name, value in _lines(one)
                ],
                "notes": list(one.plan.notes),
            }
            for one in (planned.files if planned else ())
            if one.plan.changes
        ],
    }


def _photo_state(path: Path, data: bytes) -> FileState:
    from tagger.metadata.described import packet_of, photo_fields
    from tagger.metadata.refusals import WriteRefused
    from tagger.metadata.xmp import landmarks

    try:
        return FileState(path, photo_fields(data), landmarks(packet_of(data)))
    except WriteRefused as refused:
        return FileState(path, {}, (), refused.text)


def _sidecar_state(path: Path) -> FileState:
    from tagger.metadata.described import xmp_fields
    from tagger.metadata.refusals import WriteRefused
    from tagger.metadata.xmp import landmarks

    data = path.read_bytes()
    try:
        return FileState(path, xmp_fields(data), landmarks(data))
    except WriteRefused as refused:
        return FileState(path, {}, (), refused.text)


def _cell(value: str | list[str] | None) -> str:
    if value is None:
        return ""
    return printable(value if isinstance(value, str) else "; ".join(value))


def _in_words(landmark: WrittenLandmark) -> str:
    said = " ".join(
        part for part in (landmark.score, landmark.model and f"by {landmark.model}", landmark.verdict) if part
    )
    return f"{printable(landmark.name or landmark.slug)}{f' ({printable(said)})' if said else ''}"
