"""Verdicts as JSON, the same from the command line and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.library.verdicts import ListedVerdict, VerdictKind, VerdictResult

VERDICT_COLUMNS = ("path", "landmark", "name", "verdict", "by", "at", "digest")


def verdict_result_document(
    path: Path, result: VerdictResult, kind: VerdictKind, *, withdraw: bool, dry_run: bool
) -> dict[str, Any]:
    """A verdict given to one photo, or withdrawn with `withdraw`. `verdict` is the verdict afterwards, or without `dry_run`."""
    changed = result.before is kind if withdraw else result.before is not kind
    after = (None if changed else result.before) if withdraw else kind
    return {
        "path": str(path),
        "digest": result.digest,
        "landmark": result.landmark.slug,
        "name": result.landmark.display_name,
        "verdict": after,
        "before": result.before,
        "changed": changed,
        "photos": result.photos,
        "dry_run": dry_run,
    }


def verdict_document(verdict: ListedVerdict) -> dict[str, Any]:
    """A stored verdict."""
    return {column: getattr(verdict, column) for column in VERDICT_COLUMNS}
