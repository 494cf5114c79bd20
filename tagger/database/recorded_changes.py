"""Changes that are recorded until positions, visits and trips follow them: whether there are any."""

from collections.abc import Callable

from sqlalchemy import Connection, exists, or_, select

from tagger.database.connection import Database
from tagger.database.enums import JobState
from tagger.database.tables import jobs, position_changes, trip_changes, visit_changes


def are_consequences_due(connection: Connection) -> bool:
    """Whether days, positions or trips do not follow all photos and verdicts yet."""
    changes = (position_changes, visit_changes, trip_changes)
    return bool(connection.scalar(select(or_(*(exists(each.c.id) for each in changes)))))


def follow_some(
    database: Database, is_due: Callable[[Connection], bool], follow: Callable[[Connection], object]
) -> bool:
    """Let some of what is due follow, in a short transaction. Returns whether anything was due."""
    with database.read() as connection:
        if not is_due(connection):
            return False
    with database.write() as connection:
        follow(connection)
    return True


def are_left_due(connection: Connection) -> bool:
    """Whether they do not, and no open job will see to it."""
    is_open = exists().where(jobs.c.state.not_in((JobState.FINISHED, JobState.CANCELLED)))
    return are_consequences_due(connection) and not connection.scalar(select(is_open))
