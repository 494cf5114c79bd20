"""What is read of folders and prefixes: the paths that were named, and their photos, page by page.

Photos that no longer exist are marked as gone. Two comparisons with the database record no photo: which
photos of watched folders need a job, and, for a preview, what a scan would find.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import Row, and_

from tagger.database import Note, NoteCode
from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.database.tables import photos
from tagger.errors import FailureKind, RootUnavailable
from tagger.jobs.enqueue.photo_rows import (
    PathKey,
    can_skip,
    gone_ids,
    has_other_side_files,
    is_changed,
    photo_rows,
    present_photos,
    store_gone,
)
from tagger.ledger import InferenceOptions
from tagger.ledger.items import open_jobs_of_photos
from tagger.photos.files import MountState
from tagger.photos.folders import FolderProblem, FoundPhoto
from tagger.photos.names import OtherFiles, StemGroups, primary_files
from tagger.photos.paths import path_text, printable_path
from tagger.photos.side_files import side_files_below
from tagger.photos.source import find_named, open_source
from tagger.roots import (
    Root,
    RootPaths,
    find_root,
    list_roots,
    path_prefix,
    photos_below,
    stored_root,
)
from tagger.roots.availability import (
    UnavailableFolder,
    check_mounted,
    store_mounts,
    unavailable_below,
)

PAGE = 2000
# PostgreSQL cannot index longer paths.
LONGEST_PATH_BYTES = 2000
# With more unseen photos in a folder, all of it gets a job, which scans it page by page.
MOST_UNSEEN = 20_000
NOTED_PROBLEMS = 3


@dataclass(frozen=True)
class Selection:
    """Folders to scan (none inside another), single files, and patterns for the photos in the folders."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def select_paths(
    paths: Iterable[Path], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Selection:
    """Sort paths into folders and files, without links in folders, duplicates and what is inside another.

    Raises:
        PathNotFound: a path does not exist, or its disk or share does not answer.
        ObjectAddressInvalid, BucketUnavailable: an address is invalid, or its bucket does not answer.
    """
    folders, files = set[Path](), set[Path]()
    for path in paths:
        resolved, is_folder = open_source(str(path)).named()
        (folders if is_folder else files).add(resolved)
    outermost = {
        folder
        for folder in folders
        if not any(parent in folders for parent in folder.parents)
    }
    single = {
        file
        for file in files
        if not any(parent in outermost for parent in file.parents)
    }
    return Selection(
        tuple(sorted(outermost)), tuple(sorted(single)), tuple(include), tuple(exclude)
    )


def require_available_roots(
    database: Database, selection: Selection, root_paths: RootPaths
) -> None:
    """Check, before anything is recorded, that the disks of all folders are mounted.

    Raises:
        RootUnavailable: a folder is empty, but the database has photos in it.
    """
    for folder in selection.folders:
        _unavailable_in(database, folder, root_paths)
    with database.read() as connection:
        for root in list_roots(connection, root_paths) if selection.files else ():
            check_mounted(connection, root, selection.files)


def _unavailable_in(
    database: Database, folder: Path, root_paths: RootPaths
) -> list[UnavailableFolder]:
    # As `unavailable_below`. Nothing is known of a folder in no root.
    with database.read() as connection:
        root = find_root(connection, folder, root_paths)
        return [] if root is None else unavailable_below(connection, root, folder)


