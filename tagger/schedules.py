"""Backfills that run by the clock: kept in SQL, which also decides which are due.

Whoever ticks only asks. A run is one row per schedule and due time, so two that tick at once make one job; a run that
was missed, because nobody ticked, is made up for once; one that is still at work is not started again.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal
from cronsim import CronSim, CronSimError
from sqlalchemy import Connection, Row, delete, insert, select, update

from tagger.backfill import Backfill, OnFound, backfill_of, check, fill_backfill, new_job, options_of
from tagger.database import Database, insert_missing
from tagger.errors import ScheduleExists, ScheduleInvalid, ScheduleNotFound, TaggerError
from tagger.ledger.jobs import OPEN_STATES, NewJob, cancel_job, make_job
from tagger.scan import Selection
from tagger.settings import Settings
from tagger.tables import Priority, jobs, schedule_runs, schedules

log = logging.getLogger(__name__)


_FOLLOWS_LINKS = "follows_links"
"""Among a schedule's options, false: see `add_schedule`."""


class FolderBecameLink(TaggerError):
    """A folder of the schedule {name} is now a link that leads elsewhere. Remove the schedule, and add it again with the folder that is meant."""


class RunPutOff(Exception):
    """The process that makes a run has to stop."""


@dataclass(frozen=True)
class Schedule:
    """`cron` is meant in `zone`; where the clock is put forward, a time that is left out comes right after."""

    name: str
    cron: str
    zone: str
    backfill: Backfill
    priority: Priority
    paused: bool
    next_due: datetime


@dataclass(frozen=True)
class Run:
    """`job` is None where none was started; `note` says why, or what went wrong with it."""

    due_at: datetime
    started_at: datetime
    job: int | None
    state: str | None
    note: str | None


def add_schedule(
    database: Database,
    name: str,
    cron: str,
    backfill: Backfill,
    priority: Priority,
    zone: str | None = None,
    *,
    follows_links: bool = True,
) -> Schedule:
    """Keep a schedule; without a zone it is this machine's.

    Where it does not follow links, its folders are resolved already, and one that has become a link is refused at a run.

    Raises:
        ScheduleInvalid: the cron expression or the zone means nothing.
        ScheduleExists: there is one of that name.
    """
    where = zone or local_zone()
    now = datetime.now(UTC)
    values = {
        "name": name,
        "cron": cron,
        "zone": where,
        "what": backfill.what,
        "options": options_of(backfill) | ({} if follows_links else {_FOLLOWS_LINKS: False}),
        "priority": priority,
        "paused": False,
        "created_at": now,
        "next_due": next_due(cron, where, now),
    }
    with database.write() as connection:
        if connection.scalar(select(schedules.c.id).where(schedules.c.name == name)) is not None:
            raise ScheduleExists(name=name)
        row = connection.execute(insert(schedules).values(values).returning(schedules)).one()
    return _schedule(row)


def list_schedules(database: Database) -> list[Schedule]:
    """All of them, by name."""
    with database.read() as connection:
        return [_schedule(row) for row in connection.execute(select(schedules).order_by(schedules.c.name))]


def remove_schedule(database: Database, name: str) -> None:
    """Its jobs stay."""
    with database.write() as connection:
        connection.execute(delete(schedules).where(schedules.c.id == _named(connection, name).id))


def pause_schedule(database: Database, name: str, *, paused: bool) -> None:
    """Runs that fall due while it is paused are not made up for."""
    with database.write() as connection:
        row = _named(connection, name)
        due = next_due(row.cron, row.zone, datetime.now(UTC))
        connection.execute(
            update(schedules).where(schedules.c.id == row.id).values(paused=paused, next_due=due)
        )


