"""What commands print after a job: photos whose metadata it did not write, the landmarks of the others, and the next steps."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tagger.cli.output import console
from tagger.cli.output.formats import printable
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tagger.database.connection import Database
    from tagger.ledger.progress import JobProgress

LANDMARKS_SHOWN = 8


def print_next_steps(database: Database, job: int) -> None:
    """Print why photos were skipped, how to see, correct and write the tags of a finished job, and how to teach."""
    from tagger.database.enums import METADATA_KINDS, JobKind, JobState
    from tagger.ledger.progress import list_jobs

    progress = list_jobs(database, job)[0]
    if progress.state is not JobState.FINISHED or progress.kind in METADATA_KINDS:
        return
    if progress.skipped and progress.kind == JobKind.TAG:
        console.info("skipped: this model has classified these photos already; to include them, add --again")
    if progress.tagged:
        _print_doubtful_tags(database, job)
        _print_tag_commands(database, job)
    if progress.unknown:
        console.info("to name a place that the model does not know, run: tagger teach NAME PHOTO…")


def _print_doubtful_tags(database: Database, job: int) -> None:
    from tagger.cli.output.job_text import count_of
    from tagger.library.positions.tag_odds import count_doubtful_photos

    with database.read() as connection:
        doubtful = count_doubtful_photos(connection, job)
    if doubtful:
        photos = count_of(doubtful, "photo")
        console.info(
            f"{photos} with a landmark that is too far from where the photo was taken: doubtful; to see why, run: tagger show PHOTO"
        )


def _print_tag_commands(database: Database, job: int) -> None:
    from tagger.jobs.enqueue.tag_jobs import tag_job_paths
    from tagger.ledger.progress import has_write_option, job_options

    named = tag_job_paths(job_options(database, [job])[job])
    paths = [shlex.quote(str(path)) for path in named]
    (under, path) = (f" --under {paths[0]}", f" {paths[0]}") if len(paths) == 1 else ("", "")
    console.info(f"to see the tags, run: tagger query{under}")
    console.info("to correct one, run: tagger reject LANDMARK PHOTO, or: tagger confirm LANDMARK PHOTO")
    if not has_write_option(database, job):
        console.info(f"to write them to metadata, run: tagger metadata write{path} --to sidecar")


def print_landmarks(database: Database, job: int) -> None:
    """Print the landmarks of a job, those with most photos first."""
    from tagger.library.query.counts import landmark_counts

    counts = landmark_counts(database, job=job)
    typer.echo("landmarks in these photos:" if counts else "no landmark was recognised in these photos")
    for landmark in counts[:LANDMARKS_SHOWN]:
        country = f" ({landmark.country})" if landmark.country else ""
        typer.echo(f"  {landmark.photos:5}  {landmark.name}{country}")
    if len(counts) > LANDMARKS_SHOWN:
        typer.echo(f"         … and {len(counts) - LANDMARKS_SHOWN} more")


PHOTOS_SHOWN = 3


@dataclass(frozen=True)
class EditedPhotos:
    """Photos with a file or sidecar that another program has edited since the write; None if the job is no undo."""

    job: int
    paths: list[Path] | None

    def document(self) -> dict[str, Any]:
        return {} if self.paths is None else {"edited": [str(path) for path in self.paths]}

    def lines(self) -> list[str]:
        """How many they are, the first ones, and how to list all."""
        if not self.paths:
            return []
        names = [printable(str(path)) for path in self.paths[:PHOTOS_SHOWN]]
        more = len(self.paths) - len(names)
        names += [f"and {more} more"] if more else []
        photos = count_of(len(self.paths), "photo")
        kept = "whose file or sidecar another program has changed since the write. Only tagger's values were removed"
        return [
            f"edited: {photos} {kept}; the rest stays: {', '.join(names)}",
            f"to list them, run: tagger job failures {self.job} --kind edited. Delete sidecars that you do not need",
        ]


def edited_photos(database: Database, progress: JobProgress) -> EditedPhotos:
    """Find the photos of a job, if it is an undo."""
    from tagger.database.enums import JobKind
    from tagger.ledger.failures import EDITED, unwritten_photos
    from tagger.library.catalog.roots import list_roots

    if progress.kind != JobKind.UNDO:
        return EditedPhotos(progress.job, None)
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, load_settings().roots)}
    photos = unwritten_photos(database, progress.job, (EDITED,))
    return EditedPhotos(
        progress.job, [roots[photo.root_id].path_of(photo.path, photo.path_bytes) for photo in photos]
    )


@dataclass(frozen=True)
class RefusedPhotos:
    """How many they are by kind, and of how many the tags are in sidecars; None if the job writes no tags."""

    counts: Mapping[str, int]
    with_sidecar: int | None

    def document(self) -> dict[str, Any]:
        return {} if self.with_sidecar is None else {"refused_with_sidecar": self.with_sidecar}

    def lines(self) -> list[str]:
        """The numbers, and what to do about signed photos."""
        from tagger.metadata.errors import RefusalKind

        if not self.counts:
            return []
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        lines = [f"refused: {kinds}{self._sidecars_text()}"]
        if signed := self.counts.get(RefusalKind.SIGNED):
            lines.append(
                f"{count_of(signed, 'photo')} with content credentials (C2PA): a write would break the signature over the "
                "whole file. Their tags go into sidecars; nothing needs to be done"
            )
        return lines

    def _sidecars_text(self) -> str:
        if not self.with_sidecar:
            return ""
        if sum(self.counts.values()) == 1:
            return "; its tags are in a sidecar"
        return f"; the tags of {self.with_sidecar} of them are in sidecars"


def refused_photos(database: Database, progress: JobProgress) -> RefusedPhotos:
    """Count the photos of a job."""
    from tagger.database.enums import JobKind
    from tagger.ledger.failures import count_refusals, count_refusals_with_sidecar

    counts = count_refusals(database, progress.job) if progress.refused else {}
    if progress.kind != JobKind.WRITE:
        return RefusedPhotos(counts, None)
    return RefusedPhotos(counts, count_refusals_with_sidecar(database, progress.job) if counts else 0)
