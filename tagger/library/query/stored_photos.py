"""Photos as the database describes them: root, path, size, time and image digest; and by their ids, with their accepted tags."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Select, exists, select

from tagger.database.connection import Database
from tagger.database.tables import contents, dismissals, photos
from tagger.errors import PhotoIdNotFound
from tagger.library.catalog.raw_pairs import files_of
from tagger.library.catalog.roots import Root, RootPaths, list_roots
from tagger.library.query.tagged_photos import NameCache, TaggedPhoto, select_photos, tag_rows

PAGE = 250


def photos_by_id(
    database: Database, photo_ids: Sequence[int], root_paths: RootPaths
) -> Iterator[TaggedPhoto]:
    """Yield the photos in this order, page by page; those that were removed from the database are left out."""
    with database.read() as connection:
        names = NameCache(connection, root_paths)
    for start in range(0, len(photo_ids), PAGE):
        page = photo_ids[start : start + PAGE]
        with database.read() as connection:
            rows = {row.id: row for row in connection.execute(select_photos().where(photos.c.id.in_(page)))}
            tags_of = tag_rows(connection, {row.content_id for row in rows.values()} - {None})
            found = []
            for row in (rows[photo_id] for photo_id in page if photo_id in rows):
                photo_tags = tags_of.get(row.content_id, ())
                accepted = [tag for tag in photo_tags if tag.accepted]
                found.append(names.photo(connection, row, photo_tags, accepted))
        yield from found


@dataclass(frozen=True)
class StoredPhoto:
    """A photo's file as it was when it was scanned. `digest` is the image digest; None before it is classified."""

    id: int
    root: Path
    path: Path
    size_bytes: int
    mtime_ns: int
    digest: str | None


def stored_photo(database: Database, photo_id: int, root_paths: RootPaths) -> StoredPhoto:
    """Raises:
    PhotoIdNotFound: no photo has that number.
    """
    with database.read() as connection:
        row = connection.execute(_select().where(photos.c.id == photo_id)).one_or_none()
        if row is None:
            raise PhotoIdNotFound(photo_id=photo_id)
        return _stored(row, list_roots(connection, root_paths))


def stored_raw_files(database: Database, photo_id: int, root_paths: RootPaths) -> list[StoredPhoto]:
    """The RAW files that are joined with the photo, by path."""
    with database.read() as connection:
        rows = connection.execute(_select().where(files_of([photo_id])).order_by(photos.c.path)).all()
        roots = list_roots(connection, root_paths) if rows else []
        return [_stored(row, roots) for row in rows]


def _select() -> Select[Any]:
    joined = photos.outerjoin(contents, contents.c.id == photos.c.content_id)
    return select(photos, contents.c.digest).select_from(joined)


def _stored(row: Row[Any], roots: Iterable[Root]) -> StoredPhoto:
    root = next(root for root in roots if root.id == row.root_id)
    return StoredPhoto(
        id=row.id,
        root=root.folder,
        path=root.path_of(row.path, row.path_bytes),
        size_bytes=row.size_bytes,
        mtime_ns=row.mtime_ns,
        digest=row.digest,
    )


def stored_photos(
    database: Database, photo_ids: Iterable[int], root_paths: RootPaths
) -> Iterator[StoredPhoto]:
    """Yield these photos, each looked up when it is its turn; those that were removed from the database are left out."""
    for photo_id in photo_ids:
        with suppress(PhotoIdNotFound):
            yield stored_photo(database, photo_id, root_paths)


def has_photos(database: Database) -> bool:
    """Return whether the database has any photo."""
    with database.read() as connection:
        return bool(connection.scalar(select(exists().where(photos.c.id > 0))))


def has_dismissed_photos(database: Database) -> bool:
    """Return whether any photo was put away as not a landmark."""
    is_there = exists().where(photos.c.content_id == dismissals.c.content_id, photos.c.gone_since.is_(None))
    with database.read() as connection:
        query = select(dismissals.c.content_id).where(is_there).limit(1)
        return connection.execute(query).first() is not None