def list_runs(database: Database, name: str, limit: int) -> list[Run]:
    """The latest runs, newest first."""
    with database.read() as connection:
        query = (
            select(schedule_runs, jobs.c.state)
            .outerjoin(jobs, jobs.c.id == schedule_runs.c.job_id)
            .where(schedule_runs.c.schedule_id == _named(connection, name).id)
            .order_by(schedule_runs.c.due_at.desc())
            .limit(limit)
        )
        return [
            Run(row.due_at, row.started_at, row.job_id, row.state, row.note)
            for row in connection.execute(query)
        ]


def run_now(
    database: Database, settings: Settings, name: str, on_found: OnFound = lambda _count: None
) -> Run:
    """Make a run at once, whether or not it is due. `on_found` as of `run_due`.

    Raises:
        RunPutOff: `on_found` raised it.
        ScheduleNotFound: there is none of that name.
        TaggerError: what a backfill raises.
    """
    with database.read() as connection:
        row = _named(connection, name)
    run = _run(database, settings, row, datetime.now(UTC), on_found)
    if run is None:
        raise ScheduleNotFound(name=name, names="it was removed at this moment")
    return run


def run_due(database: Database, settings: Settings, on_found: OnFound = lambda _count: None) -> Iterator[Run]:
    """Make the runs that are due; of several that were missed, the latest one.

    `on_found` is told how many photos there are so far; if it raises `RunPutOff`, the run is left to whoever ticks next.
    """
    now = datetime.now(UTC)
    with database.read() as connection:
        due = connection.execute(
            select(schedules).where(schedules.c.paused.is_(False), schedules.c.next_due <= now)
        ).all()
    for row in due:
        try:
            run = _run(database, settings, row, latest_due(row.cron, row.zone, now), on_found)
        except RunPutOff:
            return
        except TaggerError as error:
            log.error("the schedule %s could not be run: %s", row.name, error)  # noqa: TRY400 - the message says it all
        else:
            if run is not None:
                yield run


def next_due(cron: str, zone: str, after: datetime) -> datetime:
    """Raises:
    ScheduleInvalid: the expression or the zone means nothing.
    """
    return _due(cron, zone, after, reverse=False)


def latest_due(cron: str, zone: str, until: datetime) -> datetime:
    """The last time at or before `until` that the expression means."""
    # The search leaves out the time it starts from, and goes by minutes.
    following = until.replace(second=0, microsecond=0).timestamp() + 60
    return _due(cron, zone, datetime.fromtimestamp(following, UTC), reverse=True)


def explain(cron: str) -> str:
    """The expression in words."""
    return CronSim(cron, datetime.now(UTC)).explain()


def local_zone() -> str:
    """The name of this machine's time zone."""
    return tzlocal.get_localzone_name() or "UTC"


def _due(cron: str, zone: str, moment: datetime, *, reverse: bool) -> datetime:
    try:
        local = moment.astimezone(ZoneInfo(zone))
        return next(CronSim(cron, local, reverse=reverse)).astimezone(UTC)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ScheduleInvalid(reason=f"there is no time zone {zone!r}; name one like Europe/Paris") from error
    except (CronSimError, StopIteration) as error:
        raise ScheduleInvalid(
            reason=f"{cron!r} is no cron expression that ever comes true ({error}); "
            "it has minute, hour, day, month, weekday: '0 3 * * *' is every day at three"
        ) from error


def _run(
    database: Database,
    settings: Settings,
    row: Row[Any],
    due: datetime,
    on_found: OnFound = lambda _count: None,
) -> Run | None:
    """Make one run; None where another process has made it."""
    backfill = _backfill(row)
    new = new_job(database, settings, backfill, Priority(row.priority))
    job_id, note = _begin(database, row, due, new)
    if job_id is None:
        return None if note is None else Run(due, datetime.now(UTC), None, None, note)
    try:
        selection = check(database, backfill, settings.roots)
        if not row.options.get(_FOLLOWS_LINKS, True):
            _refuse_links(row.name, backfill, selection)
        fill_backfill(database, backfill, job_id, new.model_id, selection, settings.roots, on_found)
    except RunPutOff:
        _put_off(database, row.id, due, job_id)
        raise
    except TaggerError as error:
        _end_badly(database, row.id, due, job_id, str(error))
        raise
    return Run(due, datetime.now(UTC), job_id, None, None)


