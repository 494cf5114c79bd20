"""The JSON of verdicts: given, taken back, listed; the command line and the API write the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tagger.verdicts import Given, ListedVerdict, Word

VERDICT_COLUMNS = ("path", "landmark", "name", "verdict", "by", "at", "digest")


def given_document(path: Path, done: Given, word: Word, *, undo: bool, dry_run: bool) -> dict[str, Any]:
    """The JSON of a word on one photo; `verdict` is what stands there now, or would without `dry_run`."""
    changed = done.before is word if undo else done.before is not word
    after = (None if changed else done.before) if undo else word
    return {
        "path": str(path),
        "digest": done.digest,
        "landmark": done.landmark.slug,
        "name": done.landmark.name,
        "verdict": after,
        "before": done.before,
        "changed": changed,
        "photos": done.photos,
        "dry_run": dry_run,
    }


def verdict_document(verdict: ListedVerdict) -> dict[str, Any]:
    """The JSON of a word that stands."""
    return {column: getattr(verdict, column) for column in VERDICT_COLUMNS}
