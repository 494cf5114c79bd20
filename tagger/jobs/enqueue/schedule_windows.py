"""Cron expressions in a time zone, and runs that end at a time of day: these are paused, and the next run continues them.

Expressions say when they are due, and what they mean in words.
"""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal
from cronsim import CronSim, CronSimError
from sqlalchemy import Row, Select, and_, or_, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState
from tagger.database.statements import current_time
from tagger.database.tables import jobs, schedule_runs, schedules
from tagger.errors import JobFinished, ScheduleInvalid
from tagger.ledger.job_control import PAUSED_AT, change_job, pause_job, resume
from tagger.ledger.jobs import OPEN_STATES
from tagger.system.times_of_day import is_time_of_day


def next_due(cron: str, zone: str, after: datetime) -> datetime:
    """The first due time after `after`, in UTC.

    Raises:
        ScheduleInvalid: the expression or the time zone is invalid.
    """
    return _due(cron, zone, after, reverse=False)


def latest_due(cron: str, zone: str, until: datetime) -> datetime:
    """The last due time at or before `until`, in UTC.

    Raises:
        ScheduleInvalid: the expression or the time zone is invalid.
    """
    # The search excludes its start, and has a resolution of minutes.
    following = until.replace(second=0, microsecond=0).timestamp() + 60
    return _due(cron, zone, datetime.fromtimestamp(following, UTC), reverse=True)


def next_time_of_day(text: str, zone: str, after: datetime) -> datetime:
    """The first time after `after`, in UTC, at which clocks in the zone show `text`, such as `06:00`."""
    hour, minute = text.split(":")
    return next_due(f"{int(minute)} {int(hour)} * * *", zone, after)


def check_time_of_day(text: str | None) -> None:
    """Raises:
    ScheduleInvalid: it is no time of day like 06:00.
    """
    if text is not None and not is_time_of_day(text):
        raise ScheduleInvalid(reason=f"{text!r} is not a time of day; write hours and minutes, like 06:00")


def explain_cron(cron: str, until: str | None = None) -> str:
    """The expression in words, and the time of day at which its runs are paused."""
    text = CronSim(cron, datetime.now(UTC)).explain()
    return f"{text}, until {until}" if until else text


def local_zone() -> str:
    """The name of this machine's time zone."""
    return tzlocal.get_localzone_name() or "UTC"


def _due(cron: str, zone: str, start: datetime, *, reverse: bool) -> datetime:
    try:
        local = start.astimezone(ZoneInfo(zone))
        return next(CronSim(cron, local, reverse=reverse)).astimezone(UTC)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ScheduleInvalid(reason=f"there is no time zone {zone!r}; use one like Europe/Paris") from error
    except (CronSimError, StopIteration) as error:
        raise ScheduleInvalid(
            reason=f"{cron!r} is not a valid cron expression, or is never due ({error}). Write minute, hour, day, month and "
            "weekday: '0 3 * * *' is every day at three"
        ) from error


_IS_OF_RUN = or_(
    jobs.c.id == schedule_runs.c.job_id,
    and_(jobs.c.parent_id == schedule_runs.c.job_id, jobs.c.kind == JobKind.WRITE),
)
"""The job of a run, and the one that writes its tags."""


def pause_ended_runs(database: Database) -> list[int]:
    """Pause the jobs of runs whose time is over. Workers store their current batch. Returns the jobs.

    Raises:
        JobLocked: another process has locked a job for long.
    """
    with database.read() as connection:
        now = current_time(connection)
        rows = connection.execute(_open_jobs().where(schedule_runs.c.paused_at.is_(None))).all()
    ended = (
        row
        for row in rows
        if row.state != JobState.PAUSED and next_time_of_day(row.until, row.time_zone, row.started_at) <= now
    )
    return [row.id for row in ended if _pause(database, row)]


def resume_paused_runs(database: Database, schedule_id: int) -> None:
    """Resume the jobs of a schedule that were paused because their time was over.

    Raises:
        JobLocked: another process has locked a job for long.
    """
    query = _open_jobs().where(
        schedule_runs.c.schedule_id == schedule_id,
        schedule_runs.c.paused_at.is_not(None),
        jobs.c.state == JobState.PAUSED,
    )
    with database.read() as connection:
        paused = {row.id for row in connection.execute(query)}
    for job in sorted(paused):
        try:
            resume(database, job)
        except JobFinished:
            continue  # cancelled meanwhile


def _open_jobs() -> Select[Any]:
    """The open jobs of runs that have an end."""
    return (
        select(
            jobs.c.id,
            jobs.c.state,
            schedules.c.name,
            schedules.c.until,
            schedules.c.time_zone,
            schedule_runs.c.schedule_id,
            schedule_runs.c.due_at,
            schedule_runs.c.started_at,
        )
        .join(schedule_runs, schedule_runs.c.schedule_id == schedules.c.id)
        .join(jobs, _IS_OF_RUN)
        .where(schedules.c.until.is_not(None), jobs.c.state.in_(OPEN_STATES))
    )


def _pause(database: Database, row: Row[Any]) -> bool:
    """Pause one job, unless it has ended meanwhile."""
    note = f"{PAUSED_AT} {row.until} ({row.time_zone}); the next run of the schedule {row.name} continues it"
    run = (schedule_runs.c.schedule_id == row.schedule_id, schedule_runs.c.due_at == row.due_at)
    try:
        with change_job(database, row.id) as connection:
            pause_job(connection, row.id, note)
            connection.execute(update(schedule_runs).where(*run).values(paused_at=current_time(connection)))
    except JobFinished:
        return False
    return True
