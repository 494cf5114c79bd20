"""Temporary files that processes left beside photos when they died while they wrote metadata. Those of running processes are locked."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from sqlalchemy import select

from tagger.database.connection import Database
from tagger.database.enums import METADATA_KINDS, JobState
from tagger.database.tables import chunks, job_items, jobs, photos
from tagger.library.catalog.roots import Root, RootPaths, list_roots, unavailable_roots
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.files.temporary_files import remove_leftovers

JOBS = 20
"""How many interrupted jobs are considered, the latest first."""


class PhotoPath(Protocol):
    """A photo's columns that name its file."""

    @property
    def root_id(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def path_bytes(self) -> bytes: ...


def remove_interrupted_files(database: Database, root_paths: RootPaths) -> None:
    """Remove the temporary files of the latest jobs whose process died. They have no record, so an undo does not find them."""
    paths = _interrupted_photos(database)
    with database.read() as connection:
        needed = {path.root_id for path in paths}
        roots = [root for root in list_roots(connection, root_paths) if root.id in needed]
        unavailable = unavailable_roots(connection, roots)
    remove_files_beside(paths, {root.id: root for root in roots if root not in unavailable})


def remove_files_beside(paths: Iterable[PhotoPath], roots: Mapping[int, Root]) -> None:
    """Remove the temporary files in the folders of photos. Photos of other roots, and objects in buckets, have none."""
    reachable = (path for path in paths if path.root_id in roots and not roots[path.root_id].is_bucket)
    folders = {
        (roots[path.root_id], roots[path.root_id].path_of(path.path, path.path_bytes).parent)
        for path in reachable
    }
    for root, folder in folders:
        with suppress(WriteRefused, WriteFailed):  # the folder's photos report the same error
            remove_leftovers(folder, root.folder)


def _interrupted_photos(database: Database) -> Sequence[PhotoPath]:
    """The photos of the chunks that a process had claimed when its job was cancelled."""
    cancelled = select(jobs.c.id).where(jobs.c.kind.in_(METADATA_KINDS), jobs.c.state == JobState.CANCELLED)
    latest = cancelled.order_by(jobs.c.id.desc()).limit(JOBS)
    in_chunk = job_items.c.position.between(chunks.c.first, chunks.c.last)
    query = (
        select(photos.c.root_id, photos.c.path, photos.c.path_bytes)
        .join(job_items, job_items.c.photo_id == photos.c.id)
        .join(chunks, (chunks.c.job_id == job_items.c.job_id) & in_chunk)
        .where(chunks.c.job_id.in_(latest), chunks.c.claimed_at.is_not(None), chunks.c.cancelled > 0)
    )
    with database.read() as connection:
        return connection.execute(query).all()
