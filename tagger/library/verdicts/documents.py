"""Effects of verdicts as JSON, the same from the command line and the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tagger.system.documents import document_of

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.library.verdicts import QueryVerdictResult, VerdictKind, VerdictResult

VERDICT_COLUMNS = ("path", "landmark", "name", "verdict", "by", "at", "digest")


@dataclass(frozen=True)
class VerdictResultDocument:
    """A landmark's verdict on a photo after the request, and `before` it; with `dry_run`, as it would be."""

    path: str
    digest: str
    landmark: str
    name: str
    verdict: str | None
    before: str | None
    changed: bool
    photos: int
    dry_run: bool


def verdict_result_document(
    path: Path, result: VerdictResult, kind: VerdictKind, *, withdraw: bool, dry_run: bool
) -> VerdictResultDocument:
    """A verdict given to one photo, or withdrawn with `withdraw`."""
    changed = result.before is kind if withdraw else result.before is not kind
    after = (None if changed else result.before) if withdraw else kind
    return document_of(
        VerdictResultDocument,
        result,
        path=str(path),
        landmark=result.landmark.slug,
        name=result.landmark.display_name,
        verdict=after,
        changed=changed,
        dry_run=dry_run,
    )


@dataclass(frozen=True)
class QueryVerdictDocument:
    """A verdict on all photos of a query; `replaced` is how many had the other verdict."""

    verdict: str
    photos: int
    tags: int
    replaced: int
    dry_run: bool


def query_verdict_document(
    result: QueryVerdictResult, kind: VerdictKind, *, dry_run: bool
) -> QueryVerdictDocument:
    """A verdict given to all photos of a query."""
    return document_of(QueryVerdictDocument, result, verdict=kind, dry_run=dry_run)


@dataclass(frozen=True)
class WithdrawnVerdicts:
    """How many verdicts were withdrawn."""

    verdict: str
    withdrawn: int
    dry_run: bool
