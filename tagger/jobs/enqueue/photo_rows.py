"""Photos of a scan as rows of the database: which are new, changed, classified before, or no longer found."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, or_, select, update

from tagger.database.connection import Database
from tagger.database.statements import among, insert_page
from tagger.database.tables import NO_FAILURE, contents, photos
from tagger.errors import FailureKind
from tagger.ledger.jobs import InferenceOptions
from tagger.photos.files import PhotoVersion
from tagger.photos.folders import FoundPhoto
from tagger.photos.paths import path_from_text
from tagger.photos.source import PhotoSource
from tagger.raw_pairs import separate_files
from tagger.roots.availability import UnavailableFolder, unavailable_below
from tagger.roots.roots import Root
from tagger.tags.contents import is_classified_by_all

# The two path columns of a photo: text, and bytes if the name is not UTF-8.
PathKey = tuple[str, bytes]

_OF_PHOTO = (
    "id",
    "path",
    "path_bytes",
    "size_bytes",
    "mtime_ns",
    "gone_since",
    "primary_id",
    "classified_size_bytes",
    "classified_mtime_ns",
    "failure_kind",
    "retry_at",
    "side_files",
    "camera_id",
    "taken_at",
    "unread_facts",
)
# The columns of a row that was just inserted; it has no image yet.
_INSERTED = ", ".join((*_OF_PHOTO, "NULL AS is_classified"))


def photo_rows(
    connection: Connection, root: Root, keys: Collection[PathKey], inference: InferenceOptions
) -> dict[PathKey, Any]:
    """The stored photos with these paths, and whether they were classified with these options.

    Their rows cannot be deleted until the transaction ends.
    """
    of_root = (photos.c.root_id == root.id, among(photos.c.path, [path for path, _ in keys]))
    rows = connection.execute(_rows(inference, *of_root)).all() if keys else ()
    return {(row.path, row.path_bytes): row for row in rows}


def rows_by_id(
    connection: Connection, photo_ids: Collection[int], inference: InferenceOptions
) -> dict[int, Any]:
    """The stored photos with these ids, like `photo_rows`."""
    of_ids = among(photos.c.id, photo_ids)
    rows = connection.execute(_rows(inference, of_ids)).all() if photo_ids else ()
    return {row.id: row for row in rows}


def _rows(inference: InferenceOptions, *conditions: ColumnElement[bool]) -> Select[Any]:
    is_classified = is_classified_by_all(inference.thresholds, inference.top_k)
    return (
        select(*(photos.c[name] for name in _OF_PHOTO), is_classified.label("is_classified"))
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(*conditions)
        .order_by(photos.c.id)
        .with_for_update(read=True, key_share=True, of=photos)
    )


def present_photos(
    database: Database,
    root: Root,
    condition: ColumnElement[bool],
    page_size: int,
    *,
    without: AbstractSet[PathKey] = frozenset(),
) -> Iterator[Sequence[Any]]:
    """Pages of stored photos of the root that are not gone, `without` these, in the order of their paths.

    Photos that a job did not find count as present: a scan decides whether they are gone.
    """
    is_present = or_(photos.c.gone_since.is_(None), photos.c.failure_kind == FailureKind.GONE)
    key = photos.c.path, photos.c.path_bytes
    of_root = photos.c.root_id == root.id, condition, is_present, *_others(without)
    for rows in database.row_pages(select(photos.c.id, *key).where(*of_root), *key, size=page_size):
        yield [row for row in rows if (row.path, row.path_bytes) not in without]


def _others(found: AbstractSet[PathKey]) -> Iterator[ColumnElement[bool]]:
    """The condition that leaves out most rows at these paths. Names that are not UTF-8 can read alike."""
    if found:
        texts = [path for path, path_bytes in found if not path_bytes]
        yield ~(among(photos.c.path, texts) & (photos.c.path_bytes == b""))


def gone_ids(source: PhotoSource, rows: Iterable[Row[Any]]) -> list[int]:
    """The ids of the stored photos that no longer exist in their source."""
    ids = {path_from_text(row.path, row.path_bytes): row.id for row in rows}
    return sorted(ids[path] for path in source.missing(ids))


def insert_photos(
    connection: Connection, root: Root, new: Mapping[PathKey, FoundPhoto], inference: InferenceOptions
) -> dict[PathKey, Any]:
    """Add photos that nobody has added meanwhile. Returns the rows of all, like `photo_rows`."""
    rows = ((root.id, *key, photo.size_bytes, photo.mtime_ns) for key, photo in new.items())
    names = ("root_id", "path", "path_bytes", "size_bytes", "mtime_ns")
    inserted = insert_page(connection, photos, names, rows, skip_existing=True, returning=_INSERTED)
    found = {(row.path, row.path_bytes): row for row in inserted}
    return found | photo_rows(connection, root, [key for key in new if key not in found], inference)


def update_photos(connection: Connection, changed: Iterable[tuple[int, FoundPhoto]]) -> None:
    """Store the size and time of photos, by id, which exist. Failures of the earlier files are over."""
    statement = (
        update(photos)
        .where(photos.c.id == bindparam("photo"))
        .values(size_bytes=bindparam("size"), mtime_ns=bindparam("mtime"), gone_since=None, **NO_FAILURE)
    )
    rows = [
        {"photo": photo_id, "size": photo.size_bytes, "mtime": photo.mtime_ns} for photo_id, photo in changed
    ]
    if rows:
        connection.execute(statement, rows)


def store_gone(
    database: Database,
    root: Root,
    folder: Path,
    photo_ids: Sequence[int],
    unavailable: Collection[UnavailableFolder] = (),
) -> None:
    """Mark photos in a folder of the root as gone, none of them below those that were `unavailable` before.

    Raises:
        RootUnavailable: the folder, or one in it, was unmounted since they were looked for.
    """
    since = func.coalesce(photos.c.gone_since, datetime.now(UTC))
    statement = update(photos).where(photos.c.id == bindparam("photo")).values(gone_since=since, **NO_FAILURE)
    # Before the transaction: a share may answer slowly, and others wait for the locks.
    with database.read() as connection:
        before = {each.folder for each in unavailable}
        for each in unavailable_below(connection, root, folder):
            if each.folder not in before:
                raise each.error(connection)
    with database.write() as connection:
        connection.execute(statement, [{"photo": photo_id} for photo_id in photo_ids])
        joined = select(photos.c.id).where(photos.c.primary_id.in_(photo_ids))
        separate_files(connection, connection.scalars(joined).all())


def is_changed(row: Row[Any], photo: FoundPhoto) -> bool:
    """Whether the file differs from the stored photo, or was gone before."""
    same_file = (row.size_bytes, row.mtime_ns) == (photo.size_bytes, photo.mtime_ns)
    return not same_file or row.gone_since is not None


def can_skip(row: Row[Any], version: PhotoVersion | FoundPhoto, inference: InferenceOptions) -> bool:
    """Whether this version of the file was classified with the same options, so that it is skipped."""
    classified = row.classified_size_bytes, row.classified_mtime_ns
    same_file = classified == (version.size_bytes, version.mtime_ns)
    return same_file and bool(row.is_classified) and row.failure_kind is None and not inference.reprocess
