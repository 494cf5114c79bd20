"""Compares folders and prefixes with the database, without recording their photos.

For those that are watched: which photos need a job or are gone. For a preview: what a scan would find.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.errors import FailureKind
from tagger.jobs.enqueue.photo_rows import can_skip, has_other_side_files, is_changed
from tagger.jobs.enqueue.scan import ScanReport, scanned_pages, with_rows
from tagger.jobs.enqueue.selection import (
    PAGE,
    Selection,
    list_folder,
    unavailable_in,
    without_problems,
)
from tagger.ledger import InferenceOptions
from tagger.ledger.items import photos_in_open_jobs
from tagger.photos.folders import FolderProblem, FoundPhoto
from tagger.photos.names import OtherFiles, StemGroups, primary_files
from tagger.photos.source import find_named, open_source
from tagger.roots import RootPaths

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
    source = open_source(str(folder))
    unseen: list[Path] = []
    report = ScanReport()
    with database.read() as connection:
        now = current_time(connection)
    for page in scanned_pages(database, folder, selection, root_paths, report):
        if len(unseen) <= MOST_UNSEEN:
            settled = [
                photo
                for photo in page.photos
                if source.is_settled(photo.version, settle_s)
            ]
            unseen += _unseen_photos(
                database, folder, settled, inference, root_paths, now
            )
    is_many = len(unseen) > MOST_UNSEEN
    return WatchedChanges(
        selection if is_many else Selection((), tuple(unseen)),
        report.gone,
        report.problems,
    )


def _unseen_photos(
    database: Database,
    folder: Path,
    found: Sequence[FoundPhoto],
    inference: InferenceOptions,
    root_paths: RootPaths,
    now: datetime,
) -> list[Path]:
    # Those photos of a folder or prefix that are unseen, as in `scan_watched`.
    page = with_rows(database, folder, found, root_paths, inference)
    joined = set[Path]()  # RAW files with a JPEG among the photos of the page
    groups = StemGroups[Path](str).of(photo.path for photo, _ in page)
    for group in groups if database.raw_pairs else ():
        raw_files = primary_files([*map(str, group)])
        joined.update(path for path in group if str(path) in raw_files)
    unseen = [
        (photo, row)
        for photo, row in page
        if (row is not None and row.retry_at is not None and row.retry_at <= now)
        or _is_unseen(
            row,
            photo,
            inference,
            is_joined=photo.path in joined,
            raw_pairs=database.raw_pairs,
        )
    ]
    # Photos that an open job has yet to process are left to it, unless they have changed since.
    waiting = [
        row.id
        for photo, row in unseen
        if row is not None and not is_changed(row, photo)
    ]
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
    if (
        row is None
        or is_changed(row, photo)
        or row.failure_kind == FailureKind.SETTLING
    ):
        return True
    # Its JPEG is classified in its place, unless the setting has changed.
    if row.primary_id is not None:
        return not raw_pairs
    is_other = not can_skip(row, photo, inference) or has_other_side_files(
        row, photo.side_files
    )
    return is_joined or (row.failure_kind is None and is_other)


def preview_scan(
    database: Database,
    selection: Selection,
    inference: InferenceOptions,
    root_paths: RootPaths,
) -> tuple[int, int, OtherFiles]:
    """How many photos a scan would find, how many a job would skip, and what is left out."""
    found = skipped = 0
    other_files = OtherFiles()
    entries = chain.from_iterable(
        _stored_pages(database, selection, inference, root_paths, other_files)
    )
    groups = StemGroups[tuple[FoundPhoto, Row[Any] | None]](
        lambda entry: entry[0].location
    )
    for group in groups.of(entries):
        joined = (
            primary_files([photo.location for photo, _ in group])
            if database.raw_pairs
            else {}
        )
        for photo, row in group:
            if (
                photo.location not in joined
            ):  # of a RAW file with a JPEG, the JPEG is the photo
                found += 1
                skipped += row is not None and can_skip(row, photo, inference)
    return found, skipped, other_files


def _stored_pages(
    database: Database,
    selection: Selection,
    inference: InferenceOptions,
    root_paths: RootPaths,
    other_files: OtherFiles,
) -> Iterator[list[tuple[FoundPhoto, Row[Any] | None]]]:
    # Pages of the photos that a scan would find, each with its row (see `photo_rows`), if it has one.
    #
    # Raises:
    #     PathNotFound: a folder does not exist.
    named = without_problems(find_named(selection.files), [])
    files = ((photo.path.parent, photo) for photo in named)
    in_folders = (
        (folder, entry)
        for folder in selection.folders
        for entry in list_folder(
            folder, selection, other_files, unavailable_in(database, folder, root_paths)
        )
        if isinstance(entry, FoundPhoto)
    )
    for folder, pairs in groupby(chain(in_folders, files), key=lambda pair: pair[0]):
        while page := [photo for _, photo in islice(pairs, PAGE)]:
            yield with_rows(database, folder, page, root_paths, inference)
