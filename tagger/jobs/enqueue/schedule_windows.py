"""Runs that end at a time of day: their jobs are paused, and the next run of the schedule continues them."""

from typing import Any

from sqlalchemy import Row, Select, and_, or_, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState
from tagger.database.statements import current_time
from tagger.database.tables import jobs, schedule_runs, schedules
from tagger.errors import JobFinished
from tagger.jobs.enqueue.cron import next_time_of_day
from tagger.ledger.job_control import PAUSED_AT, change_job, pause_job, resume
from tagger.ledger.jobs import OPEN_STATES

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
