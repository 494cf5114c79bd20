"""Reads the camera facts of photos that were tagged before the database had cameras, from their files.

Knows nothing of pixels: these photos keep their tags.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, select, update

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.errors import PhotoFailed
from tagger.library.catalog.cameras import camera_of, ensure_cameras, fact_columns
from tagger.library.catalog.position_changes import record_photos
from tagger.library.catalog.roots import Root, RootPaths, list_roots, unavailable_roots
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.photos.files import PhotoVersion
from tagger.photos.paths import path_from_text
from tagger.pipeline.reader_pool import read_in_time
from tagger.pipeline.requests import Limits

PAGE = 200
"""Photos per transaction."""

Progress = Callable[[int, int], None]
"""Called with the number of photos done, and of all."""


@dataclass(frozen=True)
class MissingFacts:
    """How many photos had no facts.

    `read`: they have them now. `changed`: the file is not the stored one any more, and tagging it will read them. `unreadable`: the
    file is gone or cannot be read. `unavailable`: the disk or share of their root is not mounted. The next call tries the last three again.
    """

    read: int = 0
    changed: int = 0
    unreadable: int = 0
    unavailable: int = 0


def has_missing_facts(database: Database) -> bool:
    """Whether there are present photos that have a content but no camera."""
    with database.read() as connection:
        return connection.execute(select(photos.c.id).where(*_IS_MISSING).limit(1)).first() is not None


def read_missing_facts(
    database: Database,
    root_paths: RootPaths,
    limits: Limits,
    on_progress: Progress = lambda _done, _total: None,
) -> MissingFacts:
    """Store the facts of present photos that have a content but no camera.

    `limits.readers` threads read a file each; the ids of the photos take 8 bytes each. What was stored stays if the call is interrupted.
    """
    limits = replace(limits, settle_s=0.0)
    roots, unavailable = _roots(database, root_paths)
    ids = _photo_ids(database)
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(limits.readers) as pool:
        for start in range(0, len(ids), PAGE):
            rows = _rows(database, ids[start : start + PAGE])
            available = [row for row in rows if row.root_id not in unavailable]
            results = list(pool.map(lambda row: _read(row, roots[row.root_id], limits), available))
            found = [
                (row, result)
                for row, result in zip(available, results, strict=True)
                if isinstance(result, CameraFacts)
            ]
            if found:
                _store(database, found)
            counts.update(result if isinstance(result, str) else "read" for result in results)
            counts["unavailable"] += len(rows) - len(available)
            on_progress(min(start + PAGE, len(ids)), len(ids))
    return MissingFacts(**counts)


_CHANGED, _UNREADABLE = "changed", "unreadable"
_IS_MISSING = (photos.c.camera_id.is_(None), photos.c.content_id.is_not(None), photos.c.gone_since.is_(None))


def _roots(database: Database, root_paths: RootPaths) -> tuple[dict[int, Root], Collection[int]]:
    """All roots by id, and the ids of those that are unavailable."""
    with database.read() as connection:
        roots = list_roots(connection, root_paths)
        unavailable = unavailable_roots(connection, roots)
    return {root.id: root for root in roots}, {root.id for root in unavailable}


def _photo_ids(database: Database) -> "array[int]":
    """The ids of all photos without facts. Their index is not in the order of ids, so pages would sort them again and again."""
    query = select(photos.c.id).where(*_IS_MISSING)
    with database.read() as connection:
        found = connection.execution_options(yield_per=10_000).scalars(query)
        return array("q", sorted(array("q", found)))


def _rows(database: Database, ids: Sequence[int]) -> Sequence[Row[Any]]:
    query: Select[Any] = (
        select(
            photos.c.id,
            photos.c.root_id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.size_bytes,
            photos.c.mtime_ns,
            photos.c.classified_size_bytes,
            photos.c.classified_mtime_ns,
        )
        .where(photos.c.id.in_(ids), *_IS_MISSING)
        .order_by(photos.c.id)
    )
    with database.read() as connection:
        return connection.execute(query).all()


def _read(row: Row[Any], root: Root, limits: Limits) -> CameraFacts | str:
    """The facts of a photo, or what kept them from being read."""
    path = path_from_text(row.path, row.path_bytes)
    version = PhotoVersion(row.size_bytes, row.mtime_ns)
    if row.classified_mtime_ns is not None:
        version = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    try:
        photo = read_in_time(root.source, path, limits)
    except PhotoFailed:
        return _UNREADABLE
    return camera_facts(photo.data) if photo.version == version else _CHANGED


def _store(database: Database, found: Sequence[tuple[Row[Any], CameraFacts]]) -> None:
    cameras = {row.id: camera_of(facts, row.root_id, row.path) for row, facts in found}
    # In a transaction of its own: workers that wait for a new camera hold the locks of their photos.
    with database.write() as connection:
        camera_ids = ensure_cameras(connection, set(cameras.values()))
    values = [
        {"photo": row.id, "camera_id": camera_ids[cameras[row.id]], **fact_columns(facts)}
        for row, facts in found
    ]
    with database.write() as connection:
        record_photos(connection, cameras)
        _update(connection, values)


def _update(connection: Connection, values: Sequence[dict[str, Any]]) -> None:
    columns: dict[str, Any] = {name: bindparam(name) for name in values[0] if name != "photo"}
    # Tagging may have read the facts meanwhile, of a later file.
    still_missing = (photos.c.id == bindparam("photo"), photos.c.camera_id.is_(None))
    connection.execute(update(photos).where(*still_missing).values(columns), values)
