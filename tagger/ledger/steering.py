"""What a person does with a job on its way: pause it, let it go on, end it.

Workers learn of it when they store their next batch: a pause gives their chunk back with that batch, a cancelled job
takes it no more (see chunks). Nothing is sent here (see dispatch).
"""

from typing import Any

from sqlalchemy import Connection, Row, select, update

from tagger.database import Database
from tagger.errors import JobNotFound, JobNotPausable, JobOver
from tagger.ledger.dispatch import make_due
from tagger.ledger.jobs import OPEN_STATES, cancel_job, finish_if_done
from tagger.tables import JobState, Runner, jobs

BY_REQUEST = "by request"


def pause(database: Database, job_id: int) -> None:
    """Let the job stand still; batches in hand are stored. A scan goes on recording photos.

    Raises:
        JobNotFound, JobOver: there is nothing to pause.
        JobNotPausable: a process runs the job by itself.
    """
    with database.write() as connection:
        job = _open_job(connection, job_id, "pause")
        if job.runner == Runner.LOCAL:
            raise JobNotPausable(job=job_id)
        # What it waited for is found out anew when it goes on.
        note = None if job.state == JobState.WAITING else job.note
        values = {"state": JobState.PAUSED, "note": note}
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))


def resume(database: Database, job_id: int) -> bool:
    """Let a paused job go on; its messages are due again. False where it was not paused.

    Raises:
        JobNotFound, JobOver: there is nothing to go on with.
    """
    with database.read() as connection:
        if _open_job(connection, job_id, "resume").state != JobState.PAUSED:
            return False
    with database.write() as connection:
        make_due(connection, job_id)
        job = _open_job(connection, job_id, "resume")
        paused = (jobs.c.id == job_id, jobs.c.state == JobState.PAUSED)
        connection.execute(update(jobs).where(*paused).values(state=_state_before(job)))
        finish_if_done(connection, job_id)
    return True


def cancel(database: Database, job_id: int) -> None:
    """End the job: what is not done is cancelled, what is done stays.

    Raises:
        JobNotFound, JobOver: there is nothing to end.
    """
    with database.read() as connection:
        _open_job(connection, job_id, "cancel")
    with database.write() as connection:
        cancel_job(connection, job_id, BY_REQUEST)


def _open_job(connection: Connection, job_id: int, wish: str) -> Row[Any]:
    """The job, locked until the transaction ends."""
    query = select(jobs).where(jobs.c.id == job_id)
    job = connection.execute(query.with_for_update(key_share=True)).one_or_none()
    if job is None:
        raise JobNotFound(job=job_id)
    if job.state not in OPEN_STATES:
        raise JobOver(job=job_id, state=job.state, wish=wish)
    return job


def _state_before(job: Row[Any]) -> JobState:
    if job.owner is not None:
        return JobState.SCANNING
    return JobState.RUNNING if job.started_at else JobState.QUEUED
