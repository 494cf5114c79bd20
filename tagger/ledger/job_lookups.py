"""What the pages of jobs read from the ledger beside progress: options, failures, open jobs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select

from tagger.database.connection import Database
from tagger.database.tables import METADATA_KINDS, JobState, Outcome, job_items, jobs, photos
from tagger.ledger.failures import FailureFilter, failure_conditions
from tagger.ledger.jobs import OPEN_STATES


def count_open_jobs(database: Database) -> int:
    """Return how many jobs are neither finished nor cancelled."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(jobs.c.state.in_(OPEN_STATES))) or 0


def job_options(database: Database, job_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return the options of these jobs, by job."""
    query = select(jobs.c.id, jobs.c.options).where(jobs.c.id.in_(tuple(job_ids)))
    with database.read() as connection:
        return {row.id: row.options for row in connection.execute(query)}


@dataclass(frozen=True)
class FailedPhoto:
    """A photo of a job that fails now, and why."""

    id: int
    path: str
    kind: str
    text: str
    attempts: int


def failed_photos(
    database: Database, job: int, limit: int, after: int, *, is_over: bool
) -> list[FailedPhoto]:
    """Return photos of a job that fail now, with numbers above `after`; of an open job only those it has processed."""
    conditions = [*failure_conditions(FailureFilter(job)), photos.c.id > after]
    if not is_over:
        conditions.append(~_is_pending(job))
    columns = (
        photos.c.id,
        photos.c.path,
        photos.c.failure_kind,
        photos.c.failure_text,
        photos.c.failure_attempts,
    )
    query = select(*columns).where(*conditions).order_by(photos.c.id).limit(limit)
    with database.read() as connection:
        return [FailedPhoto(*row) for row in connection.execute(query)]


def pending_failures(database: Database, job: int) -> tuple[int, int | None]:
    """Count the photos that fail since earlier jobs and that this job has not processed.

    Returns the count and the earlier job; None for the job if there are several.
    """
    since = photos.c.failure_job_id
    query = select(func.count(), func.min(since), func.max(since))
    with database.read() as connection:
        row = connection.execute(query.where(*failure_conditions(FailureFilter()), _is_pending(job))).one()
    return row[0], row[1] if row[1] == row[2] else None


def open_job_of_photo(database: Database, photo_id: int) -> int | None:
    """Return the newest open job that has yet to classify the photo."""
    query = (
        select(jobs.c.id)
        .join(job_items, job_items.c.job_id == jobs.c.id)
        .where(job_items.c.photo_id == photo_id, job_items.c.outcome.is_(None))
        .where(
            jobs.c.state.not_in((JobState.CANCELLED, JobState.FINISHED)), jobs.c.kind.not_in(METADATA_KINDS)
        )
        .order_by(jobs.c.id.desc())
        .limit(1)
    )
    with database.read() as connection:
        return connection.scalar(query)


def _is_pending(job: int) -> ColumnElement[bool]:
    """The job has no outcome for the photo, or was cancelled before it."""
    return exists().where(
        job_items.c.photo_id == photos.c.id,
        job_items.c.job_id == job,
        func.coalesce(job_items.c.outcome, Outcome.CANCELLED) == Outcome.CANCELLED,
    )
