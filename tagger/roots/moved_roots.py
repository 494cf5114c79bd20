"""Roots whose folder was moved: the photos are elsewhere, at the same paths within another folder."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Connection, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.statements import lock_tables
from tagger.database.tables import roots
from tagger.errors import PathNotFound, PhotoNotFound, RootMoveRefused
from tagger.photos.files import MountState, check_mount
from tagger.photos.paths import ObjectPath, path_text
from tagger.roots.availability import sample_photos
from tagger.roots.roots import Root, RootPaths, count_root_photos, forget_path, is_stored, list_roots


def moved_roots(connection: Connection, folder: Path, root_paths: RootPaths) -> Iterator[Root]:
    """The roots whose folder does not exist, or is a link to this one, and whose photos are in this one."""
    if isinstance(folder, ObjectPath):
        return
    for root in list_roots(connection, root_paths):
        if not root.is_bucket and _is_absent(root, folder) and _is_at(connection, root, folder):
            yield root


def move_root(database: Database, old: Path, new: Path, root_paths: RootPaths) -> int:
    """Let the root of the folder `old`, which was moved, be the folder `new`. Returns its number of photos.

    All that is known of its photos stays. What was stored for `new` meanwhile is forgotten first.

    Raises:
        PathNotFound, PhotoNotFound: `new` is no folder, or `old` is no root.
        RootMoveRefused: `old` exists, or its photos are not in `new`; or `new` is in another root.
    """
    if not new.is_dir():
        raise PathNotFound(path=new)
    new = new.resolve()
    with database.read() as connection:
        all_roots = list_roots(connection, root_paths)
        places = {old, old.parent.resolve() / old.name}  # it may be a link to `new` now
        root = next((each for each in all_roots if each.folder in places), None)
        if root is None:
            raise PhotoNotFound(path=old)
        count = count_root_photos(connection, root)
        if reason := _refusal(connection, root, new, all_roots, root_paths):
            raise RootMoveRefused(old=old, new=new, reason=reason)
    if is_stored(database, new, root_paths):
        forget_path(database, new, root_paths)
    with database.write() as connection:
        lock_tables(connection, roots)
        record_action(connection, AuditAction.PHOTOS_MOVE, old, to=str(new), photos=count)
        location, location_bytes = path_text(str(new))
        values = {"location": location, "location_bytes": location_bytes}
        connection.execute(update(roots).where(roots.c.id == root.id).values(values))
    return count


def _refusal(
    connection: Connection, root: Root, new: Path, all_roots: list[Root], root_paths: RootPaths
) -> str | None:
    if root.name in root_paths:
        return f"TAGGER_ROOTS says where {root.name} is. Change it there"
    if not _is_absent(root, new):
        return "it is still there, or does not answer"
    if any(each.folder != new and new.is_relative_to(each.folder) for each in all_roots):
        return "that is inside another folder of the database. Tag it there, then forget the old photos"
    return None if _is_at(connection, root, new) else "its photos are not at the same paths there"


def _is_absent(root: Root, new: Path) -> bool:
    mount = check_mount(root.folder)  # first: resolving a path could hang
    if mount.state is MountState.FILLED:
        return root.folder != new and root.folder.resolve() == new
    return mount.state is MountState.MISSING and mount.error is None


def _is_at(connection: Connection, root: Root, folder: Path) -> bool:
    """Whether most of the root's photos are at the same paths in a folder."""
    moved = replace(root, folder=folder)
    found = [photo.is_at(moved) for photo in sample_photos(connection, root, root.folder)]
    return sum(found) * 2 > len(found)
