"""Roots: the outermost folders that photos are kept relative to, so that a library can move or be away.

Knows nothing of what is in the photos. A root that is away (missing, or empty while photos are known in it)
is never taken for one whose photos were deleted.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    update,
)

from tagger.mounts import Mount, look_into
from tagger.photos import path_from_text, path_text
from tagger.tables import photos, roots

MOVE_PAGE = 1000

Places = Mapping[str, Path]
"""Where roots are on this machine, by name, where that differs from the database (settings.roots)."""


@dataclass(frozen=True)
class Root:
    """`folder` is where the root is on this machine."""

    id: int
    name: str
    folder: Path

    def path_of(self, path: str, path_bytes: bytes) -> Path:
        """The absolute path of a photo of this root, from its two columns."""
        return self.folder / path_from_text(path, path_bytes)


def list_roots(connection: Connection, places: Places) -> list[Root]:
    rows = connection.execute(select(roots).order_by(roots.c.id))
    return [
        Root(row.id, row.name, places.get(row.name) or Path(path_from_text(row.place, row.place_bytes)))
        for row in rows
    ]


def root_of(connection: Connection, path: Path, places: Places) -> Root | None:
    """The root that `path` (absolute, its folder resolved) is or lies in."""
    return next((root for root in list_roots(connection, places) if path.is_relative_to(root.folder)), None)


def ensure_root(connection: Connection, folder: Path, places: Places) -> Root:
    """The root that holds `folder`, made if there is none; roots inside a new one are absorbed by it.

    Call it in a write transaction. `folder` is absolute and resolved.
    """
    if connection.dialect.name == "postgresql":
        # Two processes that add a folder and its parent at once must not both find themselves outermost.
        connection.execute(text("LOCK TABLE roots IN SHARE ROW EXCLUSIVE MODE"))
    found = root_of(connection, folder, places)
    if found is not None:
        return found
    inner = [root for root in list_roots(connection, places) if root.folder.is_relative_to(folder)]
    place, place_bytes = path_text(str(folder))
    elsewhere = [name for name, where in places.items() if where != folder]
    name = _free_name(connection, path_text(folder.name)[0] or "root", elsewhere)
    values = {"name": name, "place": place, "place_bytes": place_bytes}
    root_id = connection.execute(insert(roots).values(values).returning(roots.c.id)).scalar_one()
    root = Root(root_id, name, folder)
    if inner and connection.dialect.name == "postgresql":
        # Those who write photos of an inner root hold it; once it is ours, nobody is amid writing them.
        ids = [child.id for child in inner]
        connection.execute(
            select(roots.c.id).where(roots.c.id.in_(ids)).order_by(roots.c.id).with_for_update()
        )
        connection.execute(text("LOCK TABLE photos IN EXCLUSIVE MODE"))
    for child in inner:
        _absorb(connection, root, child)
    return root


def hold_root(connection: Connection, folder: Path, places: Places) -> Root:
    """`ensure_root`, quick where the root is there; nobody absorbs or forgets it until the transaction ends."""
    while (root := root_of(connection, folder, places)) is not None:
        held = select(roots.c.id).where(roots.c.id == root.id).with_for_update(read=True, key_share=True)
        if connection.scalar(held) is not None:
            return root
    return ensure_root(connection, folder, places)


def is_away(connection: Connection, root: Root, folder: Path | None = None) -> bool:
    """Whether the disk or share of the root (of a folder in it) seems not to be mounted.

    It is missing, does not answer, or is empty though photos are known in it.
    """
    seen = look_into(folder or root.folder)
    if seen is not Mount.EMPTY:
        return seen is not Mount.FILLED
    known = exists().where(known_below(root, folder or root.folder), photos.c.gone_since.is_(None))
    return bool(connection.scalar(select(known)))


def known_below(root: Root, folder: Path) -> ColumnElement[bool]:
    """Photos of the root in a folder of it, as one range of the index."""
    prefix = text_below(root, folder)
    in_root = photos.c.root_id == root.id
    # Every path under "a/" sorts before "a0": "0" is the character after "/".
    return in_root & (photos.c.path >= prefix) & (photos.c.path < prefix[:-1] + "0") if prefix else in_root


def text_below(root: Root, folder: Path) -> str:
    """What the paths of a folder's photos begin with, as text: empty, or with a slash at its end."""
    return "" if folder == root.folder else path_text(str(folder.relative_to(root.folder)))[0] + "/"


def _free_name(connection: Connection, wanted: str, elsewhere: Collection[str]) -> str:
    taken = {*connection.scalars(select(roots.c.name)), *elsewhere}
    numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return wanted if wanted not in taken else next(name for name in numbered if name not in taken)


def _absorb(connection: Connection, root: Root, child: Root) -> None:
    """Move the child's photos under the root, paths prefixed, and drop the child."""
    prefix, prefix_bytes = path_text(str(child.folder.relative_to(root.folder)) + "/")
    if not prefix_bytes:
        connection.execute(
            update(photos)
            .where(photos.c.root_id == child.id, photos.c.path_bytes == b"")
            .values(root_id=root.id, path=literal(prefix).concat(photos.c.path))
        )
    _absorb_odd_names(connection, root, child, os.fsdecode(prefix_bytes) or prefix)
    connection.execute(roots.delete().where(roots.c.id == child.id))


def _absorb_odd_names(connection: Connection, root: Root, child: Root, prefix: str) -> None:
    # SQL cannot join bytes the same way on both databases; such names are rare enough to go one by one.
    move = update(photos).where(photos.c.id == bindparam("photo")).values(root_id=root.id)
    page = (
        select(photos.c.id, photos.c.path, photos.c.path_bytes)
        .where(photos.c.root_id == child.id)
        .limit(MOVE_PAGE)
    )
    while rows := connection.execute(page).all():
        moved = [(row.id, *path_text(prefix + path_from_text(row.path, row.path_bytes))) for row in rows]
        values = [{"photo": photo, "path": path, "path_bytes": raw} for photo, path, raw in moved]
        connection.execute(move.values(path=bindparam("path"), path_bytes=bindparam("path_bytes")), values)


def count_known(connection: Connection, root: Root, folder: Path | None = None) -> int:
    """How many photos are known in the root (in a folder of it) and not gone."""
    counted = select(func.count()).where(
        known_below(root, folder or root.folder), photos.c.gone_since.is_(None)
    )
    return connection.scalar(counted) or 0
