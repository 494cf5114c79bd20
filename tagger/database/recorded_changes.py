"""Changes that are recorded until positions, visits, trips and numbers of photos follow them."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Table, delete, exists, or_, select

from tagger.database.connection import Database
from tagger.database.enums import JobState
from tagger.database.statements import LockTimedOut
from tagger.database.tables import jobs, photos, position_changes, trip_changes, visit_changes

# Marks of photos and images that one transaction replaces by those of their days.
MOST_TAKEN = 10_000
# How long one process waits while others do the same: they go on with what it leaves.
LONGEST_WAIT_S = 60.0
_POLL_S = 0.1

_Result = TypeVar("_Result")


def are_consequences_due(connection: Connection) -> bool:
    """Whether days, positions or trips do not follow all photos and verdicts yet.

    Numbers are left out: readers count the photos of changed days themselves.
    """
    changes = (position_changes, visit_changes, trip_changes)
    return bool(connection.scalar(select(or_(*(exists(each.c.id) for each in changes)))))


def follow_some(
    database: Database,
    is_due: Callable[[Connection], bool],
    follow: Callable[[Connection], _Result | None],
) -> _Result | None:
    """Let some of what is due follow, in a short transaction.

    Returns what `follow` says; None: nothing is due.

    Raises:
        LockTimedOut: another process does it.
    """
    with database.read() as connection:
        if not is_due(connection):
            return None
    with database.write() as connection:
        return follow(connection)


def wait_for_others(
    step: Callable[[], _Result | None], on_wait: Callable[[], object] = lambda: None
) -> _Result | None:
    """Take a step as soon as no other process takes it; None: others have done so for LONGEST_WAIT_S."""
    end = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            return step()
        except LockTimedOut:
            if time.monotonic() >= end:
                return None
        on_wait()
        time.sleep(_POLL_S)


def take_marks(connection: Connection, table: Table, day: Column[Any]) -> Sequence[Row[Any]]:
    """Delete marks of photos and images, which name no day, and return them: at most MOST_TAKEN.

    Find their days afterwards: a change that is too late for that is marked again.
    """
    some = select(table.c.id).where(day.is_(None)).limit(MOST_TAKEN)
    return connection.execute(delete(table).where(table.c.id.in_(some)).returning(*table.columns)).all()


def are_left_due(connection: Connection) -> bool:
    """Whether they do not, and no open job will see to it.

    Marks of photos without a date or a camera change no day.
    """
    is_dated = photos.c.camera_id.is_not(None) & photos.c.taken_at.is_not(None)
    is_of_photo = photos.c.id == visit_changes.c.photo_id
    is_of_image = photos.c.content_id == trip_changes.c.content_id
    due = (
        exists(position_changes.c.id),
        exists().where(visit_changes.c.day.is_not(None)),
        exists().where(trip_changes.c.day.is_not(None)),
        exists().where(is_of_photo, is_dated),
        exists().where(is_of_image, is_dated),
    )
    is_open = exists().where(jobs.c.state.not_in((JobState.FINISHED, JobState.CANCELLED)))
    return bool(connection.scalar(select(or_(*due)))) and not connection.scalar(select(is_open))
