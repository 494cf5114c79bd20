"""Roots: the outermost scanned folders and prefixes of buckets, to which photo paths are relative.

Knows nothing of the photos' content, and not whether a root is available (see availability).

Photos are removed from the database by their paths. The files and verdicts stay.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from tagger.cameras import move_folder_cameras
from tagger.database.connection import AuditAction, Database, record_action
from tagger.database.statements import insert_missing, lock_tables
from tagger.database.tables import PRESENT, contents, job_items, mounts, photos, roots
from tagger.errors import ObjectAddressInvalid, PhotoNotFound
from tagger.photos.object_store import current_endpoint, note_endpoint
from tagger.photos.paths import parse_path, path_from_text, path_text
from tagger.tags import delete_unused, record_photos

if TYPE_CHECKING:
    from tagger.photos.source import PhotoSource


PAGE = 1000

# The folders of roots on this machine, by root name, if they differ from the database
# (settings.roots).
RootPaths = Mapping[str, Path]


@dataclass(frozen=True)
class Root:
    """`folder`: on this machine, or the address in a bucket, scanned at the `endpoint`."""

    id: int
    name: str
    folder: Path
    endpoint: str | None = None

    @cached_property
    def source(self) -> "PhotoSource":
        from tagger.photos.source import open_source

        return open_source(str(self.folder))

    def path_of(self, path: str, path_bytes: bytes) -> Path:
        return self.folder / path_from_text(path, path_bytes)


def list_roots(connection: Connection, root_paths: RootPaths) -> list[Root]:
    """Every root, by id. From now on, this process requests their buckets only where they were scanned."""
    stored_roots = [
        Root(
            row.id,
            row.name,
            parse_path(
                root_paths.get(row.name)
                or path_from_text(row.location, row.location_bytes)
            ),
            row.endpoint,
        )
        for row in connection.execute(select(roots).order_by(roots.c.id))
    ]
    for root in stored_roots:
        note_endpoint(root.folder, root.endpoint)
    return stored_roots


def note_endpoints(connection: Connection) -> None:
    """Let this process request stored buckets only where they were scanned. Call it before a path is used."""
    known = select(roots.c.location, roots.c.endpoint).where(
        roots.c.endpoint.is_not(None)
    )
    for row in connection.execute(known):
        with suppress(ObjectAddressInvalid):  # the check of the database reports it
            note_endpoint(parse_path(row.location), row.endpoint)


def find_root(connection: Connection, path: Path, root_paths: RootPaths) -> Root | None:
    """`path` is absolute, its folder resolved."""
    return next(
        (
            root
            for root in list_roots(connection, root_paths)
            if path.is_relative_to(root.folder)
        ),
        None,
    )


def stored_root(database: Database, folder: Path, root_paths: RootPaths) -> Root:
    """Like `ensure_root`, in a transaction of its own if there is no root."""
    with database.read() as connection:
        root = find_root(connection, folder, root_paths)
    if root is not None:
        return root
    with database.write() as connection:
        return ensure_root(connection, folder, root_paths)


def lock_root(connection: Connection, folder: Path, root_paths: RootPaths) -> Root:
    """Like `ensure_root`, but fast for an existing root. Until this ends, nobody moves or removes it."""
    while (root := find_root(connection, folder, root_paths)) is not None:
        lock = (
            select(roots.c.id)
            .where(roots.c.id == root.id)
            .with_for_update(read=True, key_share=True)
        )
        if connection.scalar(lock) is not None:
            return root
    return ensure_root(connection, folder, root_paths)


def store_endpoint(connection: Connection, root: Root) -> None:
    """Store the server at which this process has scanned a bucket. Call it in a write transaction."""
    endpoint = current_endpoint(root.folder)
    if endpoint != root.endpoint:
        connection.execute(
            update(roots).where(roots.c.id == root.id).values(endpoint=endpoint)
        )
        note_endpoint(root.folder, endpoint)


def ensure_root(connection: Connection, folder: Path, root_paths: RootPaths) -> Root:
    """The root that contains `folder`, created if there is none. A new root absorbs the roots inside it.

    Call it in a write transaction. `folder` is absolute and resolved.
    """
    # Of two processes that add a folder and its parent at once, only one may create an outermost root.
    lock_tables(connection, roots)
    existing = find_root(connection, folder, root_paths)
    if existing is not None:
        return existing
    inner = [
        root
        for root in list_roots(connection, root_paths)
        if root.folder.is_relative_to(folder)
    ]
    location, location_bytes = path_text(str(folder))
    names_elsewhere = [name for name, path in root_paths.items() if path != folder]
    names = {*connection.scalars(select(roots.c.name)), *names_elsewhere}
    first_name = name = path_text(folder.name)[0] or "root"
    number = 1
    while name in names:
        number += 1
        name = f"{first_name}-{number}"
    values = {"name": name, "location": location, "location_bytes": location_bytes}
    root_id = connection.execute(
        insert(roots).values(values).returning(roots.c.id)
    ).scalar_one()
    root = Root(root_id, name, folder)
    if inner and connection.dialect.name == "postgresql":
        # Transactions that write photos of an inner root lock it: with our lock, none of them is active.
        ids = [child.id for child in inner]
        connection.execute(
            select(roots.c.id)
            .where(roots.c.id.in_(ids))
            .order_by(roots.c.id)
            .with_for_update()
        )
        connection.execute(text("LOCK TABLE photos IN EXCLUSIVE MODE"))
    for child in inner:
        _absorb(connection, root, child)
    return root


def _absorb(connection: Connection, root: Root, child: Root) -> None:
    prefix, prefix_bytes = path_text(str(child.folder.relative_to(root.folder)) + "/")
    if not prefix_bytes:
        connection.execute(
            update(photos)
            .where(
                photos.c.root_id == child.id,
                photos.c.path_bytes == b"",
            )
            .values(
                root_id=root.id,
                path=literal(prefix).concat(photos.c.path),
            )
        )
    path = path_from_text(prefix, prefix_bytes)
    # The databases concatenate bytes differently. Such names are rare, so they are moved one by one.
    move = (
        update(photos)
        .where(photos.c.id == bindparam("photo"))
        .values(
            root_id=root.id, path=bindparam("path"), path_bytes=bindparam("path_bytes")
        )
    )
    page = (
        select(photos.c.id, photos.c.path, photos.c.path_bytes)
        .where(photos.c.root_id == child.id)
        .limit(PAGE)
    )
    while rows := connection.execute(page).all():
        values = []
        for row in rows:
            text_, raw = path_text(path + path_from_text(row.path, row.path_bytes))
            values.append({"photo": row.id, "path": text_, "path_bytes": raw})
        connection.execute(move, values)
    move_folder_cameras(
        connection,
        (child.id, child.name),
        (root.id, root.name),
        prefix,
    )
    _absorb_mounts(connection, root, child, path)
    connection.execute(roots.delete().where(roots.c.id == child.id))


def _absorb_mounts(
    connection: Connection, root: Root, child: Root, prefix: str
) -> None:
    # Move what is recorded in the child, and let the child be a guarded folder of the root.
    #
    # `prefix`: the path of the child in the root, with a slash at the end, as `path_from_text` returns paths.
    if not root.source.has_mounts:
        return
    of_child = mounts.c.root_id == child.id
    paths = {
        path_from_text(row.path, row.path_bytes)
        for row in connection.execute(select(mounts).where(of_child))
    }
    in_root = {prefix + path for path in paths if path}
    in_root.add(prefix.removesuffix("/") if "" in paths else prefix)
    store_mount_rows(connection, root, map(path_text, in_root))
    connection.execute(delete(mounts).where(of_child))


def store_mount_rows(
    connection: Connection, root: Root, keys: Iterable[tuple[str, bytes]]
) -> None:
    rows = [
        {"root_id": root.id, "path": path, "path_bytes": path_bytes}
        for path, path_bytes in sorted(keys)
    ]
    insert_missing(connection, mounts, rows)


def count_root_photos(
    connection: Connection, root: Root, folder: Path | None = None
) -> int:
    query = select(func.count()).where(
        photos_below(root, folder or root.folder), PRESENT
    )
    return connection.scalar(query) or 0


def photos_below(root: Root, folder: Path) -> ColumnElement[bool]:
    """One range of the index."""
    prefix = path_prefix(root, folder)
    in_root = photos.c.root_id == root.id
    # Every path under "a/" sorts before "a0": "0" is the character after "/".
    return (
        in_root & (photos.c.path >= prefix) & (photos.c.path < prefix[:-1] + "0")
        if prefix
        else in_root
    )


def path_prefix(root: Root, folder: Path) -> str:
    """Empty for the root, otherwise it ends with a slash."""
    return (
        ""
        if folder == root.folder
        else path_text(str(folder.relative_to(root.folder)))[0] + "/"
    )


def forget_path(
    database: Database, path: Path, root_paths: RootPaths, *, dry_run: bool = False
) -> int:
    """Remove one photo, all photos under a folder, or whole roots. Returns how many photos.

    Roots may have no photo left: a process that was killed removed them.

    Raises:
        PhotoNotFound: neither a photo nor a root is stored for this path.
    """
    path = _resolve(database, path, root_paths)
    root_ids, condition = _photos_at(database, path, root_paths)
    matching = select(func.count()).select_from(photos).where(condition)
    count = database.scalar(matching) or 0
    has_photos = select(exists().where(photos.c.root_id.in_(root_ids)))
    if not count and database.scalar(has_photos):
        raise PhotoNotFound(path=path)
    if dry_run:
        return count
    # Recorded first: an interrupted command may have removed some.
    with database.write() as connection:
        record_action(connection, AuditAction.PHOTOS_FORGET, path, photos=count)
    while _remove_page(database, condition):
        pass
    with database.write() as connection:
        # Locked first: a concurrent scan adds its photos before this, or creates the root again after it.
        connection.execute(
            select(roots.c.id)
            .where(roots.c.id.in_(root_ids))
            .order_by(roots.c.id)
            .with_for_update()
        )
        no_photo = ~exists().where(photos.c.root_id == roots.c.id)
        connection.execute(delete(roots).where(roots.c.id.in_(root_ids), no_photo))
    return count


def is_stored(database: Database, path: Path, root_paths: RootPaths) -> bool:
    """It need not exist any more."""
    try:
        return forget_path(database, path, root_paths, dry_run=True) > 0
    except PhotoNotFound:
        return False


def _resolve(database: Database, path: Path, root_paths: RootPaths) -> Path:
    # The path as it is stored: folders are resolved, links to photos are not. The path need not exist.
    #
    # A link to a folder is not resolved if photos were stored in a folder in its place.
    from tagger.photos.source import open_source

    path = parse_path(path)
    unresolved = path.parent.resolve() / path.name
    resolved = open_source(str(path)).resolved()
    if resolved == unresolved:
        return resolved
    with database.read() as connection:
        root = find_root(connection, unresolved, root_paths)
        is_replaced = (
            root is not None and count_root_photos(connection, root, unresolved) > 0
        )
    return unresolved if is_replaced else resolved


def _photos_at(
    database: Database, path: Path, root_paths: RootPaths
) -> tuple[list[int], ColumnElement[bool]]:
    with database.read() as connection:
        all_roots = list_roots(connection, root_paths)
    inner = [root.id for root in all_roots if root.folder.is_relative_to(path)]
    if inner:
        return inner, photos.c.root_id.in_(inner)
    for root in all_roots:
        if path.is_relative_to(root.folder):
            name, name_bytes = path_text(str(path.relative_to(root.folder)))
            named = photos.alias("named")
            of_photo = (
                select(func.coalesce(named.c.primary_id, named.c.id))
                .where(
                    named.c.root_id == root.id,
                    named.c.path == name,
                    named.c.path_bytes == name_bytes,
                )
                .scalar_subquery()
            )
            photos_in_root = (
                (photos.c.id == of_photo)
                | (photos.c.primary_id == of_photo)
                | photos_below(root, path)
            )
            return [root.id], photos_in_root
    raise PhotoNotFound(path=path)


def _remove_page(database: Database, condition: ColumnElement[bool]) -> int:
    page = select(photos.c.id, photos.c.content_id).where(condition).limit(PAGE)
    with database.write() as connection:
        content_of = {row.id: row.content_id for row in connection.execute(page)}
        photo_ids = list(content_of)
        if _lock(connection, content_of) != content_of:  # results were stored since
            return len(content_of)
        record_photos(connection, photo_ids)
        # RAW files of a folder's photos may be on another page.
        joined = photos.c.primary_id.in_(photo_ids)
        connection.execute(update(photos).where(joined).values(primary_id=None))
        connection.execute(delete(photos).where(photos.c.id.in_(photo_ids)))
        delete_unused(
            connection,
            {each for each in content_of.values() if each is not None},
        )
    return len(content_of)


def _lock(
    connection: Connection, content_of: Mapping[int, int | None]
) -> dict[int, int | None]:
    # Lock contents, items and photos, in the order in which results are stored; return what is there.
    if connection.dialect.name == "sqlite":  # the transaction has locked all
        return dict(content_of)
    photo_ids, content_ids = list(content_of), list(content_of.values())
    of_contents = (
        select(contents.c.id)
        .where(contents.c.id.in_(content_ids))
        .order_by(contents.c.id)
    )
    of_items = (
        select(job_items.c.position)
        .where(job_items.c.photo_id.in_(photo_ids))
        .order_by(job_items.c.job_id, job_items.c.position)
    )
    of_photos = select(photos.c.id, photos.c.content_id).where(
        photos.c.id.in_(photo_ids)
    )
    for query in (of_contents, of_items):
        connection.execute(query.with_for_update())
    rows = connection.execute(of_photos.order_by(photos.c.id).with_for_update())
    return {row.id: row.content_id for row in rows}