@dataclass
class ScanReport:
    """The numbers of a scan. Problems are unreadable folders, and entries that are not files."""

    found: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    other_files: OtherFiles = field(default_factory=OtherFiles)
    problems: list[FolderProblem] = field(default_factory=list)
    # Folders of roots that do not exist any more, each with the scanned one that has their photos.
    moved: list[tuple[Path, Path]] = field(default_factory=list)
    # Open jobs with photos that the job would have, and the number of these.
    in_other_jobs: Counter[int] = field(default_factory=Counter)

    @property
    def skipped_folders(self) -> int:
        return sum(problem.is_folder for problem in self.problems)

    def note(self, *, is_tagging: bool = False) -> Note | str | None:
        """What could not be read, was left to others or is gone; of a tagging job, what was left out, too."""
        first = self.problems[:NOTED_PROBLEMS]
        lines = [f"{printable_path(problem.path)}: {problem.text}" for problem in first]
        more = len(self.problems) - NOTED_PROBLEMS
        if more > 0:
            lines.append(f"and {more} more that could not be read")
        if is_tagging:
            lines += [] if self.found else ["no photos were found there"]
            lines += self.other_files.copies_lines()
        lines += self.other_job_lines()
        gone = Note(NoteCode.PHOTOS_GONE, {"number": str(self.gone)})
        if self.gone and not lines:
            return gone
        return "; ".join([*lines, *([str(gone)] if self.gone else [])]) or None

    def other_job_lines(self) -> list[str]:
        return [
            f"{number} {'photo is' if number == 1 else 'photos are'} in job {job} already"
            for job, number in sorted(self.in_other_jobs.items())
        ]

    def add_unavailable(self, folder: Path, error: RootUnavailable) -> None:
        text = str(error).removeprefix(f"The folder {folder} ")
        problem = FolderProblem(folder, f"It {text}", is_folder=True)
        if problem not in self.problems:
            self.problems.append(problem)


@dataclass(frozen=True)
class _ListedPage:
    # Photos of a folder, and the paths in it that they cover: after `first`, to `last` or the end.
    photos: list[FoundPhoto]
    first: str
    last: str | None


def scanned_pages(
    database: Database,
    folder: Path,
    selection: Selection,
    root_paths: RootPaths,
    report: ScanReport,
) -> Iterator[_ListedPage]:
    """List a folder in pages. Mark stored photos that are not there as gone, and store what is mounted.

    Photos below disks and shares that are away stay as they are; the report names these folders.

    Raises:
        RootUnavailable: the folder is unavailable.
    """
    has_mounts = open_source(str(folder)).has_mounts
    if has_mounts:
        # First: it absorbs others, one of which may be away.
        stored_root(database, folder, root_paths)
    unavailable = _unavailable_in(database, folder, root_paths)
    with database.read() as connection:
        for each in unavailable:
            if each.mount.state is not MountState.LINK:  # the walk names links
                report.add_unavailable(each.folder, each.error(connection))
    entries = _list_folder(folder, selection, report.other_files, unavailable)
    stored = 0
    for page in _listed_pages(without_problems(entries, report.problems), folder):
        # First: a RAW file whose JPEG is gone is a photo of its own.
        root = stored_root(database, folder, root_paths)
        report.gone += _mark_unlisted(database, root, folder, page, unavailable)
        mounts, is_last = len(report.other_files.mounts), page.last is None
        if has_mounts and (is_last or mounts != stored):
            links = report.other_files.links if is_last else ()
            store_mounts(database, root, folder, report.other_files.mounts, links)
        stored = mounts
        yield page


def _list_folder(
    folder: Path,
    selection: Selection,
    other_files: OtherFiles,
    unavailable: Sequence[UnavailableFolder],
) -> Iterator[FoundPhoto | FolderProblem]:
    # List what the selection has in a folder, without what is unavailable.
    return open_source(str(folder)).photos(
        include=selection.include,
        exclude=selection.exclude,
        other_files=other_files,
        unavailable=[each.folder for each in unavailable],
    )


def without_problems(
    entries: Iterable[FoundPhoto | FolderProblem], problems: list[FolderProblem]
) -> Iterator[FoundPhoto]:
    """The photos that can be recorded; `problems` gets the others."""
    for entry in entries:
        if isinstance(entry, FolderProblem):
            problems.append(entry)
        # A character has up to four bytes.
        elif (
            len(entry.location) * 4 > LONGEST_PATH_BYTES
            and len(os.fsencode(entry.location)) > LONGEST_PATH_BYTES
        ):
            text = (
                f"The path is longer than {LONGEST_PATH_BYTES} bytes. Move the file to a folder nearer "
                f"the top."
            )
            problems.append(FolderProblem(entry.path, text))
        else:
            yield entry


