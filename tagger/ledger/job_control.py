"""Pausing, resuming and cancelling a job.

Workers see the change when they store their next batch: a paused chunk is released with that batch, a cancelled job
refuses it (see chunks). Nothing is sent here (see dispatch).
"""

from typing import Any

from sqlalchemy import Connection, Row, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobState, Runner
from tagger.database.tables import jobs
from tagger.errors import JobFinished, JobNotFound, JobNotPausable
from tagger.ledger.dispatch import reset_messages
from tagger.ledger.jobs import OPEN_STATES, cancel_job, finish_if_done

CANCEL_NOTE = "by request"


def pause(database: Database, job_id: int) -> None:
    """Pause the job. Workers still store their current batch, and a scan still records photos.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
        JobNotPausable: a local process runs the job.
    """
    with database.write() as connection:
        job = _open_job(connection, job_id, "pause")
        if job.runner == Runner.LOCAL:
            raise JobNotPausable(job=job_id)
        # A suspended job finds out again, once it is resumed, whether its root is available.
        note = None if job.state == JobState.WAITING else job.note
        values = {"state": JobState.PAUSED, "note": note}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))


def resume(database: Database, job_id: int) -> bool:
    """Resume a paused job; its messages are due again. False if it was not paused.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
    """
    with database.read() as connection:
        if _open_job(connection, job_id, "resume").state != JobState.PAUSED:
            return False
    with database.write() as connection:
        reset_messages(connection, job_id)
        job = _open_job(connection, job_id, "resume")
        paused = (jobs.c.id == job_id, jobs.c.state == JobState.PAUSED)
        connection.execute(update(jobs).where(*paused).values(state=_state_before_pause(job)))
        finish_if_done(connection, job_id)
    return True


def cancel(database: Database, job_id: int) -> None:
    """Cancel the job: open items end as `cancelled`, stored outcomes stay.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
    """
    with database.read() as connection:
        _open_job(connection, job_id, "cancel")
    with database.write() as connection:
        cancel_job(connection, job_id, CANCEL_NOTE)


def _open_job(connection: Connection, job_id: int, action: str) -> Row[Any]:
    """The job, locked until the transaction ends."""
    query = select(jobs).where(jobs.c.id == job_id)
    job = connection.execute(query.with_for_update(key_share=True)).one_or_none()
    if job is None:
        raise JobNotFound(job=job_id)
    if job.state not in OPEN_STATES:
        raise JobFinished(job=job_id, state=job.state, action=action)
    return job


def _state_before_pause(job: Row[Any]) -> JobState:
    if job.owner is not None:
        return JobState.SCANNING
    return JobState.RUNNING if job.started_at else JobState.QUEUED
