"""Folder → photos and items in SQL: what is new, what changed, what is gone.

Walk and table are both sorted by path, so they are merged page by page: memory stays flat, and a page is one
range query. Knows nothing of pixels.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, or_, select, tuple_, update

from tagger.database import Database, insert_missing
from tagger.errors import FailureKind, FolderNotFound, RootAway
from tagger.ledger.jobs import NewItem, append_items, hold_scan, kept_alive
from tagger.looks import Look
from tagger.photos import FolderProblem, FoundPhoto, find_photos, found_photo, path_from_text, path_text
from tagger.roots import Places, Root, count_known, hold_root, is_away, known_below, root_of, text_below
from tagger.tables import NO_FAILURE, contents, photos

PAGE = 1000
LONGEST_PATH_BYTES = 2000
"""PostgreSQL's indexes hold no longer ones."""

PathKey = tuple[str, bytes]
"""A photo's two path columns: text, and bytes where the name is not UTF-8."""


@dataclass(frozen=True)
class Selection:
    """What a person named: folders to walk (none inside another), single files, and patterns for the walk."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass
class ScanReport:
    """What a scan met; problems are folders that could not be read and things that are no files."""

    found: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    problems: list[FolderProblem] = field(default_factory=list)


def select_paths(
    paths: Iterable[Path], include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Selection:
    """Sort out what a person named: links in folders resolved, doubles and what lies inside another folder dropped.

    Raises:
        FolderNotFound: something named is not there.
    """
    folders, files = set(), set()
    for path in paths:
        if path.is_dir():
            folders.add(path.resolve())
        elif os.path.lexists(path):
            files.add(path.parent.resolve() / path.name)
        else:
            raise FolderNotFound(path=path)
    outermost = {folder for folder in folders if not any(parent in folders for parent in folder.parents)}
    loose = {file for file in files if not any(parent in outermost for parent in file.parents)}
    return Selection(tuple(sorted(outermost)), tuple(sorted(loose)), tuple(include), tuple(exclude))


def check_roots(database: Database, selection: Selection, places: Places) -> None:
    """Refuse before anything is recorded if a folder's disk seems not to be mounted.

    Raises:
        RootAway: a folder is empty though photos are known in it.
    """
    with database.read() as connection:
        for folder in selection.folders:
            root = root_of(connection, folder, places)
            if root is not None and is_away(connection, root, folder):
                raise RootAway(folder=folder, known=count_known(connection, root, folder))


def preview(database: Database, selection: Selection, look: Look, places: Places) -> tuple[int, int]:
    """How many photos a scan would find, and how many of them a job would skip; nothing is recorded."""
    files = ((file.parent, found_photo(file)) for file in selection.files)
    walked = (
        (folder, met)
        for folder in selection.folders
        for met in find_photos(folder, include=selection.include, exclude=selection.exclude)
        if isinstance(met, FoundPhoto)
    )
    found = seen = 0
    for folder, pairs in groupby(chain(walked, files), key=lambda pair: pair[0]):
        while page := [photo for _, photo in islice(pairs, PAGE)]:
            found += len(page)
            seen += _count_seen(database, folder, page, look, places)
    return found, seen


def _count_seen(
    database: Database, folder: Path, page: Sequence[FoundPhoto], look: Look, places: Places
) -> int:
    with database.read() as connection:
        root = root_of(connection, folder, places)
        if root is None:
            return 0
        found = {_key(root.folder, photo): photo for photo in page}
        return sum(
            _is_seen(row, found[key], look)
            for key, row in _known(connection, root, found).items()
            if key in found
        )


class Scan:
    """One job's scan: its photos recorded and added to the job, those marked as gone that no longer are where they were.

    Without a `look` they are recorded only: the job chooses its photos in another way.
    """

    def __init__(self, database: Database, job_id: int, look: Look | None, places: Places) -> None:
        self._database = database
        self._job_id = job_id
        self._look = look
        self._places = places
        self.report = ScanReport()

    def run(self, selection: Selection, on_found: Callable[[int], None] = lambda _count: None) -> ScanReport:
        """Scan everything selected; `on_found` is told how many photos there are so far.

        Raises:
            RootAway: a folder's disk was unmounted meanwhile.
            ScanEnded: the job was cancelled meanwhile.
        """
        with kept_alive(self._database, self._job_id):
            for folder in selection.folders:
                walk = find_photos(folder, include=selection.include, exclude=selection.exclude)
                for page in _pages(_sorted_out(walk, self.report), folder):
                    root = self._record(folder, page.found)
                    self._mark_gone(root, folder, page)
                    on_found(self.report.found)
            for parent, files in groupby(sorted(selection.files, key=_parent), key=_parent):
                while page_of_files := [found_photo(file) for file in islice(files, PAGE)]:
                    self._record(Path(parent), page_of_files)
                    on_found(self.report.found)
        return self.report

    def _record(self, folder: Path, page: Sequence[FoundPhoto]) -> Root:
        """Bring the table up to date with photos found in a folder, and add them to the job."""
        with self._database.write() as connection:
            hold_scan(connection, self._job_id)
            root = hold_root(connection, folder, self._places)
            found = {_key(root.folder, photo): photo for photo in page}
            known = _known(connection, root, found)
            new = [key for key in found if key not in known]
            changed = [key for key, photo in found.items() if key in known and _differs(known[key], photo)]
            if new:
                insert_missing(connection, photos, [_new_row(root, key, found[key]) for key in new])
                known = _known(connection, root, found)
            _update_changed(connection, [(known[key].id, found[key]) for key in changed])
            if self._look is not None:
                look = self._look
                items = [
                    NewItem(known[key].id, _is_seen(known[key], photo, look)) for key, photo in found.items()
                ]
                append_items(connection, self._job_id, items)
        self.report.found += len(found)
        self.report.new += len(new)
        self.report.changed += len(changed)
        return root

    def _mark_gone(self, root: Root, folder: Path, page: "_Page") -> None:
        """Mark photos that the walk did not meet, if they really are not there: patterns and unreadable folders hide some."""
        met = {_key(root.folder, photo) for photo in page.found}
        for rows in _known_pages(self._database, root, _covered(root, folder, page)):
            missing = [row for row in rows if (row.path, row.path_bytes) not in met]
            gone = sorted(row.id for row in missing if not _is_there(root, row))
            if gone:
                self._store_gone(root, folder, gone)

    def _store_gone(self, root: Root, folder: Path, gone: Sequence[int]) -> None:
        since = func.coalesce(photos.c.gone_since, datetime.now(UTC))
        statement = (
            update(photos).where(photos.c.id == bindparam("photo")).values(gone_since=since, **NO_FAILURE)
        )
        with self._database.write() as connection:
            if is_away(connection, root, folder):  # unmounted while it was scanned
                raise RootAway(folder=folder, known=count_known(connection, root, folder))
            connection.execute(statement, [{"photo": photo} for photo in gone])
        self.report.gone += len(gone)


@dataclass(frozen=True)
class _Page:
    """Photos of a walk, and what of its folder they cover, as texts relative to it: from `first` to `last` or the end."""

    found: list[FoundPhoto]
    first: str
    last: str | None


def _sorted_out(walk: Iterable[FoundPhoto | FolderProblem], report: ScanReport) -> Iterator[FoundPhoto]:
    for met in walk:
        if isinstance(met, FolderProblem):
            report.problems.append(met)
        elif len(os.fsencode(met.path)) > LONGEST_PATH_BYTES:
            text = f"Its path has more than {LONGEST_PATH_BYTES} bytes. Move it up some folders."
            report.problems.append(FolderProblem(met.path, text))
        else:
            yield met


def _pages(walk: Iterator[FoundPhoto], folder: Path) -> Iterator[_Page]:
    """Pages of the walk; together they cover the folder."""
    first = ""
    while True:
        found = list(islice(walk, PAGE))
        if len(found) < PAGE:
            yield _Page(found, first, None)
            return
        last = _key(folder, found[-1])[0]
        yield _Page(found, first, last)
        first = last


def _covered(root: Root, folder: Path, page: _Page) -> ColumnElement[bool]:
    prefix = text_below(root, folder)
    covered = known_below(root, folder) & (photos.c.path >= prefix + page.first)
    return covered if page.last is None else covered & (photos.c.path <= prefix + page.last)


def _key(folder: Path, found: FoundPhoto) -> PathKey:
    # What relative_to says, of a path that is known to lie in the folder, for a tenth of the time.
    return path_text(str(found.path)[len(str(folder)) :].lstrip("/"))


def _parent(file: Path) -> str:
    return os.path.dirname(file)  # noqa: PTH120 - paths compare by their parts, which costs more


def _known(connection: Connection, root: Root, keys: Iterable[PathKey]) -> dict[PathKey, Any]:
    query = (
        select(
            photos.c.id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.size_bytes,
            photos.c.mtime_ns,
            photos.c.gone_since,
            photos.c.looked_size_bytes,
            photos.c.looked_mtime_ns,
            photos.c.failure_kind,
            contents.c.model_id,
            contents.c.top_k,
            contents.c.threshold,
        )
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(photos.c.root_id == root.id, photos.c.path.in_([path for path, _ in keys]))
        .order_by(photos.c.id)
        .with_for_update(read=True, key_share=True, of=photos)  # nobody forgets them before they are items
    )
    return {(row.path, row.path_bytes): row for row in connection.execute(query)}


def _known_pages(database: Database, root: Root, covered: ColumnElement[bool]) -> Iterator[Sequence[Any]]:
    """Photos not known to be gone, or only from a job that missed them, however many a page of the walk covers."""
    key = tuple_(photos.c.path, photos.c.path_bytes)
    unconfirmed = or_(photos.c.gone_since.is_(None), photos.c.failure_kind == FailureKind.GONE)
    query = (
        select(photos.c.id, photos.c.path, photos.c.path_bytes)
        .where(photos.c.root_id == root.id, covered, unconfirmed)
        .order_by(photos.c.path, photos.c.path_bytes)
        .limit(PAGE)
    )
    page = query
    while True:
        with database.read() as connection:
            rows = connection.execute(page).all()
        yield rows
        if len(rows) < PAGE:
            return
        page = query.where(key > (rows[-1].path, rows[-1].path_bytes))


def _new_row(root: Root, key: PathKey, found: FoundPhoto) -> dict[str, object]:
    path, path_bytes = key
    return {
        "root_id": root.id,
        "path": path,
        "path_bytes": path_bytes,
        "size_bytes": found.size_bytes,
        "mtime_ns": found.mtime_ns,
    }


def _differs(row: Row[Any], found: FoundPhoto) -> bool:
    same_file = (row.size_bytes, row.mtime_ns) == (found.size_bytes, found.mtime_ns)
    return not same_file or row.gone_since is not None


def _is_seen(row: Row[Any], found: FoundPhoto, look: Look) -> bool:
    same_file = (row.looked_size_bytes, row.looked_mtime_ns) == (found.size_bytes, found.mtime_ns)
    same_look = (row.model_id, row.top_k, row.threshold) == (look.model_id, look.top_k, look.threshold)
    return same_file and same_look and row.failure_kind is None and not look.again


def _update_changed(connection: Connection, changed: Sequence[tuple[int, FoundPhoto]]) -> None:
    statement = (
        update(photos)
        .where(photos.c.id == bindparam("photo"))
        .values(size_bytes=bindparam("size"), mtime_ns=bindparam("mtime"), gone_since=None)
    )
    rows = [{"photo": photo, "size": found.size_bytes, "mtime": found.mtime_ns} for photo, found in changed]
    if rows:
        connection.execute(statement, rows)


def _is_there(root: Root, row: Row[Any]) -> bool:
    try:
        os.lstat(root.folder / path_from_text(row.path, row.path_bytes))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
