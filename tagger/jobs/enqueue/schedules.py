"""Schedules: backfills with a cron expression, stored in SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.statements import current_time
from tagger.database.tables import schedules
from tagger.errors import ScheduleExists, ScheduleNotFound
from tagger.jobs.enqueue.backfill import Backfill, backfill_from_options, backfill_options
from tagger.jobs.enqueue.schedule_windows import check_time_of_day, local_zone, next_due
from tagger.ledger.jobs import WRITE

_FOLLOWS_LINKS = "follows_links"
"""An option of schedules, stored if it is false: see `add_schedule`."""


@dataclass(frozen=True)
class Schedule:
    """`cron` is in the time zone `zone`. A time that is skipped when clocks go forward is due right afterwards."""

    name: str
    cron: str
    zone: str
    backfill: Backfill
    priority: Priority
    paused: bool
    next_due: datetime
    until: str | None
    """The time of day, in `zone`, at which a run is paused until the next one."""


def add_schedule(
    database: Database,
    name: str,
    cron: str,
    backfill: Backfill,
    priority: Priority,
    zone: str | None = None,
    *,
    until: str | None = None,
    follows_links: bool = True,
) -> Schedule:
    """Store a schedule. The default time zone is that of this machine.

    Without `follows_links`, the folders of the backfill are resolved, and a run is refused once one of them is a link.

    Raises:
        ScheduleInvalid: the cron expression, the time zone or `until` is invalid.
        ScheduleExists: there is a schedule of that name.
    """
    check_time_of_day(until)
    zone = zone or local_zone()
    options = backfill_options(backfill)
    with database.write() as connection:
        now = current_time(connection)
        values = {
            "name": name,
            "cron": cron,
            "time_zone": zone,
            "selection": backfill.scope,
            "options": options | ({} if follows_links else {_FOLLOWS_LINKS: False}),
            "priority": priority,
            "paused": False,
            "created_at": now,
            "next_due": next_due(cron, zone, now),
            "until": until,
        }
        if connection.scalar(select(schedules.c.id).where(schedules.c.name == name)) is not None:
            raise ScheduleExists(name=name)
        row = connection.execute(insert(schedules).values(values).returning(schedules)).one()
        write = options.get(WRITE)
        record_action(
            connection, AuditAction.SCHEDULE_ADD, name, cron=cron, photos=backfill.scope, write=write
        )
    return _schedule(row)


def list_schedules(database: Database) -> list[Schedule]:
    """All schedules, by name."""
    with database.read() as connection:
        return [_schedule(row) for row in connection.execute(select(schedules).order_by(schedules.c.name))]


def remove_schedule(database: Database, name: str) -> None:
    """Delete a schedule; its jobs stay.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with database.write() as connection:
        connection.execute(delete(schedules).where(schedules.c.id == schedule_row(connection, name).id))
        record_action(connection, AuditAction.SCHEDULE_REMOVE, name)


def pause_schedule(database: Database, name: str, *, paused: bool) -> None:
    """Pause or resume a schedule. Runs that were due while it was paused are skipped.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with database.write() as connection:
        row = schedule_row(connection, name)
        due = next_due(row.cron, row.time_zone, current_time(connection))
        connection.execute(
            update(schedules).where(schedules.c.id == row.id).values(paused=paused, next_due=due)
        )
        action = AuditAction.SCHEDULE_PAUSE if paused else AuditAction.SCHEDULE_RESUME
        record_action(connection, action, name)


def schedule_row(connection: Connection, name: str) -> Row[Any]:
    """The row of a schedule.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    row = connection.execute(select(schedules).where(schedules.c.name == name)).one_or_none()
    if row is None:
        names = connection.scalars(select(schedules.c.name).order_by(schedules.c.name)).all()
        raise ScheduleNotFound(name=name, names=", ".join(names) or "none")
    return row


def schedule_backfill(row: Row[Any]) -> Backfill:
    """The backfill of a schedule's row."""
    return backfill_from_schedule(row.selection, row.options)


def backfill_from_schedule(selection: str, options: Mapping[str, Any]) -> Backfill:
    """The backfill that a schedule stores as its selection and options.

    Raises:
        ValueError: no schedule stores such options.
    """
    if not isinstance(options.get(_FOLLOWS_LINKS, True), bool):
        raise ValueError(f"{_FOLLOWS_LINKS} is neither true nor false")  # noqa: TRY004
    others = {name: value for name, value in options.items() if name != _FOLLOWS_LINKS}
    return backfill_from_options(selection, others)


def follows_links(options: Mapping[str, Any]) -> bool:
    """Whether the folders of a schedule may be links, from its options."""
    return bool(options.get(_FOLLOWS_LINKS, True))


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        name=row.name,
        cron=row.cron,
        zone=row.time_zone,
        backfill=schedule_backfill(row),
        priority=Priority(row.priority),
        paused=row.paused,
        next_due=row.next_due,
        until=row.until,
    )
