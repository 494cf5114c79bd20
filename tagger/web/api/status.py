"""Jobs, workers, queues and the last tick, as `tagger status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.errors import JobNotFound
from tagger.jobs.enqueue.documents import StatusDocument, status_document
from tagger.jobs.enqueue.ticks import LastTick, find_last_tick
from tagger.ledger.progress import JobProgress, list_jobs, list_recent_jobs
from tagger.ledger.workers import WorkerStatus, list_workers
from tagger.settings import Settings
from tagger.webhooks.messages import MessageCounts, count_messages

JOBS_SHOWN = 20
"""Recent jobs on a page, beside the open ones."""


@dataclass(frozen=True)
class OverviewDocument(StatusDocument):
    """The state of all jobs, of which `older` ones are left out. `problem` says why depths of queues are null."""

    older: int
    problem: str | None


@dataclass(frozen=True)
class Status:
    """Open and recent jobs, newest first. `problem` says why queue depths are missing."""

    jobs: Sequence[JobProgress]
    older: int
    workers: Sequence[WorkerStatus]
    queues: Mapping[str, int | None]
    last_tick: LastTick | None
    webhooks: Mapping[str, MessageCounts]
    problem: str | None
    now: datetime

    @property
    def has_redis(self) -> bool:
        return all(depth is not None for depth in self.queues.values())

    def document(self) -> OverviewDocument:
        """The document of `tagger status`, with the number of older jobs."""
        document = status_document(
            self.jobs, self.workers, self.queues, self.last_tick, self.webhooks, self.now
        )
        return OverviewDocument(**vars(document), older=self.older, problem=self.problem)


def read_status(settings: Settings, database: Database, limit: int) -> Status:
    """Return the current status, with the `limit` newest jobs."""
    from worker.broker import find_broker, queue_depths

    jobs, older = list_recent_jobs(database, limit)
    queues, problem = queue_depths(find_broker(settings, start=False))
    with database.read() as connection:
        now = current_time(connection)
    return Status(
        jobs,
        older,
        list_workers(database),
        queues,
        find_last_tick(database),
        count_messages(database),
        str(problem) if problem else None,
        now,
    )


def one_job(database: Database, job: int) -> JobProgress:
    """Raises:
    JobNotFound: no job has that number.
    """
    jobs = list_jobs(database, job)
    if not jobs:
        raise JobNotFound(job=job)
    return jobs[0]
