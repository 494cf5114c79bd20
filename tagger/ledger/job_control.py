"""Changes of jobs by others than their workers: pause, resume, cancel, recovery, removal of old items.

A paused chunk is released with its next batch, a cancelled job refuses it. This module wakes no worker.
"""

import logging
import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, func, or_, select, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState, Runner
from tagger.database.notes import Note, NoteCode, has_code, note_columns
from tagger.database.statements import LockTimedOut, db_now, lock_timeout
from tagger.database.tables import job_items, jobs
from tagger.errors import JobFinished, JobNotFound, JobNotPausable
from tagger.ledger.jobs import (
    LEASE_S,
    OPEN_STATES,
    PUT_BACK,
    cancel_job,
    done_jobs,
    end_local_job,
    finish_if_done,
    leave_unfilled,
    lock_open_chunks,
    process_space,
)
from tagger.ledger.progress import JobProgress, find_job


def pause(database: Database, job_id: int) -> JobProgress:
    """Pause the job. Workers still store their current batch, and a scan still records photos.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
        JobNotPausable: a local process runs the job.
    """
    with database.write() as connection:
        pause_job(connection, job_id)
    return find_job(database, job_id)


def pause_job(connection: Connection, job_id: int, note: Note | None = None) -> None:
    """Pause the job, in a transaction of the caller. A note that the job has is kept.

    Raises:
        JobNotFound, JobFinished, JobNotPausable: as for `pause`.
    """
    job = _lock_open_job(connection, job_id, "pause")
    if job.runner == Runner.LOCAL:
        raise JobNotPausable(job=job_id)
    values: dict[str, object] = {"state": JobState.PAUSED}
    # A suspended job finds out again, once it is resumed, whether its root is available.
    if job.note is None or job.state == JobState.WAITING:
        values |= note_columns(note)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    record_action(connection, AuditAction.JOB_PAUSE, job_id)


def resume(database: Database, job_id: int) -> bool:
    """Resume a paused job. False if it was not paused.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
    """
    with database.read() as connection:
        if _open_job(connection, job_id, "resume").state != JobState.PAUSED:
            return False
    with database.write() as connection:
        job = _lock_open_job(connection, job_id, "resume")
        paused = (jobs.c.id == job_id, jobs.c.state == JobState.PAUSED)
        values: dict[str, object] = {"state": _state_before_pause(job)}
        if has_code(job.note, job.note_message, NoteCode.PAUSED_UNTIL_NEXT_RUN):
            values |= note_columns(None)
        connection.execute(update(jobs).where(*paused).values(values))
        finish_if_done(connection, job_id)
        record_action(connection, AuditAction.JOB_RESUME, job_id)
    return True


def cancel(database: Database, job_id: int) -> JobProgress:
    """Cancel the job: open items end as `cancelled`, stored outcomes stay.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
    """
    with database.read() as connection:
        _open_job(connection, job_id, "cancel")
    with database.write() as connection:
        cancel_job(connection, job_id, "by request")
        record_action(connection, AuditAction.JOB_CANCEL, job_id)
    return find_job(database, job_id)


def _lock_open_job(connection: Connection, job_id: int, action: str) -> Row[Any]:
    """The job, locked until the transaction ends."""
    connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True))
    return _open_job(connection, job_id, action)


def _open_job(connection: Connection, job_id: int, action: str) -> Row[Any]:
    job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if job is None:
        raise JobNotFound(job=job_id)
    if job.state not in OPEN_STATES:
        raise JobFinished(job=job_id, state=job.state, action=action)
    return job


def _state_before_pause(job: Row[Any]) -> JobState:
    if job.owner is not None:
        return JobState.SCANNING
    return JobState.RUNNING if job.started_at else JobState.QUEUED


log = logging.getLogger(__name__)
# A process that holds a lock for longer hangs. For most commands, this is only a precaution.
RECOVERY_LOCK_S = 2.0


def recover_stale_jobs(database: Database) -> None:
    """Cancel stale local jobs, queue what interrupted scans have recorded, and finish jobs that are done.

    A job that another process has locked for RECOVERY_LOCK_S is left as it is, for the next call.
    """
    dead = _is_dead(database)
    with database.read() as connection:
        stale = connection.execute(
            select(jobs.c.id).where(jobs.c.state.in_(OPEN_STATES), jobs.c.owner.is_not(None), dead)
        ).all()
    for row in stale:
        _recover_unless_locked(database, row.id, partial(_recover, dead=dead))
    for job_id in done_jobs(database):
        _recover_unless_locked(database, job_id, finish_if_done)


# Items that one transaction removes.
PAGE = 5000


