"""Removal of photos from the database. The files stay, and so do verdicts and the contents they are about."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.tables import contents, job_items, photos, roots
from tagger.errors import PhotoNotFound
from tagger.library.catalog.contents import has_verdict, record_photos
from tagger.library.catalog.roots import Root, RootPaths, list_roots, photos_below
from tagger.photos.paths import ObjectPath, parse_path, path_text

PAGE = 1000


def forget_path(database: Database, path: Path, root_paths: RootPaths, *, dry_run: bool = False) -> int:
    """Remove one photo, all photos under a folder, or whole roots. Returns how many photos.

    Raises:
        PhotoNotFound: no photo is stored for this path.
    """
    root_ids, condition = _photos_at(database, _resolve(path), root_paths)
    with database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(photos).where(condition)) or 0
    if not count:
        raise PhotoNotFound(path=path)
    if dry_run:
        return count
    with database.write() as connection:  # first: an interrupted command has removed some of them
        record_action(connection, AuditAction.PHOTOS_FORGET, _resolve(path), photos=count)
    while _remove_page(database, condition):
        pass
    _remove_empty_roots(database, root_ids)
    return count


def is_stored(database: Database, path: Path, root_paths: RootPaths) -> bool:
    """Whether photos are stored for this file or folder. It need not exist any more."""
    try:
        return forget_path(database, path, root_paths, dry_run=True) > 0
    except PhotoNotFound:
        return False


def _resolve(path: Path) -> Path:
    """The path as it is stored: folders are resolved, links to photos are not. The path need not exist."""
    parsed = parse_path(path)
    if isinstance(parsed, ObjectPath):
        return parsed
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _photos_at(
    database: Database, path: Path, root_paths: RootPaths
) -> tuple[list[int], ColumnElement[bool]]:
    """The ids of the roots at or above the path, and the condition on their photos."""
    with database.read() as connection:
        all_roots = list_roots(connection, root_paths)
    inner = [root.id for root in all_roots if root.folder.is_relative_to(path)]
    if inner:
        return inner, photos.c.root_id.in_(inner)
    for root in all_roots:
        if path.is_relative_to(root.folder):
            return [root.id], _photos_in_root(root, path)
    raise PhotoNotFound(path=path)


def _photos_in_root(root: Root, path: Path) -> ColumnElement[bool]:
    name, name_bytes = path_text(str(path.relative_to(root.folder)))
    named = photos.alias("named")
    of_photo = (
        select(func.coalesce(named.c.primary_id, named.c.id))
        .where(named.c.root_id == root.id, named.c.path == name, named.c.path_bytes == name_bytes)
        .scalar_subquery()
    )
    return (photos.c.id == of_photo) | (photos.c.primary_id == of_photo) | photos_below(root, path)


def _remove_page(database: Database, condition: ColumnElement[bool]) -> int:
    page = select(photos.c.id, photos.c.content_id).where(condition).limit(PAGE)
    with database.write() as connection:
        rows = connection.execute(page).all()
        photo_ids = [row.id for row in rows]
        content_ids = [row.content_id for row in rows if row.content_id is not None]
        _lock(connection, photo_ids, content_ids)
        record_photos(connection, photo_ids)
        # RAW files of a folder's photos may be on another page.
        joined = photos.c.primary_id.in_(photo_ids)
        connection.execute(update(photos).where(joined).values(primary_id=None))
        connection.execute(delete(photos).where(photos.c.id.in_(photo_ids)))
        _remove_orphans(connection, content_ids)
    return len(rows)


def _lock(connection: Connection, photo_ids: Sequence[int], content_ids: Sequence[int]) -> None:
    """Lock contents, items and photos, in the order in which results are stored."""
    if connection.dialect.name != "postgresql":
        return
    of_contents = select(contents.c.id).where(contents.c.id.in_(content_ids)).order_by(contents.c.id)
    of_items = (
        select(job_items.c.position)
        .where(job_items.c.photo_id.in_(photo_ids))
        .order_by(job_items.c.job_id, job_items.c.position)
    )
    of_photos = select(photos.c.id).where(photos.c.id.in_(photo_ids)).order_by(photos.c.id)
    for query in (of_contents, of_items, of_photos):
        connection.execute(query.with_for_update())


def _remove_orphans(connection: Connection, content_ids: Sequence[int]) -> None:
    """Remove contents without photos and verdicts."""
    no_photo = ~exists().where(photos.c.content_id == contents.c.id)
    connection.execute(delete(contents).where(contents.c.id.in_(content_ids), no_photo, ~has_verdict()))


def _remove_empty_roots(database: Database, root_ids: Sequence[int]) -> None:
    with database.write() as connection:
        # Locked first: a concurrent scan adds its photos either before, or creates the root again.
        connection.execute(
            select(roots.c.id).where(roots.c.id.in_(root_ids)).order_by(roots.c.id).with_for_update()
        )
        no_photo = ~exists().where(photos.c.root_id == roots.c.id)
        connection.execute(delete(roots).where(roots.c.id.in_(root_ids), no_photo))
