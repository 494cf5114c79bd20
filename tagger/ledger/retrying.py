"""A job over the photos that fail now: which they are, how many of each kind, and recording them as items.

What failed once and was tagged since is not retried. The job pins a model like any other; that the photos fail is
what makes workers read them again, so it needs no `again`.
"""

from collections.abc import Callable

from sqlalchemy import func, select

from tagger.database import Database
from tagger.ledger.filling import fill_job
from tagger.ledger.jobs import WRITE, NewJob, create_job, finish_scan, kept_alive
from tagger.ledger.progress import Failing, failing_now
from tagger.tables import JobKind, Priority, Runner, jobs, photos


def count_failing(database: Database, failing: Failing) -> dict[str, int]:
    """How many photos fail now, by kind, the most frequent first."""
    count = func.count().label("how_many")
    query = select(photos.c.failure_kind, count).where(*failing_now(failing)).group_by(photos.c.failure_kind)
    with database.read() as connection:
        rows = connection.execute(query.order_by(count.desc(), photos.c.failure_kind)).all()
    return {row.failure_kind: row.how_many for row in rows}


def like_job(database: Database, job_id: int, priority: Priority) -> NewJob:
    """A retry that looks as the job did, the same model, top-k and threshold, and whose tags are written as its were to be."""
    with database.read() as connection:
        job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    return NewJob(
        model_id=job.model_id,
        top_k=job.top_k,
        threshold=job.threshold,
        runner=Runner.WORKERS,
        priority=priority,
        kind=JobKind.RETRY,
        options={name: value for name, value in job.options.items() if name == WRITE},
        parent_id=job_id,
    )


def record_retry(
    database: Database,
    new: NewJob,
    failing: Failing,
    on_found: Callable[[int], None] = lambda _count: None,
) -> int:
    """Record a job over the photos that fail now; returns its number. `on_found` is told how many there are so far.

    Raises:
        ScanEnded: the job was cancelled meanwhile.
    """
    job_id = create_job(database, new)
    with kept_alive(database, job_id):
        fill_job(database, job_id, failing_now(failing), on_found=on_found)
    finish_scan(database, job_id)
    return job_id
