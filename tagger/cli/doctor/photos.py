"""Checks of the photos: whether the folders of the roots are available, and which photos fail."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.cli.output.job_text import count_of
from tagger.errors import FailureKind
from tagger.jobs.enqueue.tag_jobs import count_failures
from tagger.jobs.processing.metadata_chunk import remove_interrupted_files
from tagger.ledger.failures import FailureFilter
from tagger.library.catalog.roots import count_root_photos, list_roots, root_mounts
from tagger.photos.folders import Mount, MountState
from tagger.photos.paths import ObjectPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.library.catalog.roots import Root, RootPaths

ROOTS_SHOWN = 10
TRANSIENT_KINDS = (
    FailureKind.GONE,
    FailureKind.UNREADABLE,
    FailureKind.SETTLING,
    FailureKind.TIMED_OUT,
    FailureKind.CRASHED,
    FailureKind.INTERNAL,
)
"""Kinds of failure that can disappear without a change of the photo."""


def check_roots(database: Database, root_paths: RootPaths) -> Iterator[Finding]:
    with database.read() as connection:
        roots = list_roots(connection, root_paths)
    yield from _check_root_setting(root_paths, [root.name for root in roots])
    problems = _find_root_problems(database, roots)
    yield from problems[:ROOTS_SHOWN]
    if len(problems) > ROOTS_SHOWN:
        yield wrong(
            "roots", f"{len(problems) - ROOTS_SHOWN} more roots have problems", "tagger doctor --json"
        )
    if not problems:
        names = ", ".join(root.name for root in roots[:ROOTS_SHOWN])
        yield ok("roots", f"{names}: available" if roots else "none yet")


def check_failures(database: Database) -> Iterator[Finding]:
    counts = count_failures(database, FailureFilter())
    if not counts:
        yield ok("failing photos", "none")
        return
    transient = {kind: count for kind, count in counts.items() if kind in TRANSIENT_KINDS}
    permanent = {kind: count for kind, count in counts.items() if kind not in TRANSIENT_KINDS}
    if transient:
        kinds = " ".join(f"--kind {kind}" for kind in transient)
        found = f"{_list_counts(transient)}; the cause may be gone"
        yield note("failing photos", found, f"tagger job retry {kinds}")
    if permanent:
        found = f"{_list_counts(permanent)}; they fail until the files change"
        yield note("failing photos", found, "tagger job failures")


def check_interrupted_writes(database: Database, root_paths: RootPaths) -> Iterator[Finding]:
    """Look for hidden files beside the photos of jobs that were killed, or are running: those of running ones are locked."""
    count = remove_interrupted_files(database, root_paths, dry_run=True)
    if not count:
        yield ok("interrupted writes", "left no hidden files")
        return
    found = (
        f"{count_of(count, 'hidden file')} (.tagger-…) of killed writes beside photos; no photo is damaged"
    )
    yield note("interrupted writes", found, "the next tagger metadata write or undo removes them")


def _check_root_setting(root_paths: RootPaths, names: Sequence[str]) -> Iterator[Finding]:
    for name in root_paths:
        if names and name not in names:
            close = get_close_matches(name, names, n=1)
            found = f"TAGGER_ROOTS names {name}, which is not a root; the roots are {', '.join(names[:ROOTS_SHOWN])}"
            yield note("roots", found, f"rename it to {close[0]}" if close else "remove it from TAGGER_ROOTS")


def _find_root_problems(database: Database, roots: Sequence[Root]) -> list[Finding]:
    mounts = zip(roots, root_mounts(roots), strict=True)
    findings = (_check_root(database, root, mount) for root, mount in mounts)
    return [finding for finding in findings if finding is not None]


def _check_root(database: Database, root: Root, mount: Mount) -> Finding | None:
    if mount.state is MountState.FILLED:
        return None
    if isinstance(root.folder, ObjectPath):
        return _check_bucket(database, root, root.folder, mount.problem)
    if mount.state is MountState.SILENT:
        found = f"{root.folder} does not answer; its share seems to be dead"
        return wrong("roots", found, f"umount -l {root.folder}, then mount it again")
    if root.folder.exists() and not os.access(root.folder, os.R_OK | os.X_OK):
        found = f"the current user cannot read {root.folder}"
        return wrong("roots", found, f"sudo chmod -R a+rX {root.folder}")
    return _check_missing_root(database, root)


def _check_bucket(database: Database, root: Root, prefix: ObjectPath, problem: str | None) -> Finding | None:
    if problem:
        reason, _, remedy = problem.partition(". ")
        return wrong("roots", f"{prefix} is not available: {reason}", remedy or "tagger doctor")
    with database.read() as connection:
        count = count_root_photos(connection, root)
    found = f"{prefix} is empty, but the database has {count_of(count, 'photo')} in it"
    remedy = f"check the bucket and the endpoint; or, if they are deleted: tagger forget {prefix}"
    return wrong("roots", found, remedy) if count else None


def _check_missing_root(database: Database, root: Root) -> Finding | None:
    """An empty folder is a problem only if the database has photos in it."""
    with database.read() as connection:
        count = count_root_photos(connection, root)
    if not count:
        return None
    found = f"{root.folder} is missing or empty, but the database has {count_of(count, 'photo')} in it"
    mapping = f'TAGGER_ROOTS=\'{{"{root.name}": "/new/location"}}\''
    return wrong(
        "roots", found, f"mount it; or set {mapping}; or, if it is deleted: tagger forget {root.folder}"
    )


def _list_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())
