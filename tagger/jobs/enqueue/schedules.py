"""Schedules: backfills with a cron expression in a time zone; and their runs.

A run is one row per schedule and due time, so that two processes make one job. Missed runs are caught up with
one run. While the last job is open, no other starts; one that was paused because its time was over goes on in
the next run.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import tzlocal
from cronsim import CronSim, CronSimError
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from tagger.database import (
    JobKind,
    JobState,
    Note,
    NoteCode,
    Priority,
    has_code,
    note_columns,
)
from tagger.database.connection import AuditAction, Database, record_action
from tagger.database.statements import current_time, insert_missing
from tagger.database.tables import jobs, schedule_runs, schedules
from tagger.errors import (
    Conflict,
    JobFinished,
    NotFound,
    ScheduleExists,
    ScheduleInvalid,
    ScheduleNotFound,
    TaggerError,
)
from tagger.jobs.enqueue.scan import ProgressCallback, Scan
from tagger.jobs.enqueue.selection import select_paths
from tagger.jobs.enqueue.submission import (
    Backfill,
    backfill_from_options,
    backfill_options,
    discard_empty_job,
    queue_job,
)
from tagger.ledger import OPEN_STATES, WRITE, NewJob, cancel_job, insert_job
from tagger.ledger.job_control import pause_job, resume
from tagger.settings import Settings
from tagger.texts import document_of
from tagger.texts.text_format import INVISIBLE, has_controls

# Lists of all minutes, hours, days, months and weekdays have 350.
_LONGEST_CRON = 500
_FIELDS_TEXT = (
    "Write minute, hour, day, month and weekday: '0 3 * * *' is every day at three"
)


def next_due(
    cron: str, zone: str, after: datetime, *, reverse: bool = False
) -> datetime:
    """The first due time after `after`, in UTC; with `reverse`, the last one before it.

    Raises:
        ScheduleInvalid: the expression or the time zone is invalid.
    """
    try:
        local = after.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleInvalid(
            reason=f"there is no time zone {zone!r}; use one like Europe/Paris"
        ) from error
    try:
        return next(CronSim(cron, local, reverse=reverse)).astimezone(UTC)
    except (CronSimError, ValueError, StopIteration) as error:
        raise ScheduleInvalid(
            reason=f"{cron!r} is not a valid cron expression, or is never due ({error}). {_FIELDS_TEXT}"
        ) from error


def latest_due(cron: str, zone: str, until: datetime) -> datetime:
    """The last due time at or before `until`, in UTC.

    Raises:
        ScheduleInvalid: the expression or the time zone is invalid.
    """
    # The search excludes its start, and has a resolution of minutes.
    following = until.replace(second=0, microsecond=0).timestamp() + 60
    return next_due(cron, zone, datetime.fromtimestamp(following, UTC), reverse=True)


def follow_clock(database: Database, schedule: Row[Any], now: datetime) -> None:
    """Bring the next due time forward if it is later than it can be: the clock was ahead when it was stored.

    Runs of that time count as due now, so that those at the same times by the right clock start.

    Raises:
        ScheduleInvalid: there is no such time zone any more.
    """
    due = next_due(schedule.cron, schedule.time_zone, now)
    # In the hour that clocks repeat, the search may find a time before `now`.
    if not now < due < schedule.next_due:
        return
    is_same = schedules.c.id == schedule.id, schedules.c.next_due == schedule.next_due
    is_ahead = schedule_runs.c.schedule_id == schedule.id, schedule_runs.c.due_at > now
    with database.write() as connection:
        connection.execute(update(schedules).where(*is_same).values(next_due=due))
        ahead = connection.scalars(
            select(schedule_runs.c.due_at).where(*is_ahead)
        ).all()
        for number, due_at in enumerate(sorted(ahead, reverse=True)):
            values = {"due_at": now - timedelta(microseconds=number), "started_at": now}
            is_run = *is_ahead, schedule_runs.c.due_at == due_at
            connection.execute(update(schedule_runs).where(*is_run).values(values))


def next_time_of_day(text: str, zone: str, after: datetime) -> datetime:
    """The first time after `after`, in UTC, at which clocks in the zone show `text`, such as `06:00`."""
    hour, minute = text.split(":")
    return next_due(f"{int(minute)} {int(hour)} * * *", zone, after)


def explain_cron(cron: str, until: str | None = None) -> str:
    text = CronSim(cron, datetime.now(UTC)).explain()
    return f"{text}, until {until}" if until else text


# The job of a run, and the one that writes its tags.
_IS_OF_RUN = or_(
    jobs.c.id == schedule_runs.c.job_id,
    and_(jobs.c.parent_id == schedule_runs.c.job_id, jobs.c.kind == JobKind.WRITE),
)


def pause_ended_runs(database: Database) -> list[int]:
    """Pause the jobs of runs whose time is over. Workers store their current batch. Returns the jobs."""
    with database.read() as connection:
        now = current_time(connection)
        rows = connection.execute(
            _open_jobs().where(schedule_runs.c.paused_at.is_(None))
        ).all()
    paused = []
    for row in rows:
        if row.state == JobState.PAUSED:
            continue
        if next_time_of_day(row.until, row.time_zone, row.started_at) > now:
            continue
        values = {"end": row.until, "zone": row.time_zone, "name": row.name}
        note = Note(NoteCode.PAUSED_UNTIL_NEXT_RUN, values)
        is_run = _is_run(row.schedule_id, row.due_at)
        with suppress(JobFinished), database.write() as connection:
            pause_job(connection, row.id, note)
            paused_at = {"paused_at": current_time(connection)}
            connection.execute(update(schedule_runs).where(*is_run).values(paused_at))
            paused.append(row.id)
    return paused


def _resume_paused_runs(database: Database, schedule_id: int) -> None:
    # Resume the jobs of a schedule that were paused because their time was over.
    query = _open_jobs().where(
        schedule_runs.c.schedule_id == schedule_id,
        schedule_runs.c.paused_at.is_not(None),
        jobs.c.state == JobState.PAUSED,
    )
    paused = {row.id for row in database.rows(query)}
    for job in sorted(paused):
        with suppress(JobFinished):  # cancelled meanwhile
            resume(database, job)


def _open_jobs() -> Select[Any]:
    # The open jobs of runs that have an end.
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


# An option of schedules, stored if it is false: see `add_schedule`.
_FOLLOWS_LINKS = "follows_links"


@dataclass(frozen=True)
class ScheduleDocument:
    """A scheduled backfill; `options` are the options that were set.

    `cron` is in the time zone `zone`. `until` is the time of day there at which a run is paused.
    """

    name: str
    cron: str
    zone: str
    what: str
    options: dict[str, Any]
    priority: str
    paused: bool
    next_due: datetime
    until: str | None

    @property
    def backfill(self) -> Backfill:
        return backfill_from_options(self.what, self.options)


LONGEST_NAME = 200
_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


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
) -> ScheduleDocument:
    """Store a schedule. The default time zone is that of this machine.

    Without `follows_links`, a run is refused once a folder of the backfill is a link.

    Raises:
        ScheduleInvalid: the name, the cron expression, the time zone or `until` is invalid.
        ScheduleExists: there is a schedule of that name.
    """
    visible = INVISIBLE.sub("", name).strip()
    if not visible or len(name) > LONGEST_NAME or has_controls(name):
        raise ScheduleInvalid(
            reason=f"name: it needs 1 to {LONGEST_NAME} characters in one line"
        )
    if until is not None and not _TIME_OF_DAY.fullmatch(until):
        raise ScheduleInvalid(
            reason=f"{until!r} is not a time of day; write hours and minutes, like 06:00"
        )
    if len(cron) > _LONGEST_CRON:
        reason = f"the cron expression has more than {_LONGEST_CRON} characters. {_FIELDS_TEXT}"
        raise ScheduleInvalid(reason=reason)
    if len(cron.split()) > 5:  # as some programs read it, with seconds first
        raise ScheduleInvalid(
            reason=f"{cron!r} has more than five fields. {_FIELDS_TEXT}"
        )
    zone = zone or local_zone()
    if zone is None:
        text = f"The time zone of this machine has no name (TZ is {os.environ.get('TZ')!r})"
        raise NotFound(reason=f"{text}; name one with --zone, such as Europe/Paris.")
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
        if (
            connection.scalar(select(schedules.c.id).where(schedules.c.name == name))
            is not None
        ):
            raise ScheduleExists(name=name)
        row = connection.execute(
            insert(schedules).values(values).returning(schedules)
        ).one()
        write = options.get(WRITE)
        record_action(
            connection,
            AuditAction.SCHEDULE_ADD,
            name,
            cron=cron,
            photos=backfill.scope,
            write=write,
        )
    return _schedule(row)


def list_schedules(database: Database) -> list[ScheduleDocument]:
    return [
        _schedule(row)
        for row in database.rows(select(schedules).order_by(schedules.c.name))
    ]


def remove_schedule(database: Database, name: str) -> None:
    """Delete a schedule; its jobs stay.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with database.write() as connection:
        connection.execute(
            delete(schedules).where(
                schedules.c.id == _schedule_row(connection, name).id
            )
        )
        record_action(connection, AuditAction.SCHEDULE_REMOVE, name)


