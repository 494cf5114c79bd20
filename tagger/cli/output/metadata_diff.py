"""The text of `tagger metadata write --dry-run` and `undo --dry-run`: what would change in which file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json_list
from tagger.cli.output.job_text import count_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tagger.jobs.processing.metadata_preview import MetadataPreview
    from tagger.metadata.plans import FilePlan


def print_differences(previews: Iterable[MetadataPreview], *, json: bool) -> None:
    """Print the changes of each file, field by field, and a summary."""
    if json:
        write_json_list(map(_document, previews))
        return
    summary = _Summary()
    for preview in previews:
        _print_preview(preview)
        summary.add(preview)
    console.info(f"{summary.text()}; this was a dry run, and nothing was changed")


@dataclass
class _Summary:
    """Counts of photos and sidecar files by what would happen to them."""

    photos: set[Path] = field(default_factory=set)
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0

    def add(self, preview: MetadataPreview) -> None:
        if preview.plan is None:
            self.refused += 1
            return
        changing = [file for file in preview.plan.files if file.changes]
        self.unchanged += not changing
        for file in changing:
            if file.target == "embed":
                self.photos.add(preview.path)
            elif file.original.data is None:
                self.new += 1
            else:
                self.changed += 1

    def text(self) -> str:
        photos = len(self.photos)
        parts = [f"{count_of(photos, 'photo')} would be changed" if photos else "no photo would be changed"]
        parts += [f"{count_of(self.new, 'new sidecar')} would be created"] if self.new else []
        parts += [f"{count_of(self.changed, 'sidecar')} would be changed or removed"] if self.changed else []
        parts += [f"{count_of(self.unchanged, 'photo')} up to date"] if self.unchanged else []
        parts += [f"{count_of(self.refused, 'photo')} would not be written"] if self.refused else []
        return ", ".join(parts)


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


def _print_file(plan: FilePlan) -> None:
    from tagger.jobs.processing.metadata_preview import changed_fields

    state = " (removed)" if plan.data is None else ""
    if plan.original.data is None:
        state = " (new" + (", a copy of the photo's XMP)" if plan.template is not None else ")")
    typer.echo(f"{printable(str(plan.original.path))}{state}")
    lines = changed_fields(plan)
    for sign, name, value in lines:
        typer.echo(f"  {sign} {printable(name)}: {printable(value)}")
    if not lines:
        typer.echo("    only the layout, or tagger's record of what it wrote")
    for note in plan.notes:
        typer.echo(f"    {printable(note)}")


def _document(preview: MetadataPreview) -> dict[str, Any]:
    from tagger.jobs.processing.metadata_preview import changed_fields

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
