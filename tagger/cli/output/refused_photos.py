"""Photos that a metadata job refused to write, in the text and JSON of the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tagger.cli.output.job_text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tagger.database.connection import Database
    from tagger.ledger.progress import JobProgress


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
