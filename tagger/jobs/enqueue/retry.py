"""Retries: jobs over the photos that fail now.

A photo that failed once and was tagged since is not retried. A retry has a model like any other job; workers read its
photos again because they fail, so it does not set `reprocess`.
"""

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import false, func, not_, or_, select

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Priority, Runner
from tagger.database.tables import jobs, photos
from tagger.jobs.enqueue.inference_options import inference_options
from tagger.jobs.enqueue.scan import ProgressCallback
from tagger.ledger.failures import FailureFilter, failure_conditions
from tagger.ledger.items import fill_job
from tagger.ledger.jobs import WRITE, NewJob, create_job, finish_scan
from tagger.ledger.ownership import job_heartbeat
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.path_ranges import path_ranges
from tagger.settings import Settings


def count_failures(database: Database, failures: FailureFilter) -> dict[str, int]:
    """The number of matching photos that fail now, by kind, the most frequent first."""
    count = func.count().label("photo_count")
    conditions = failure_conditions(failures)
    query = select(photos.c.failure_kind, count).where(*conditions).group_by(photos.c.failure_kind)
    with database.read() as connection:
        rows = connection.execute(query.order_by(count.desc(), photos.c.failure_kind)).all()
    return {row.failure_kind: row.photo_count for row in rows}


def retry_all_job(database: Database, settings: Settings, priority: Priority) -> NewJob:
    """A retry of all failures, with the model and options of new jobs."""
    return inference_options(database, settings).new_job(JobKind.RETRY, priority)


def retry_job(database: Database, job_id: int, priority: Priority) -> NewJob:
    """A retry of the failures of one job, with its model, options and metadata options."""
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
    failures: FailureFilter,
    on_progress: ProgressCallback = lambda _count: None,
) -> int:
    """Record a job over the matching photos that fail now; returns its number.

    Raises:
        ScanInterrupted: the job was cancelled in the meantime.
    """
    job_id = create_job(database, new)
    with job_heartbeat(database, job_id):
        fill_job(database, job_id, failure_conditions(failures), on_progress=on_progress)
    finish_scan(database, job_id)
    return job_id


def has_failures_outside(
    database: Database, failures: FailureFilter, folders: Iterable[Path], root_paths: RootPaths
) -> bool:
    """Whether any of the matching photos is outside all of these folders."""
    with database.read() as connection:
        inside = [range_.condition for range_ in path_ranges(connection, tuple(folders), root_paths)]
        conditions = (*failure_conditions(failures), not_(or_(false(), *inside)))
        return connection.scalar(select(photos.c.id).where(*conditions).limit(1)) is not None
