"""What has changed in watched folders since the last scan: photos that need a job, and photos that are gone. Records no job."""

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, func, update

from tagger.catalog.roots import (
    Root,
    RootPaths,
    count_root_photos,
    find_root,
    is_unavailable,
    path_prefix,
    photos_below,
)
from tagger.database.connection import Database
from tagger.database.statements import pages
from tagger.database.tables import NO_FAILURE, photos
from tagger.enqueue.inference_options import InferenceOptions
from tagger.enqueue.photo_rows import PathKey, can_skip, gone_ids, is_changed, photo_rows, present_photos
from tagger.enqueue.selection import Selection
from tagger.errors import FailureKind, RootUnavailable
from tagger.photos import FoundPhoto, find_photo, path_text
from tagger.photos.source import open_source

PAGE = 1000


def unseen_photos(
    database: Database, selection: Selection, inference: InferenceOptions, root_paths: RootPaths
) -> Selection:
    """The photos of the selection that are new or changed, or whose job never came to them.

    Photos that failed are seen: they are tried again when they change. Unreadable folders, and files that are gone already,
    are left out.

    Raises:
        PathNotFound: a folder does not exist.
    """
    files = (find_photo(file) for file in selection.files if os.path.lexists(file))
    in_folders = (
        entry
        for folder in selection.folders
        for entry in open_source(str(folder)).photos(include=selection.include, exclude=selection.exclude)
        if isinstance(entry, FoundPhoto)
    )
    unseen: list[Path] = []
    for folder, found in groupby(chain(in_folders, files), key=lambda photo: photo.path.parent):
        while page := list(islice(found, PAGE)):
            unseen += _unseen(database, folder, page, inference, root_paths)
    return Selection((), tuple(unseen))


def mark_gone(database: Database, paths: Iterable[Path], root_paths: RootPaths) -> int:
    """Mark photos that no longer exist, at these paths or below them; returns how many.

    Raises:
        RootUnavailable: their disk is not mounted.
    """
    gone = 0
    for path in paths:
        with database.read() as connection:
            root = find_root(connection, path, root_paths)
        if root is not None:
            for rows in present_photos(database, root, _at_or_below(root, path), PAGE):
                missing = gone_ids(root.source, rows)
                if missing:
                    _store_gone(database, root, missing)
                gone += len(missing)
    return gone


def _unseen(
    database: Database,
    folder: Path,
    page: Sequence[FoundPhoto],
    inference: InferenceOptions,
    root_paths: RootPaths,
) -> Iterator[Path]:
    with database.read() as connection:
        root = find_root(connection, folder, root_paths)
        found = {_key(root, photo): photo for photo in page} if root else {}
        rows = photo_rows(connection, root, found) if root else {}
    if root is None:
        return (photo.path for photo in page)
    return (photo.path for key, photo in found.items() if _is_unseen(rows.get(key), photo, inference))


def _is_unseen(row: Row[Any] | None, photo: FoundPhoto, inference: InferenceOptions) -> bool:
    if row is None or is_changed(row, photo) or row.failure_kind == FailureKind.SETTLING:
        return True
    return row.failure_kind is None and not can_skip(row, photo, inference)


def _key(root: Root, photo: FoundPhoto) -> PathKey:
    return path_text(str(photo.path.relative_to(root.folder)))


def _at_or_below(root: Root, path: Path) -> ColumnElement[bool]:
    if path == root.folder:
        return photos_below(root, path)
    return photos_below(root, path) | (photos.c.path == path_prefix(root, path)[:-1])


def _store_gone(database: Database, root: Root, photo_ids: Sequence[int]) -> None:
    # Before the transaction: a share may answer slowly, and others wait for the locks.
    with database.read() as connection:
        if is_unavailable(connection, root):
            raise RootUnavailable(folder=root.folder, photos=count_root_photos(connection, root))
    with database.write() as connection:
        for page in pages(sorted(photo_ids)):
            since = func.coalesce(photos.c.gone_since, datetime.now(UTC))
            marked = update(photos).where(photos.c.id.in_(page)).values(gone_since=since, **NO_FAILURE)
            connection.execute(marked)
