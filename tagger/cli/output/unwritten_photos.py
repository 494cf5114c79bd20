"""Photos whose metadata a job did not write, or did not make the original again, in the text and JSON of the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tagger.cli.output.formats import printable
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tagger.database.connection import Database
    from tagger.ledger.progress import JobProgress

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
        sidecars = f"; the tags of {self.with_sidecar} of them are in sidecars" if self.with_sidecar else ""
        lines = [f"refused: {kinds}{sidecars}"]
        if signed := self.counts.get(RefusalKind.SIGNED):
            lines.append(
                f"{count_of(signed, 'photo')} with content credentials (C2PA): a write would break the signature over the "
                "whole file. Their tags go into sidecars; nothing needs to be done"
            )
        return lines


def refused_photos(database: Database, progress: JobProgress) -> RefusedPhotos:
    """Count the photos of a job."""
    from tagger.database.enums import JobKind
    from tagger.ledger.failures import count_refusals, count_refusals_with_sidecar

    counts = count_refusals(database, progress.job) if progress.refused else {}
    if progress.kind != JobKind.WRITE:
        return RefusedPhotos(counts, None)
    return RefusedPhotos(counts, count_refusals_with_sidecar(database, progress.job) if counts else 0)
