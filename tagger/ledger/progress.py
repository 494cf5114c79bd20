"""How far jobs are: numbers summed over their chunks, so that they are cheap and cannot drift."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, case, exists, func, select

from tagger.database import Database, db_now
from tagger.errors import FailureKind, JobNotFound
from tagger.tables import JobState, Outcome, chunks, job_items, jobs, models, photos, workers

LEAST_WORKED_S = 1.0
"""A rate over less says nothing."""
WORKER_SEEN_S = 30.0
"""Workers say every 10 s that they are alive."""


@dataclass(frozen=True)
class JobProgress:
    """A job and its sums; the states of its items add up to `total`."""

    job: int
    parent: int | None
    kind: str
    state: JobState
    runner: str
    priority: str
    model: str
    note: str | None
    total: int
    queued: int
    running: int
    tagged: int
    unknown: int
    skipped: int
    failed: int
    cancelled: int
    photos_per_second: float
    eta_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def done(self) -> int:
        """Photos with an outcome; cancelled ones have none."""
        return self.tagged + self.unknown + self.skipped + self.failed

    @property
    def is_over(self) -> bool:
        return self.state in {JobState.FINISHED, JobState.CANCELLED}


@dataclass(frozen=True)
class WorkerSeen:
    name: str
    device: str
    started_at: datetime
    seen_seconds_ago: float
    chunks: int


def list_jobs(database: Database, job_id: int | None = None) -> list[JobProgress]:
    """All jobs, or one, newest first."""
    counts = [func.sum(chunks.c[outcome.value]).label(outcome.value) for outcome in Outcome]
    open_items = chunks.c.last - chunks.c.first + 1 - sum(chunks.c[outcome.value] for outcome in Outcome)
    held = (chunks.c.done.is_(False)) & (chunks.c.lease_until > db_now())
    sums = select(chunks.c.job_id, *counts, func.sum(case((held, open_items), else_=0)).label("held"))
    if job_id is not None:
        sums = sums.where(chunks.c.job_id == job_id)
    grouped = sums.group_by(chunks.c.job_id).subquery()
    query = (
        select(jobs, models.c.name.label("model"), grouped)
        .join(models, models.c.id == jobs.c.model_id)
        .outerjoin(grouped, grouped.c.job_id == jobs.c.id)
        .order_by(jobs.c.id.desc())
    )
    if job_id is not None:
        query = query.where(jobs.c.id == job_id)
    with database.read() as connection:
        return [_progress(row) for row in connection.execute(query)]


def check_job(database: Database, job_id: int) -> None:
    """Raises:
    JobNotFound: there is no such job.
    """
    with database.read() as connection:
        if connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id)) is None:
            raise JobNotFound(job=job_id)


def list_workers(database: Database) -> list[WorkerSeen]:
    """The workers that were alive within the last WORKER_SEEN_S seconds."""
    held = (
        select(func.count())
        .where(chunks.c.worker == workers.c.name, chunks.c.done.is_(False))
        .scalar_subquery()
    )
    ago = (db_now() - workers.c.seen_at).label("ago")
    query = select(workers, ago, held.label("held")).where(ago < WORKER_SEEN_S).order_by(workers.c.name)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        WorkerSeen(row.name, row.device, row.started_at, max(0.0, float(row.ago)), row.held) for row in rows
    ]


@dataclass(frozen=True)
class FailingPhoto:
    """A photo that fails now."""

    root_id: int
    path: str
    path_bytes: bytes
    kind: str
    text: str
    attempts: int
    job: int | None


@dataclass(frozen=True)
class Failing:
    """Which of the photos that fail now: those that were in a job, those of some kinds; by itself all."""

    job_id: int | None = None
    kinds: tuple[FailureKind, ...] = ()


FAILURES_PAGE = 1000


def failing_now(failing: Failing) -> list[ColumnElement[bool]]:
    """The conditions on `photos`; the index of failing photos answers them."""
    conditions: list[ColumnElement[bool]] = [photos.c.failure_kind.is_not(None)]
    if failing.kinds:
        conditions.append(photos.c.failure_kind.in_(failing.kinds))
    if failing.job_id is not None:
        in_job = exists().where(job_items.c.photo_id == photos.c.id, job_items.c.job_id == failing.job_id)
        conditions.append(in_job)
    return conditions


def failing_photos(database: Database, failing: Failing | None = None) -> Iterator[FailingPhoto]:
    """Every photo that fails now, or those meant, in pages by key."""
    conditions = failing_now(failing or Failing())
    after = 0
    while True:
        query = select(photos).where(*conditions, photos.c.id > after)
        with database.read() as connection:
            rows = connection.execute(query.order_by(photos.c.id).limit(FAILURES_PAGE)).all()
        for row in rows:
            yield FailingPhoto(
                row.root_id,
                row.path,
                row.path_bytes,
                row.failure_kind,
                row.failure_text,
                row.failure_attempts,
                row.failure_job_id,
            )
        if len(rows) < FAILURES_PAGE:
            return
        after = rows[-1].id


def _progress(row: Row[Any]) -> JobProgress:
    numbers = {outcome.value: int(getattr(row, outcome.value) or 0) for outcome in Outcome}
    is_over = row.state in {JobState.FINISHED, JobState.CANCELLED}
    running = 0 if is_over else int(row.held or 0)
    queued = row.total - running - sum(numbers.values())
    looked = numbers["tagged"] + numbers["unknown"] + numbers["failed"]
    worked_s = _seconds_worked(row) if row.started_at else 0.0
    rate = looked / worked_s if worked_s >= LEAST_WORKED_S else 0.0
    left = queued + running
    return JobProgress(
        job=row.id,
        parent=row.parent_id,
        kind=row.kind,
        state=JobState(row.state),
        runner=row.runner,
        priority=row.priority,
        model=row.model,
        note=row.note,
        total=row.total,
        queued=queued,
        running=running,
        photos_per_second=round(rate, 2),
        eta_seconds=0.0 if is_over or not left else round(left / rate, 1) if rate else None,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        **numbers,
    )


def _seconds_worked(row: Row[Any]) -> float:
    until: datetime = row.finished_at or datetime.now(UTC)
    began: datetime = row.started_at
    return (until - began).total_seconds()
