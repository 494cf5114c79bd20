"""The ticks of beat, by the database's clock: recorded by the worker that executes them, shown where schedules exist."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select, update

from tagger.database.connection import Database
from tagger.database.statements import db_now
from tagger.database.tables import ledgers, schedules

LATE_TICK_S = 180.0
"""Beat sends a tick every 20 s, and a worker takes it between two chunks."""


@dataclass(frozen=True)
class LastTick:
    """The last tick that a worker executed; None before the first one. `is_late`: no tick came for LATE_TICK_S."""

    at: datetime | None
    seconds_ago: float | None
    is_late: bool


def record_tick(database: Database) -> None:
    """Record that a worker executes a tick now."""
    with database.write() as connection:
        connection.execute(update(ledgers).values(last_tick_at=db_now()))


def find_last_tick(database: Database) -> LastTick | None:
    """The last tick; None if no schedule is enabled, as ticks then have nothing to start."""
    last_tick_at = select(ledgers.c.last_tick_at).scalar_subquery()
    query = select(
        db_now().label("now"), last_tick_at.label("tick"), func.min(schedules.c.created_at).label("added")
    ).where(schedules.c.paused.is_(False))
    with database.read() as connection:
        row = connection.execute(query).one()
    if row.added is None:
        return None
    if row.tick is None:
        return LastTick(None, None, row.now - row.added.timestamp() > LATE_TICK_S)
    seconds_ago = max(0.0, row.now - row.tick)
    return LastTick(datetime.fromtimestamp(row.tick, UTC), seconds_ago, seconds_ago > LATE_TICK_S)
