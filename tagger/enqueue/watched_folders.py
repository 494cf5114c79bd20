"""What has changed in watched folders since the last scan: photos that need a job, and photos that are gone. Records no job."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row

from tagger.catalog.roots import Root, RootPaths, find_root, path_prefix, photos_below
from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.enqueue.inference_options import InferenceOptions
from tagger.enqueue.photo_rows import can_skip, gone_ids, is_changed, present_photos, store_gone
from tagger.enqueue.scan import stored_pages
from tagger.enqueue.selection import Selection
from tagger.errors import FailureKind
from tagger.photos import FoundPhoto

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
    files = tuple(file for file in selection.files if os.path.lexists(file))
    unseen = (
        photo.path
        for page in stored_pages(database, replace(selection, files=files), root_paths)
        for photo, row in page
        if _is_unseen(row, photo, inference)
    )
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
                    store_gone(database, root, root.folder, missing)
                gone += len(missing)
    return gone


def _is_unseen(row: Row[Any] | None, photo: FoundPhoto, inference: InferenceOptions) -> bool:
    if row is None or is_changed(row, photo) or row.failure_kind == FailureKind.SETTLING:
        return True
    return row.failure_kind is None and not can_skip(row, photo, inference)


def _at_or_below(root: Root, path: Path) -> ColumnElement[bool]:
    if path == root.folder:
        return photos_below(root, path)
    return photos_below(root, path) | (photos.c.path == path_prefix(root, path)[:-1])
