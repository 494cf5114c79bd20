"""Taking photos out of the database: the files stay, and so do people's verdicts on their pictures."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select

from tagger.database import Database
from tagger.errors import PhotoNotKnown
from tagger.photos import path_text
from tagger.roots import Places, Root, known_below, list_roots
from tagger.tables import contents, job_items, photos, roots, verdicts

PAGE = 1000


def forget_path(database: Database, path: Path, places: Places, *, dry_run: bool = False) -> int:
    """Forget one photo, all photos under a folder, or a root with all its photos; returns how many.

    Raises:
        PhotoNotKnown: nothing is known there.
    """
    root_ids, where = _known_there(database, _resolved(path), places)
    with database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(photos).where(where)) or 0
    if not count:
        raise PhotoNotKnown(path=path)
    if dry_run:
        return count
    while _forget_page(database, where):
        pass
    _drop_empty_roots(database, root_ids)
    return count


def is_known(database: Database, path: Path, places: Places) -> bool:
    """Whether it is a photo in the database, or a folder of some; it need not be there any more."""
    try:
        return forget_path(database, path, places, dry_run=True) > 0
    except PhotoNotKnown:
        return False


def _resolved(path: Path) -> Path:
    """As photos are kept: folders resolved, the photo's own name as it is. The path need not exist."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _known_there(database: Database, path: Path, places: Places) -> tuple[list[int], ColumnElement[bool]]:
    """The roots concerned, and which of their photos."""
    with database.read() as connection:
        known = list_roots(connection, places)
    # The folder may hold whole roots: they go with it.
    inside = [root.id for root in known if root.folder.is_relative_to(path)]
    if inside:
        return inside, photos.c.root_id.in_(inside)
    for root in known:
        if path.is_relative_to(root.folder):
            return [root.id], _in_root(root, path)
    raise PhotoNotKnown(path=path)


def _in_root(root: Root, path: Path) -> ColumnElement[bool]:
    name, name_bytes = path_text(str(path.relative_to(root.folder)))
    one = (photos.c.root_id == root.id) & (photos.c.path == name) & (photos.c.path_bytes == name_bytes)
    return one | known_below(root, path)


def _forget_page(database: Database, where: ColumnElement[bool]) -> int:
    page = select(photos.c.id, photos.c.content_id).where(where).limit(PAGE)
    with database.write() as connection:
        rows = connection.execute(page).all()
        photo_ids = [row.id for row in rows]
        content_ids = [row.content_id for row in rows if row.content_id is not None]
        _lock(connection, photo_ids, content_ids)
        connection.execute(delete(photos).where(photos.c.id.in_(photo_ids)))
        _drop_orphans(connection, content_ids)
    return len(rows)


def _lock(connection: Connection, photo_ids: Sequence[int], content_ids: Sequence[int]) -> None:
    """In the order in which those lock who store what they found: contents, items, photos."""
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


def _drop_orphans(connection: Connection, content_ids: Sequence[int]) -> None:
    """Pictures of which no photo is left, and on which nobody gave a verdict, are not kept either."""
    no_photo = ~exists().where(photos.c.content_id == contents.c.id)
    no_verdict = ~exists().where(verdicts.c.content_id == contents.c.id)
    connection.execute(delete(contents).where(contents.c.id.in_(content_ids), no_photo, no_verdict))


def _drop_empty_roots(database: Database, root_ids: Sequence[int]) -> None:
    with database.write() as connection:
        # Held first: a scan that adds photos at this moment either comes before, or makes the root anew.
        connection.execute(
            select(roots.c.id).where(roots.c.id.in_(root_ids)).order_by(roots.c.id).with_for_update()
        )
        no_photo = ~exists().where(photos.c.root_id == roots.c.id)
        connection.execute(delete(roots).where(roots.c.id.in_(root_ids), no_photo))