def _listed_pages(found: Iterator[FoundPhoto], folder: Path) -> Iterator[_ListedPage]:
    # Pages of photos whose ranges together cover the folder.
    first = ""
    while True:
        page = list(islice(found, PAGE))
        if len(page) < PAGE:
            yield _ListedPage(page, first, None)
            return
        ((last, _),) = _path_keys(folder, page[-1:])
        yield _ListedPage(page, first, last)
        first = last


def _path_keys(folder: Path, page: Iterable[FoundPhoto]) -> list[PathKey]:
    # The same as relative_to for photos in the folder, ten times as fast.
    length = len(str(folder))
    return [path_text(photo.location[length:].lstrip("/")) for photo in page]


def photos_by_key(
    folder: Path, page: Sequence[FoundPhoto]
) -> dict[PathKey, FoundPhoto]:
    """The photos in a root's folder. Side files in other parts of a Takeout count inside of the root."""
    return {
        key: replace(photo, side_files=side_files_below(key[0], photo.side_files))
        if photo.side_files
        else photo
        for key, photo in zip(_path_keys(folder, page), page, strict=True)
    }


def _mark_unlisted(
    database: Database,
    root: Root,
    folder: Path,
    page: _ListedPage,
    unavailable: Sequence[UnavailableFolder],
) -> int:
    # Mark photos that a listing did not find and that do not exist, and return their number.
    source, count = root.source, 0
    found = set(_path_keys(root.folder, page.photos))
    prefix = path_prefix(root, folder)
    conditions = [photos_below(root, folder), photos.c.path > prefix + page.first]
    if page.last is not None:
        conditions.append(photos.c.path <= prefix + page.last)
    condition = and_(*conditions, *(~each.condition for each in unavailable))
    for missing in present_photos(database, root, condition, PAGE, without=found):
        gone = gone_ids(source, missing)
        if gone:
            store_gone(database, root, folder, gone, unavailable)
        count += len(gone)
    return count


def scan_watched(
    database: Database,
    selection: Selection,
    inference: InferenceOptions,
    root_paths: RootPaths,
    *,
    settle_s: float = 0.0,
) -> tuple[Selection, ScanReport]:
    """Compare a folder or prefix, the only one of the selection, with the database.

    Returns the photos that need a job, or the folder if they are many, and what else was found.

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
    return selection if is_many else Selection((), tuple(unseen)), report


def _unseen_photos(
    database: Database,
    folder: Path,
    found: Sequence[FoundPhoto],
    inference: InferenceOptions,
    root_paths: RootPaths,
    now: datetime,
) -> list[Path]:
    # Those photos of a folder or prefix that are unseen, as in `scan_watched`.
    page = _with_rows(database, folder, found, root_paths, inference)
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
    in_jobs = open_jobs_of_photos(database, waiting)
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
        for entry in _list_folder(
            folder,
            selection,
            other_files,
            _unavailable_in(database, folder, root_paths),
        )
        if isinstance(entry, FoundPhoto)
    )
    for folder, pairs in groupby(chain(in_folders, files), key=lambda pair: pair[0]):
        while page := [photo for _, photo in islice(pairs, PAGE)]:
            yield _with_rows(database, folder, page, root_paths, inference)


def _with_rows(
    database: Database,
    folder: Path,
    page: Sequence[FoundPhoto],
    root_paths: RootPaths,
    inference: InferenceOptions,
) -> list[tuple[FoundPhoto, Row[Any] | None]]:
    with database.read() as connection:
        root = find_root(connection, folder, root_paths)
        if root is None:
            return [(photo, None) for photo in page]
        found = photos_by_key(root.folder, page)
        rows = photo_rows(connection, root, found, inference)
        return [(photo, rows.get(key)) for key, photo in found.items()]
