"""One look at jobs, workers and queues, as `tagger status` has it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tagger.database import Database
from tagger.errors import JobNotFound
from tagger.job_documents import job_document, worker_document
from tagger.ledger.progress import JobProgress, WorkerSeen, list_jobs, list_latest, list_workers
from tagger.settings import Settings
from tagger.tables import jobs

JOBS_SHOWN = 20
"""On a page, beside the open ones."""


@dataclass(frozen=True)
class Status:
    """The open jobs and the newest ones, newest first; `problem`: why nobody knows what waits in the queues."""

    jobs: Sequence[JobProgress]
    older: int
    workers: Sequence[WorkerSeen]
    queues: Mapping[str, int | None]
    problem: str | None

    @property
    def has_redis(self) -> bool:
        return all(depth is not None for depth in self.queues.values())

    def document(self) -> dict[str, Any]:
        """As `tagger status --json`, and how many older jobs are left out."""
        return {
            "jobs": [job_document(job) for job in self.jobs],
            "workers": [worker_document(worker) for worker in self.workers],
            "queues": dict(self.queues),
            "older": self.older,
            "problem": self.problem,
        }


def status_of(settings: Settings, database: Database, most: int) -> Status:
    """How things are now, with the `most` newest jobs."""
    from worker.broker import find_broker, queue_depths

    jobs, older = list_latest(database, most)
    queues, problem = queue_depths(find_broker(settings, start=False))
    return Status(jobs, older, list_workers(database), queues, problem)


def options_of(database: Database, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
    """What each of these jobs was asked to do."""
    query = select(jobs.c.id, jobs.c.options).where(jobs.c.id.in_(tuple(numbers)))
    with database.read() as connection:
        return {row.id: row.options for row in connection.execute(query)}


def one_job(database: Database, job: int) -> JobProgress:
    """Raises:
    JobNotFound: there is none of that number.
    """
    found = list_jobs(database, job)
    if not found:
        raise JobNotFound(job=job)
    return found[0]