def _refuse_links(name: str, backfill: Backfill, selection: Selection) -> None:
    led_away = selection.files or set(selection.folders) - set(backfill.scan)
    if led_away or any(os.path.realpath(folder) != os.fspath(folder) for folder in backfill.under):
        raise FolderBecameLink(name=name)


def _begin(database: Database, row: Row[Any], due: datetime, new: NewJob) -> tuple[int | None, str | None]:
    """Take the run: its row, its job and when the next one is due, in one transaction. A job or a note, or neither."""
    with database.write() as connection:
        still = connection.execute(
            select(schedules).where(schedules.c.id == row.id).with_for_update()
        ).one_or_none()
        if still is None:
            return None, None
        now = datetime.now(UTC)
        taken = {"schedule_id": row.id, "due_at": due, "started_at": now}
        if _has_run(connection, row.id, due):
            _advance(connection, still, now)
            return None, None
        open_job = _open_job(connection, row.id)
        _advance(connection, still, now)
        if open_job is not None:
            note = f"job {open_job} of an earlier run is still at work"
            insert_missing(connection, schedule_runs, [taken | {"note": note}])
            return None, note
        job_id = make_job(connection, new)
        insert_missing(connection, schedule_runs, [taken | {"job_id": job_id}])
        return job_id, None


def _has_run(connection: Connection, schedule_id: int, due: datetime) -> bool:
    mine = (schedule_runs.c.schedule_id == schedule_id, schedule_runs.c.due_at == due)
    return connection.scalar(select(schedule_runs.c.due_at).where(*mine)) is not None


def _open_job(connection: Connection, schedule_id: int) -> int | None:
    """A job of this schedule that is not over."""
    query = (
        select(jobs.c.id)
        .join(schedule_runs, schedule_runs.c.job_id == jobs.c.id)
        .where(schedule_runs.c.schedule_id == schedule_id, jobs.c.state.in_(OPEN_STATES))
        .limit(1)
    )
    return connection.scalar(query)


def _advance(connection: Connection, row: Row[Any], now: datetime) -> None:
    due = next_due(row.cron, row.zone, now)
    connection.execute(update(schedules).where(schedules.c.id == row.id).values(next_due=due))


def _end_badly(database: Database, schedule_id: int, due: datetime, job_id: int, note: str) -> None:
    mine = (schedule_runs.c.schedule_id == schedule_id, schedule_runs.c.due_at == due)
    with database.write() as connection:
        cancel_job(connection, job_id, note)
        connection.execute(update(schedule_runs).where(*mine).values(note=note))


def _put_off(database: Database, schedule_id: int, due: datetime, job_id: int) -> None:
    """As if it had not begun, but for what the scan has recorded."""
    mine = (schedule_runs.c.schedule_id == schedule_id, schedule_runs.c.due_at == due)
    with database.write() as connection:
        cancel_job(connection, job_id, "its process was told to stop; the schedule runs again")
        connection.execute(delete(schedule_runs).where(*mine))
        connection.execute(update(schedules).where(schedules.c.id == schedule_id).values(next_due=due))


def _named(connection: Connection, name: str) -> Row[Any]:
    row = connection.execute(select(schedules).where(schedules.c.name == name)).one_or_none()
    if row is None:
        names = connection.scalars(select(schedules.c.name).order_by(schedules.c.name)).all()
        raise ScheduleNotFound(name=name, names=", ".join(names) or "none")
    return row


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        row.name,
        row.cron,
        row.zone,
        _backfill(row),
        Priority(row.priority),
        row.paused,
        row.next_due,
    )


def _backfill(row: Row[Any]) -> Backfill:
    return backfill_of(
        row.what, {name: given for name, given in row.options.items() if name != _FOLLOWS_LINKS}
    )
