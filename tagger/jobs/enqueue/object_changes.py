"""Objects that may have changed: which of them need a job, and which are gone. Their bucket is asked; nothing else is believed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.errors import BucketUnavailable
from tagger.jobs.enqueue.inference_options import InferenceOptions
from tagger.jobs.enqueue.photo_rows import present_photos, store_gone
from tagger.jobs.enqueue.watched_folders import unseen_photos
from tagger.library.catalog.roots import Root, RootPaths, lock_root
from tagger.photos.folder_walk import FoundPhoto
from tagger.photos.object_paths import ObjectPath
from tagger.photos.objects import bucket_problem
from tagger.photos.source import check_objects

PAGE = 1000


@dataclass(frozen=True)
class ObjectChanges:
    """Objects that need a job, the number of photos that are gone, and of objects whose state cannot be found out."""

    unseen: Sequence[Path]
    gone: int
    unreadable: int


def check_object_changes(
    database: Database,
    prefix: ObjectPath,
    objects: Sequence[ObjectPath],
    inference: InferenceOptions,
    root_paths: RootPaths,
) -> ObjectChanges:
    """Check objects of a prefix, which becomes a root if no other one contains it. Photos that do not exist are marked as gone.

    Raises:
        BucketUnavailable: the bucket does not answer.
    """
    found: list[FoundPhoto] = []
    missing: list[ObjectPath] = []
    unreadable = 0
    for path, state in check_objects(objects):
        if isinstance(state, FoundPhoto):
            found.append(state)
        elif state is None:
            missing.append(path)
        else:
            unreadable += 1
    if unreadable and (problem := bucket_problem(prefix)):
        raise BucketUnavailable(folder=prefix, reason=problem)
    with database.write() as connection:
        root = lock_root(connection, prefix, root_paths)
    unseen = unseen_photos(database, prefix, found, inference, root_paths)
    gone = sum(
        _mark_gone(database, root, prefix, missing[start : start + PAGE])
        for start in range(0, len(missing), PAGE)
    )
    return ObjectChanges(unseen, gone, unreadable)


def _mark_gone(database: Database, root: Root, prefix: ObjectPath, missing: Sequence[ObjectPath]) -> int:
    paths = [str(path.relative_to(root.folder)) for path in missing]
    (rows,) = present_photos(database, root, photos.c.path.in_(paths), len(paths) + 1)
    if rows:
        store_gone(database, root, prefix, [row.id for row in rows])
    return len(rows)
