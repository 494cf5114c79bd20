"""Runs of schedules: one row per schedule and due time, so that two processes make one job.

Missed runs are caught up with one run. While the last job is open, no other starts; one that was paused
because its time was over goes on.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobState, Priority
from tagger.database.notes import Note, NoteCode, note_columns
from tagger.database.statements import current_time, insert_missing
from tagger.database.tables import jobs, schedule_runs, schedules
from tagger.errors import Conflict, ScheduleNotFound, TaggerError
from tagger.jobs.enqueue.backfill import Backfill, discard_empty_job
from tagger.jobs.enqueue.scan import ProgressCallback, Scan, select_paths
from tagger.jobs.enqueue.schedules import (
    backfill_from_schedule,
    follow_clock,
    follows_links,
    latest_due,
    next_due,
    resume_paused_runs,
    schedule_row,
)
from tagger.jobs.enqueue.submission import queue_job
from tagger.ledger.jobs import OPEN_STATES, NewJob, cancel_job, insert_job
from tagger.settings import Settings

log = logging.getLogger(__name__)


class RunInterrupted(Exception):
    """Raised by a progress callback when its process has to stop."""


@dataclass(frozen=True)
class ScheduleRun:
    """`job` is None if none was started; `note` says why, which job is continued, or what ended the run."""

    due_at: datetime
    started_at: datetime
    job: int | None
    state: str | None
    note: str | None
    note_message: Mapping[str, Any] | None = None


def list_runs(database: Database, name: str, limit: int) -> list[ScheduleRun]:
    """The latest runs, newest first.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with database.read() as connection:
        query = (
            select(schedule_runs, jobs.c.state)
            .outerjoin(jobs, jobs.c.id == schedule_runs.c.job_id)
            .where(schedule_runs.c.schedule_id == schedule_row(connection, name).id)
            .order_by(schedule_runs.c.due_at.desc())
            .limit(limit)
        )
        return [
            ScheduleRun(row.due_at, row.started_at, row.job_id, row.state, row.note, row.note_message)
            for row in connection.execute(query)
        ]


def run_due_schedules(
    database: Database, settings: Settings, on_progress: ProgressCallback = lambda _count: None
) -> Iterator[ScheduleRun]:
    """Start the runs that are due; if a schedule missed several, only the latest.

    If `on_progress` raises `RunInterrupted`, the run is undone, to be started again.
    """
    with database.read() as connection:
        now = current_time(connection)
        enabled = connection.execute(select(schedules).where(schedules.c.paused.is_(False))).all()
    for row in enabled:
        try:
            if row.next_due > now:
                follow_clock(database, row, now)
                continue
            # In the hour that clocks repeat, the search backwards misses the due time that is stored.
            due_at = max(row.next_due, latest_due(row.cron, row.time_zone, now))
            run = _run(database, settings, row, due_at, on_progress, f"schedule {row.name}")
        except RunInterrupted:
            return
        except TaggerError as error:
            log.error("Schedule %s could not run: %s", row.name, error)  # noqa: TRY400 - the message is enough
        else:
            if run is not None:
                yield run


def run_now(
    database: Database,
    settings: Settings,
    name: str,
    on_progress: ProgressCallback = lambda _count: None,
    on_recorded: Callable[[ScheduleRun], None] = lambda _run: None,
) -> ScheduleRun:
    """Start a run at once. `on_recorded` receives it before its photos are looked for.

    Raises:
        RunInterrupted: `on_progress` raised it.
        ScheduleNotFound: there is no such schedule.
        TaggerError: as `submit`.
    """
    with database.read() as connection:
        row, now = schedule_row(connection, name), current_time(connection)
    run = _run(database, settings, row, now, on_progress, on_recorded=on_recorded)
    if run is None:
        raise ScheduleNotFound(name=name, names="it has just been removed")
    return run


