"""Pausing, resuming and cancelling a job.

Workers see the change when they store their next batch: a paused chunk is released with that batch, a cancelled job
refuses it (see chunks). Nothing is sent here (see dispatch).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, select, update

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import JobState, Runner
from tagger.database.statements import LockTimedOut, lock_timeout
from tagger.database.tables import jobs
from tagger.errors import JobFinished, JobLocked, JobNotFound, JobNotPausable
from tagger.ledger.jobs import OPEN_STATES, cancel_job, finish_if_done

CANCEL_NOTE = "by request"
PAUSED_AT = "paused at"
"""What the note of a pause begins with, which ends with the pause."""
LOCK_S = 30.0
"""How long a change waits for another process that has locked the job or its chunks, as on SQLite."""


def pause(database: Database, job_id: int) -> None:
    """Pause the job. Workers still store their current batch, and a scan still records photos.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
        JobNotPausable: a local process runs the job.
        JobLocked: another process has locked it for LOCK_S.
    """
    with change_job(database, job_id) as connection:
        pause_job(connection, job_id)


def pause_job(connection: Connection, job_id: int, note: str | None = None) -> None:
    """Pause the job in a transaction of `change_job`. `note` begins with PAUSED_AT; a note that the job has is kept.

    Raises:
        JobNotFound, JobFinished, JobNotPausable: as for `pause`.
    """
    job = _lock_open_job(connection, job_id, "pause")
    if job.runner == Runner.LOCAL:
        raise JobNotPausable(job=job_id)
    # A suspended job finds out again, once it is resumed, whether its root is available.
    former_note = None if job.state == JobState.WAITING else job.note
    values = {"state": JobState.PAUSED, "note": former_note or note}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    record_action(connection, AuditAction.JOB_PAUSE, job_id)


def resume(database: Database, job_id: int) -> bool:
    """Resume a paused job. False if it was not paused.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
        JobLocked: another process has locked it for LOCK_S.
    """
    with database.read() as connection:
        if _open_job(connection, job_id, "resume").state != JobState.PAUSED:
            return False
    with change_job(database, job_id) as connection:
        job = _lock_open_job(connection, job_id, "resume")
        paused = (jobs.c.id == job_id, jobs.c.state == JobState.PAUSED)
        connection.execute(
            update(jobs).where(*paused).values(state=_state_before_pause(job), note=_note_of_resumed(job))
        )
        finish_if_done(connection, job_id)
        record_action(connection, AuditAction.JOB_RESUME, job_id)
    return True


def cancel(database: Database, job_id: int) -> None:
    """Cancel the job: open items end as `cancelled`, stored outcomes stay.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
        JobLocked: another process has locked it for LOCK_S.
    """
    with database.read() as connection:
        _open_job(connection, job_id, "cancel")
    with change_job(database, job_id) as connection:
        cancel_job(connection, job_id, CANCEL_NOTE)
        record_action(connection, AuditAction.JOB_CANCEL, job_id)


@contextmanager
def change_job(database: Database, job_id: int) -> Iterator[Connection]:
    """A transaction that changes the job.

    Raises:
        JobLocked: another process has locked it for LOCK_S.
    """
    try:
        with database.write() as connection, lock_timeout(connection, LOCK_S):
            yield connection
    except LockTimedOut as error:
        raise JobLocked(job=job_id, seconds=LOCK_S) from error


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


def _note_of_resumed(job: Row[Any]) -> str | None:
    is_of_pause = job.note is not None and job.note.startswith(PAUSED_AT)
    return None if is_of_pause else job.note


def _state_before_pause(job: Row[Any]) -> JobState:
    if job.owner is not None:
        return JobState.SCANNING
    return JobState.RUNNING if job.started_at else JobState.QUEUED