def pause_schedule(database: Database, name: str, *, paused: bool) -> None:
    """Pause or resume a schedule. Runs that were due while it was paused are skipped.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with database.write() as connection:
        row = _schedule_row(connection, name)
        due = next_due(row.cron, row.time_zone, current_time(connection))
        connection.execute(
            update(schedules)
            .where(schedules.c.id == row.id)
            .values(paused=paused, next_due=due)
        )
        action = AuditAction.SCHEDULE_PAUSE if paused else AuditAction.SCHEDULE_RESUME
        record_action(connection, action, name)


def _schedule_row(connection: Connection, name: str) -> Row[Any]:
    # The row of a schedule.
    #
    # Raises:
    #     ScheduleNotFound: there is no such schedule.
    row = connection.execute(
        select(schedules).where(schedules.c.name == name)
    ).one_or_none()
    if row is None:
        names = connection.scalars(
            select(schedules.c.name).order_by(schedules.c.name)
        ).all()
        raise ScheduleNotFound(name=name, names=", ".join(names) or "none")
    return row


def _schedule(row: Row[Any]) -> ScheduleDocument:
    options = {
        name: value for name, value in row.options.items() if name != _FOLLOWS_LINKS
    }
    return document_of(
        ScheduleDocument, row, zone=row.time_zone, what=row.selection, options=options
    )


def local_zone() -> str | None:
    """The name of this machine's time zone; None if it has none, as if TZ is a rule like `EST5EDT,M3.2.0`."""
    if name := os.environ.get("TZ", "").lstrip(":"):
        return name if name in available_timezones() else None
    try:
        return tzlocal.get_localzone_name()
    except ZoneInfoNotFoundError:  # files of the system disagree
        return None


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

    @property
    def found_nothing(self) -> bool:
        """Whether no job was started as there was nothing to do, but to find photos gone."""
        codes = NoteCode.NOTHING_TO_DO, NoteCode.PHOTOS_GONE
        return self.job is None and any(
            has_code(self.note, self.note_message, code) for code in codes
        )


