"""What has changed in watched folders and prefixes: photos that need a job or are gone."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.errors import FailureKind
from tagger.jobs.enqueue.photo_facts import has_other_side_files
from tagger.jobs.enqueue.photo_rows import can_skip, is_changed
from tagger.jobs.enqueue.scan import (
    ScanReport,
    Selection,
    scanned_pages,
    with_rows,
)
from tagger.ledger.items import photos_in_open_jobs
from tagger.ledger.jobs import InferenceOptions
from tagger.photos.folders import FolderProblem, FoundPhoto
from tagger.photos.names import StemGroups, primary_files
from tagger.roots.roots import RootPaths

# With more unseen photos in a folder, all of it gets a job, which scans it page by page.
MOST_UNSEEN = 20_000


@dataclass(frozen=True)
class WatchedChanges:
    """The photos of a folder that need a job, or the folder if they are many, and the rest."""

    unseen: Selection
    gone: int
    problems: Sequence[FolderProblem] = ()


def scan_watched(
    database: Database,
    selection: Selection,
    inference: InferenceOptions,
    root_paths: RootPaths,
    *,
    settle_s: float = 0.0,
) -> WatchedChanges:
    """Compare a folder or prefix, the only one of the selection, with the database.

    Photos are unseen if they are new or changed, or if no job has come to them and none will. Failed ones are
    tried again when they change, or after a pause if the failure can pass. Those that changed less than
    `settle_s` ago wait for the next scan.

    Raises:
        RootUnavailable: the disk was unmounted meanwhile, or the bucket does not answer any more.
    """
    (folder,) = selection.folders
    unseen: list[Path] = []
    report = ScanReport()
    with database.read() as connection:
        now = current_time(connection)
    for page in scanned_pages(database, folder, selection, root_paths, report):
        if len(unseen) <= MOST_UNSEEN:
            # Times further in the future come from a wrong clock: waiting for them could take years.
            now_ns, settle_ns = time.time_ns(), settle_s * 1e9
            settled = [photo for photo in page.photos if abs(now_ns - photo.mtime_ns) >= settle_ns]
            unseen += _unseen_photos(database, folder, settled, inference, root_paths, now)
    is_many = len(unseen) > MOST_UNSEEN
    return WatchedChanges(
        selection if is_many else Selection((), tuple(unseen)), report.gone, report.problems
    )


def _unseen_photos(
    database: Database,
    folder: Path,
    found: Sequence[FoundPhoto],
    inference: InferenceOptions,
    root_paths: RootPaths,
    now: datetime,
) -> list[Path]:
    """Those photos of a folder or prefix that are unseen, as in `scan_watched`."""
    page = with_rows(database, folder, found, root_paths, inference)
    joined = _raw_files_with_jpeg(photo.path for photo, _ in page) if database.raw_pairs else set()
    unseen = [
        (photo, row)
        for photo, row in page
        if (row is not None and row.retry_at is not None and row.retry_at <= now)
        or _is_unseen(row, photo, inference, is_joined=photo.path in joined, raw_pairs=database.raw_pairs)
    ]
    # Photos that an open job has yet to process are left to it, unless they have changed since.
    waiting = [row.id for photo, row in unseen if row is not None and not is_changed(row, photo)]
    with database.read() as connection:
        in_jobs = photos_in_open_jobs(connection, waiting)
    return [photo.path for photo, row in unseen if row is None or row.id not in in_jobs]


def _is_unseen(
    row: Row[Any] | None,
    photo: FoundPhoto,
    inference: InferenceOptions,
    *,
    is_joined: bool,
    raw_pairs: bool,
) -> bool:
    if row is None or is_changed(row, photo) or row.failure_kind == FailureKind.SETTLING:
        return True
    if row.primary_id is not None:  # its JPEG is classified in its place, unless the setting has changed
        return not raw_pairs
    is_other = not can_skip(row, photo, inference) or has_other_side_files(row, photo.side_files)
    return is_joined or (row.failure_kind is None and is_other)


def _raw_files_with_jpeg(paths: Iterable[Path]) -> set[Path]:
    """Those of the paths of a page that are RAW files and have a JPEG among them."""
    groups = StemGroups[Path](str).of(paths)
    return {path for group in groups for path in group if str(path) in primary_files([*map(str, group)])}
