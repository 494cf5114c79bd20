"""Scans: photos become rows and items of a job, and those that no longer exist are marked as gone.

Folders and tables are read in the same order of paths and merged page by page, so memory stays flat.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, select

from tagger.database import JobKind
from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.jobs.enqueue.photo_rows import (
    can_skip,
    insert_photos,
    is_changed,
    needs_refresh,
    photo_rows,
    refresh_facts,
    rows_by_id,
    store_side_files,
    update_photos,
)
from tagger.jobs.enqueue.selection import (
    PAGE,
    ScanReport,
    Selection,
    photos_by_key,
    scanned_pages,
    without_problems,
)
from tagger.ledger import InferenceOptions, NewJob
from tagger.ledger.items import (
    append_items,
    fill_job,
    jobs_of_photos,
    jobs_with_the_same_task,
    lock_scan,
)
from tagger.photos.files import PhotoVersion
from tagger.photos.folders import FoundPhoto
from tagger.photos.names import StemGroups
from tagger.photos.paths import parse_path
from tagger.photos.source import find_named
from tagger.raw_pairs import pair_files, separate_files
from tagger.roots import (
    RootPaths,
    list_roots,
    lock_root,
    store_endpoint,
)
from tagger.roots.availability import (
    UnavailableFolder,
    moved_roots,
    unavailable_folders,
)

# Receives the number of photos found so far.
ProgressCallback = Callable[[int], None]


class Scan:
    """Adds the photos of one job, whose heartbeat the caller keeps. `on_progress` receives their number.

    Its methods raise ScanInterrupted if the job is cancelled meanwhile.
    """

    def __init__(
        self,
        database: Database,
        job_id: int,
        new: NewJob,
        root_paths: RootPaths,
        on_progress: ProgressCallback = lambda _count: None,
    ) -> None:
        self.database = database
        self.job_id = job_id
        self.new = new
        self.root_paths = root_paths
        self.on_progress = on_progress
        self.report = ScanReport()
        # How many stored photos were added.
        self.selected = 0

    def select(
        self, conditions: Sequence[ColumnElement[bool]], source: FromClause = photos
    ) -> None:
        """Add the stored photos that meet the conditions, in addition to earlier ones, as `fill_job`."""
        # Folders with photos that the job would have are reported. For a root, the job waits.
        with self.database.read() as connection:
            for unmounted in self._unmounted:
                in_folder = (*conditions, unmounted.condition)
                photo = select(photos.c.id).select_from(source).where(*in_folder)
                if connection.scalar(photo.limit(1)) is not None:
                    self.report.add_unavailable(
                        unmounted.folder, unmounted.error(connection)
                    )
        before = self.selected
        self.selected += fill_job(
            self.database,
            self.job_id,
            [*conditions, *(~unmounted.condition for unmounted in self._unmounted)],
            source,
            lambda count: self.on_progress(before + count),
            self.report.in_other_jobs,
        )

    @cached_property
    def _unmounted(self) -> Sequence[UnavailableFolder]:
        with self.database.read() as connection:
            folders = unavailable_folders(
                connection, list_roots(connection, self.root_paths)
            )
        return [each for each in folders if not each.is_root]

    def run(self, selection: Selection) -> ScanReport:
        """Record the photos in the folders and files of the selection; a tagging job gets them.

        Raises:
            RootUnavailable: the disk of a folder was unmounted during the scan.
        """
        for folder in selection.folders:
            groups = StemGroups[FoundPhoto](attrgetter("location"))
            with self.database.read() as connection:
                moved = moved_roots(connection, folder, self.root_paths)
                self.report.moved += [(root.folder, folder) for root in moved]
            pages = scanned_pages(
                self.database, folder, selection, self.root_paths, self.report
            )
            for page in pages:
                rest = groups.rest() if page.last is None else ()
                complete = chain(groups.add(page.photos), rest)
                self._record(folder, list(chain.from_iterable(complete)))
        files = sorted(selection.files, key=lambda file: _folder_of(str(file)))
        named = without_problems(find_named(files), self.report.problems)
        for parent, photos_in_parent in groupby(
            named, lambda photo: _folder_of(photo.location)
        ):
            of_parent = StemGroups[FoundPhoto](attrgetter("location")).of(
                photos_in_parent
            )
            while group_page := list(islice(of_parent, PAGE)):
                self._record(parse_path(parent), list(chain.from_iterable(group_page)))
        return self.report

    def _record(self, folder: Path, page: Sequence[FoundPhoto]) -> None:
        # Store the files found in a folder, all of a stem at once, and add their photos to the job.
        with self.database.write() as connection:
            lock_scan(connection, self.job_id)
            other_jobs = jobs_with_the_same_task(connection, self.job_id)
            root = lock_root(connection, folder, self.root_paths)
            store_endpoint(connection, root)
            found = photos_by_key(root.folder, page)
            rows = photo_rows(connection, root, found, self.new)
            new = [key for key in found if key not in rows]
            known = [key for key in found if key in rows]
            changed = [key for key in known if is_changed(rows[key], found[key])]
            if new:
                rows |= insert_photos(
                    connection, root, {key: found[key] for key in new}, self.new
                )
            update_photos(connection, ((rows[key].id, found[key]) for key in changed))
            primary_ids: Mapping[int, int] = {}
            if (
                self.database.raw_pairs
            ):  # join RAW files with their JPEGs, stored ones too
                primary_ids = pair_files(connection, root, rows.values())
            else:
                joined = [row.id for row in rows.values() if row.primary_id is not None]
                separate_files(connection, joined)
            files = {rows[key].id: photo for key, photo in found.items()}
            photo_ids = dict.fromkeys(
                primary_ids.get(file_id, file_id) for file_id in files
            )
            items: Mapping[int, bool] = {}
            of_others: Mapping[int, int] = {}
            if self.new.kind is JobKind.TAG:
                items = _skipped_photos(
                    connection, photo_ids, rows.values(), files, self.new
                )
                # A job that reads a changed file just now may have the picture from before.
                changed_ids = {
                    primary_ids.get(rows[key].id, rows[key].id) for key in changed
                }
                due = [
                    photo_id
                    for photo_id, is_skipped in items.items()
                    if not is_skipped and photo_id not in changed_ids
                ]
                of_others = jobs_of_photos(connection, other_jobs, due)
                items = {
                    photo_id: is_skipped
                    for photo_id, is_skipped in items.items()
                    if photo_id not in of_others
                }
                append_items(connection, self.job_id, items)
            # The side files of those files whose facts they change.
            side_files = {
                rows[key].id: photo.side_files
                for key, photo in found.items()
                if photo.side_files is not None
                and needs_refresh(rows[key], photo.side_files)
            }
            # What the job reads gets its facts then.
            unread = {
                file_id: files_beside
                for file_id, files_beside in side_files.items()
                if not items.get(primary_ids.get(file_id, file_id), True)
            }
            store_side_files(connection, unread)
        read_before = {
            file_id: side_files[file_id] for file_id in side_files.keys() - unread
        }
        refresh_facts(self.database, root.source, read_before)
        self.report.in_other_jobs.update(of_others.values())
        self.report.found += len(photo_ids)
        self.report.new += sum(rows[key].id in photo_ids for key in new)
        self.report.changed += sum(rows[key].id in photo_ids for key in changed)
        self.on_progress(self.report.found)


def _skipped_photos(
    connection: Connection,
    photo_ids: Collection[int],
    found_rows: Iterable[Any],
    files: Mapping[int, FoundPhoto],
    inference: InferenceOptions,
) -> dict[int, bool]:
    # Whether each photo is skipped, as `append_items` takes it.
    #
    # Stored JPEGs of RAW files count as found, though patterns hide them, or only the RAW file was named.
    rows = {row.id: row for row in found_rows}
    rows |= rows_by_id(
        connection,
        [photo_id for photo_id in photo_ids if photo_id not in rows],
        inference,
    )
    items = {}
    for photo_id in photo_ids:
        row = rows[photo_id]
        version = files.get(photo_id) or PhotoVersion(row.size_bytes, row.mtime_ns)
        items[photo_id] = can_skip(row, version, inference)
    return items


def _folder_of(location: str) -> str:
    return os.path.dirname(location)  # noqa: PTH120 - comparing paths by their parts takes longer