def list_runs(database: Database, name: str, limit: int) -> list[ScheduleRun]:
    """The latest runs, newest first.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with database.read() as connection:
        query = (
            select(schedule_runs, jobs.c.state)
            .outerjoin(jobs, jobs.c.id == schedule_runs.c.job_id)
            .where(schedule_runs.c.schedule_id == _schedule_row(connection, name).id)
            .order_by(schedule_runs.c.due_at.desc())
            .limit(limit)
        )
        return [
            document_of(ScheduleRun, row, job=row.job_id)
            for row in connection.execute(query)
        ]


def run_due_schedules(
    database: Database,
    settings: Settings,
    on_progress: ProgressCallback = lambda _count: None,
) -> Iterator[ScheduleRun]:
    """Start the runs that are due; if a schedule missed several, only the latest.

    If `on_progress` raises `RunInterrupted`, the run is undone, to be started again.
    """
    with database.read() as connection:
        now = current_time(connection)
        enabled = connection.execute(
            select(schedules).where(schedules.c.paused.is_(False))
        ).all()
    for row in enabled:
        try:
            if row.next_due > now:
                follow_clock(database, row, now)
                continue
            # In the hour that clocks repeat, the search backwards misses the due time that is stored.
            due_at = max(row.next_due, latest_due(row.cron, row.time_zone, now))
            run = _run(
                database, settings, row, due_at, on_progress, f"schedule {row.name}"
            )
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
        row, now = _schedule_row(connection, name), current_time(connection)
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
    # Start one run; None as for `_insert_run`. `author`: None if somebody asked for it.
    _resume_paused_runs(database, row.id)
    backfill = _schedule(row).backfill
    new = replace(
        backfill.new_job(database, settings),
        priority=Priority(row.priority),
        author=author,
    )
    run = _insert_run(database, row, due, new)
    if run is None or run.job is None or run.note is not None:
        return run
    on_recorded(replace(run, state=JobState.SCANNING))
    try:
        backfill.check(database, settings.roots)
        if row.options.get(_FOLLOWS_LINKS, True) is not True:
            selection = select_paths(backfill.scan)
            is_elsewhere = selection.files or set(selection.folders) - set(
                backfill.scan
            )
            if is_elsewhere or any(
                folder.resolve() != folder for folder in backfill.query.under
            ):
                text = f"A folder of the schedule {row.name} is now a link to another folder."
                remedy = "Remove the schedule, and add it again with the right folder."
                raise Conflict(reason=f"{text} {remedy}")
        report = queue_job(
            backfill, Scan(database, run.job, new, settings.roots, on_progress)
        )
        if discard_empty_job(database, run.job):
            note = report.note() or Note(NoteCode.NOTHING_TO_DO)
            nothing = _set_note(database, row.id, due, note)
            return replace(run, job=None, **nothing)
    except RunInterrupted:
        # The run is due again. What its scan recorded stays.
        with database.write() as connection:
            cancel_job(
                connection, run.job, "its process was stopped; the schedule runs again"
            )
            connection.execute(delete(schedule_runs).where(*_is_run(row.id, due)))
            is_schedule = schedules.c.id == row.id
            connection.execute(
                update(schedules).where(is_schedule).values(next_due=due)
            )
        raise
    except TaggerError as error:
        with database.write() as connection:
            cancel_job(connection, run.job, str(error))
        _set_note(database, row.id, due, str(error))
        raise
    return run


def _insert_run(
    database: Database, row: Row[Any], due: datetime, new: NewJob
) -> ScheduleRun | None:
    # Record the run, its job and the next due time in one transaction.
    #
    # None if another process has started the run, or the schedule was removed.
    with database.write() as connection:
        schedule = connection.execute(
            select(schedules).where(schedules.c.id == row.id).with_for_update()
        ).one_or_none()
        if schedule is None:
            return None
        now = current_time(connection)
        run = {"schedule_id": row.id, "due_at": due, "started_at": now}
        next_time = next_due(schedule.cron, schedule.time_zone, now)
        connection.execute(
            update(schedules).where(schedules.c.id == row.id).values(next_due=next_time)
        )
        known_run = select(schedule_runs.c.due_at).where(*_is_run(row.id, due))
        if connection.scalar(known_run) is not None:
            return None
        # A job of the schedule that has not finished, and whether the end of its run paused it.
        was_paused = (
            func.max(schedule_runs.c.paused_at).is_not(None).label("was_paused")
        )
        is_open = schedule_runs.c.schedule_id == row.id, jobs.c.state.in_(OPEN_STATES)
        open_jobs = (
            select(jobs.c.id, was_paused)
            .join(schedule_runs, schedule_runs.c.job_id == jobs.c.id)
            .where(*is_open)
            .group_by(jobs.c.id)
            .limit(1)
        )
        open_job = connection.execute(open_jobs).one_or_none()
        if open_job is not None:
            job = open_job.id if open_job.was_paused else None
            note = Note(NoteCode.RUN_UNFINISHED, {"job": str(open_job.id)})
            columns = note_columns(f"continues job {open_job.id}" if job else note)
            insert_missing(connection, schedule_runs, [run | {"job_id": job} | columns])
            return ScheduleRun(due, now, job, None, **columns)
        job_id = insert_job(connection, new, row.name)
        insert_missing(connection, schedule_runs, [run | {"job_id": job_id}])
        return ScheduleRun(due, now, job_id, None, None)


def _set_note(
    database: Database, schedule_id: int, due: datetime, note: Note | str
) -> dict[str, Any]:
    # Returns the columns with the note.
    columns = note_columns(note)
    database.execute(
        update(schedule_runs).where(*_is_run(schedule_id, due)).values(columns)
    )
    return columns


def _is_run(schedule_id: int, due: datetime) -> tuple[ColumnElement[bool], ...]:
    return schedule_runs.c.schedule_id == schedule_id, schedule_runs.c.due_at == due
