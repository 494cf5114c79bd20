"""Changes that are recorded until positions, visits and trips follow them: whether there are any."""

from sqlalchemy import Connection, exists, or_, select, true

from tagger.database.enums import JobState
from tagger.database.tables import jobs, ledgers, position_changes, visit_changes


def are_consequences_due(connection: Connection) -> bool:
    """Whether days, positions or trips do not follow all photos and verdicts yet."""
    are_trips_due = exists().where(ledgers.c.trip_positions_due == true())
    is_due = or_(exists(position_changes.c.id), exists(visit_changes.c.id), are_trips_due)
    return bool(connection.scalar(select(is_due)))


def are_left_due(connection: Connection) -> bool:
    """Whether they do not, and no open job will see to it."""
    is_open = exists().where(jobs.c.state.not_in((JobState.FINISHED, JobState.CANCELLED)))
    return are_consequences_due(connection) and not connection.scalar(select(is_open))
