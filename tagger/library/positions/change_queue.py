"""The queue of photos and images whose evidence has changed since the positions were updated."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, func, select, text

from tagger.database.statements import among
from tagger.database.tables import cameras, photos, position_changes
from tagger.library.catalog.position_changes import record_matching_photos

MOST_SORTED = 1_000_000
"""Changes that are sorted at a time, in some 50 MB."""

_LOCK = 7_309_453
"""Key of PostgreSQL's advisory lock: one update at a time. On SQLite, there is one writer anyway."""
_ROWS = 10_000
"""Rows that are read at a time."""

Ids = npt.NDArray[np.int64]
Moment = tuple[int | None, datetime | None]
"""A camera's id and its local time; None: unknown."""


class Change(NamedTuple):
    """A change of a photo, with its camera and time of now, and of before."""

    photo_id: int
    now: Moment
    before: Moment


def has_changes(connection: Connection) -> bool:
    return connection.execute(select(position_changes.c.id).limit(1)).first() is not None


def expand_images(connection: Connection, limit: int, after: int = 0) -> int | None:
    """Replace changes of at most `limit` images by those of their photos: the first with ids above `after`.

    Returns the last of their ids, from where the next call continues: it need not pass what was replaced. None: there were none.
    """
    lock_positions(connection)
    is_next = position_changes.c.photo_id.is_(None) & (position_changes.c.id > after)
    of_images = select(position_changes.c.id).where(is_next).order_by(position_changes.c.id).limit(limit)
    taken = delete(position_changes).where(position_changes.c.id.in_(of_images))
    columns = (position_changes.c.id, position_changes.c.content_id)
    rows = connection.execute(taken.returning(*columns)).all()
    if not rows:
        return None
    images = {row.content_id for row in rows}
    record_matching_photos(connection, among(photos.c.content_id, images))
    return int(max(row.id for row in rows))


def changes_in_order(connection: Connection, limit: int = MOST_SORTED) -> Ids:
    """The ids of changes by camera and time, so that photos that are read together are near each other. Companions count as one camera."""
    query = (
        select(position_changes.c.id)
        .outerjoin(photos, photos.c.id == position_changes.c.photo_id)
        .outerjoin(cameras, cameras.c.id == photos.c.camera_id)
        .where(position_changes.c.photo_id.is_not(None))
        .order_by(func.coalesce(cameras.c.companions_id, photos.c.camera_id), photos.c.taken_at)
        .limit(limit)
        .execution_options(yield_per=_ROWS)
    )
    return np.fromiter(connection.scalars(query), np.int64)


def take_changes(connection: Connection, ids: Sequence[int]) -> list[Change]:
    """Take changes out of the queue. Those that another process has taken meanwhile are left out.

    What is read afterwards is of now: evidence that changes later is recorded again.
    """
    lock_positions(connection)
    columns = (position_changes.c.photo_id, position_changes.c.camera_id, position_changes.c.taken_at)
    taken = delete(position_changes).where(among(position_changes.c.id, ids)).returning(*columns)
    rows = connection.execute(taken).all()
    is_changed = among(photos.c.id, {row.photo_id for row in rows})
    query = select(photos.c.id, photos.c.camera_id, photos.c.taken_at).where(is_changed)
    now = {photo_id: (camera_id, taken_at) for photo_id, camera_id, taken_at in connection.execute(query)}
    return [
        Change(photo_id, now.get(photo_id, (None, None)), (camera_id, taken_at))
        for photo_id, camera_id, taken_at in rows
    ]


def lock_positions(connection: Connection) -> None:
    """Let other updates of positions wait until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