def count_old_items(database: Database, before: datetime) -> tuple[int, int]:
    """How many jobs that ended before a time have items, and how many items these are."""
    left = jobs.c.total - jobs.c.items_removed
    query = select(func.count(), func.coalesce(func.sum(left), 0)).where(_has_old_items(before))
    with database.read() as connection:
        row = connection.execute(query.select_from(jobs)).one()
    return row[0], int(row[1])


def remove_old_items(database: Database, before: datetime) -> int:
    """Remove a page of items of the oldest job that ended before this time; returns how many.

    Any number of processes may do so: each takes a job that no other works on just now.
    """
    oldest = select(jobs.c.id, jobs.c.total, jobs.c.items_removed).where(_has_old_items(before))
    oldest = oldest.order_by(jobs.c.id).limit(1)
    with database.read() as connection:  # most often there is none, and SQLite has one writer
        if connection.execute(oldest).first() is None:
            return 0
    return _remove_page(database, oldest.with_for_update(skip_locked=True))


def remove_items(database: Database, job_id: int) -> None:
    """Remove all items of a job that has ended, in pages."""
    job = select(jobs.c.id, jobs.c.total, jobs.c.items_removed).where(jobs.c.id == job_id)
    while _remove_page(database, job.where(jobs.c.items_removed < jobs.c.total).with_for_update()):
        pass


def _remove_page(database: Database, query: Select[Any]) -> int:
    """Remove the first items that are left of the job that is found; returns how many."""
    with database.write() as connection:
        job = connection.execute(query).one_or_none()
        if job is None:
            return 0
        end = min(job.total, job.items_removed + PAGE)
        page = job_items.c.position.between(job.items_removed, end - 1)
        connection.execute(delete(job_items).where(job_items.c.job_id == job.id, page))
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(items_removed=end))
    return int(end - job.items_removed)


def _recover_unless_locked(
    database: Database, job_id: int, recover: Callable[[Connection, int], object]
) -> None:
    try:
        with database.write() as connection, lock_timeout(connection, RECOVERY_LOCK_S):
            recover(connection, job_id)
    except LockTimedOut:
        log.warning("Job %d waits to be recovered: another process has locked it", job_id)


def _recover(connection: Connection, job_id: int, dead: ColumnElement[bool]) -> None:
    lock_open_chunks(connection, job_id)
    job = connection.execute(
        select(jobs.c.runner, jobs.c.kind, jobs.c.parent_id, jobs.c.state)
        .where(jobs.c.id == job_id, jobs.c.state.in_(OPEN_STATES), dead)
        .with_for_update(key_share=True)
    ).one_or_none()
    if job is None:
        return
    if job.runner == Runner.LOCAL:
        end_local_job(connection, job_id, f"its process ended; {PUT_BACK}")
    elif job.kind == JobKind.WRITE and job.parent_id is not None:
        # Its items are the photos of another job, so any process can add the rest.
        leave_unfilled(connection, job_id)
    else:
        state = JobState.PAUSED if job.state == JobState.PAUSED else JobState.QUEUED
        values: dict[str, object] = {"state": state, "owner": None, "owner_lease_until": None}
        values |= note_columns(Note(NoteCode.SCAN_INTERRUPTED))
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
        finish_if_done(connection, job_id)


def _is_dead(database: Database) -> ColumnElement[bool]:
    """The condition that a job's process has ended: by its number if that is known here, else by its lease.

    One that runs has time to renew an expired lease, but its number may also be another process's now.
    """
    with database.read() as connection:
        owners = connection.scalars(select(jobs.c.owner).where(jobs.c.owner.is_not(None))).all()
    here = process_space()
    known = [owner for owner in owners if owner.rpartition("/")[0] == here]
    alive = [owner for owner in known if _is_alive(owner)]
    ended = [owner for owner in known if owner not in alive]
    lease_until = jobs.c.owner_lease_until
    return or_(
        jobs.c.owner.in_(ended),
        and_(lease_until < db_now(), jobs.c.owner.not_in(alive)),
        lease_until < db_now() - LEASE_S,
    )


def _is_alive(owner: str) -> bool:
    try:
        os.kill(int(owner.rpartition("/")[2]), 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _has_old_items(before: datetime) -> ColumnElement[bool]:
    """Jobs that are over, and from which no open job takes its photos."""
    child = jobs.alias("child")
    is_needed = exists().where(child.c.parent_id == jobs.c.id, child.c.state.in_(OPEN_STATES))
    return and_(
        jobs.c.state.in_((JobState.FINISHED, JobState.CANCELLED)),
        jobs.c.finished_at < before,
        jobs.c.items_removed < jobs.c.total,
        ~is_needed,
    )
