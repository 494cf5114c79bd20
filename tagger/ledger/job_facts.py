"""Single facts of jobs: of what kind one is, with which options it was requested, whether any is open. See progress for counts."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import exists, func, select

from tagger.database.connection import Database
from tagger.database.enums import CLASSIFICATION_KINDS, METADATA_KINDS, JobKind
from tagger.database.tables import job_items, jobs
from tagger.ledger.jobs import CLAIMABLE, OPEN_STATES, TRACE, WRITE


def job_model_id(database: Database, job_id: int) -> int:
    """The id of the job's model."""
    with database.read() as connection:
        return int(connection.execute(select(jobs.c.model_id).where(jobs.c.id == job_id)).scalar_one())


def job_kind(database: Database, job_id: int) -> JobKind:
    with database.read() as connection:
        return JobKind(connection.execute(select(jobs.c.kind).where(jobs.c.id == job_id)).scalar_one())


def has_write_option(database: Database, job_id: int) -> bool:
    """Whether a metadata job follows this tagging job."""
    with database.read() as connection:
        job = connection.execute(select(jobs.c.kind, jobs.c.options).where(jobs.c.id == job_id)).one()
    return WRITE in job.options and job.kind not in METADATA_KINDS


def job_options(database: Database, job_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return the options with which these jobs were requested, by job."""
    query = select(jobs.c.id, jobs.c.options).where(jobs.c.id.in_(tuple(job_ids)))
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {row.id: {name: row.options[name] for name in row.options if name != TRACE} for row in rows}


def count_open_jobs(database: Database) -> int:
    """Return how many jobs are neither finished nor cancelled."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(jobs.c.state.in_(OPEN_STATES))) or 0


def is_any_claimable(database: Database) -> bool:
    """Whether a job runs, or would run if a worker had time for it."""
    with database.read() as connection:
        return bool(connection.scalar(select(exists().where(jobs.c.state.in_(CLAIMABLE)))))


def open_job_of_photo(database: Database, photo_id: int) -> int | None:
    """Return the newest open job that has yet to classify the photo."""
    query = (
        select(jobs.c.id)
        .join(job_items, job_items.c.job_id == jobs.c.id)
        .where(job_items.c.photo_id == photo_id, job_items.c.outcome.is_(None))
        .where(jobs.c.state.in_(OPEN_STATES), jobs.c.kind.in_(CLASSIFICATION_KINDS))
        .order_by(jobs.c.id.desc())
        .limit(1)
    )
    with database.read() as connection:
        return connection.scalar(query)