def _run(
    database: Database,
    settings: Settings,
    row: Row[Any],
    due: datetime,
    on_progress: ProgressCallback,
    author: str | None = None,
    on_recorded: Callable[[ScheduleRun], None] = lambda _run: None,
) -> ScheduleRun | None:
    """Start one run; None as for `_insert_run`. `author`: None if somebody asked for it."""
    resume_paused_runs(database, row.id)
    backfill = backfill_from_schedule(row.selection, row.options)
    new = replace(backfill.new_job(database, settings), priority=Priority(row.priority), author=author)
    run = _insert_run(database, row, due, new)
    if run is None or run.job is None or run.note is not None:
        return run
    on_recorded(replace(run, state=JobState.SCANNING))
    try:
        backfill.check(database, settings.roots)
        if not follows_links(row.options):
            _refuse_links(row.name, backfill)
        report = queue_job(backfill, Scan(database, run.job, new, settings.roots, on_progress))
        if discard_empty_job(database, run.job):
            note = report.problem_note() or Note(NoteCode.NOTHING_TO_DO)
            nothing = _set_note(database, row.id, due, note)
            return replace(run, job=None, **nothing)
    except RunInterrupted:
        _undo_run(database, row.id, due, run.job)
        raise
    except TaggerError as error:
        with database.write() as connection:
            cancel_job(connection, run.job, str(error))
        _set_note(database, row.id, due, str(error))
        raise
    return run


def _insert_run(database: Database, row: Row[Any], due: datetime, new: NewJob) -> ScheduleRun | None:
    """Record the run, its job and the next due time in one transaction.

    None if another process has started the run, or the schedule was removed.
    """
    with database.write() as connection:
        schedule = connection.execute(
            select(schedules).where(schedules.c.id == row.id).with_for_update()
        ).one_or_none()
        if schedule is None:
            return None
        now = current_time(connection)
        run = {"schedule_id": row.id, "due_at": due, "started_at": now}
        next_time = next_due(schedule.cron, schedule.time_zone, now)
        connection.execute(update(schedules).where(schedules.c.id == row.id).values(next_due=next_time))
        if connection.scalar(select(schedule_runs.c.due_at).where(*_is_run(row.id, due))) is not None:
            return None
        open_job = _open_job(connection, row.id)
        if open_job is not None:
            job, columns = None, note_columns(Note(NoteCode.RUN_UNFINISHED, {"job": str(open_job.id)}))
            if open_job.was_paused:
                job, columns = open_job.id, note_columns(f"continues job {open_job.id}")
            insert_missing(connection, schedule_runs, [run | {"job_id": job} | columns])
            return ScheduleRun(due, now, job, None, **columns)
        job_id = insert_job(connection, new, row.name)
        insert_missing(connection, schedule_runs, [run | {"job_id": job_id}])
        return ScheduleRun(due, now, job_id, None, None)


def _open_job(connection: Connection, schedule_id: int) -> Row[Any] | None:
    """A job of the schedule that has not finished, and whether the end of its run paused it."""
    was_paused = func.max(schedule_runs.c.paused_at).is_not(None).label("was_paused")
    query = (
        select(jobs.c.id, was_paused)
        .join(schedule_runs, schedule_runs.c.job_id == jobs.c.id)
        .where(schedule_runs.c.schedule_id == schedule_id, jobs.c.state.in_(OPEN_STATES))
        .group_by(jobs.c.id)
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def _refuse_links(name: str, backfill: Backfill) -> None:
    selection = select_paths(backfill.scan)
    resolved_elsewhere = selection.files or set(selection.folders) - set(backfill.scan)
    if resolved_elsewhere or any(folder.resolve() != folder for folder in backfill.query.under):
        text = f"A folder of the schedule {name} is now a link to another folder."
        raise Conflict(reason=f"{text} Remove the schedule, and add it again with the right folder.")


def _set_note(database: Database, schedule_id: int, due: datetime, note: Note | str) -> dict[str, Any]:
    """Returns the columns with the note."""
    columns = note_columns(note)
    with database.write() as connection:
        connection.execute(update(schedule_runs).where(*_is_run(schedule_id, due)).values(columns))
    return columns


def _undo_run(database: Database, schedule_id: int, due: datetime, job_id: int) -> None:
    """Make the run due again. What its scan recorded stays."""
    with database.write() as connection:
        cancel_job(connection, job_id, "its process was stopped; the schedule runs again")
        connection.execute(delete(schedule_runs).where(*_is_run(schedule_id, due)))
        connection.execute(update(schedules).where(schedules.c.id == schedule_id).values(next_due=due))


def _is_run(schedule_id: int, due: datetime) -> tuple[ColumnElement[bool], ...]:
    return schedule_runs.c.schedule_id == schedule_id, schedule_runs.c.due_at == due
