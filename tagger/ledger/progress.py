"""How far jobs are: numbers summed over their chunks, so that they are cheap and cannot drift."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Label,
    Row,
    Subquery,
    case,
    exists,
    func,
    or_,
    select,
    type_coerce,
)

from tagger.database import Database, db_now
from tagger.errors import FailureKind, JobNotFound
from tagger.ledger.jobs import OPEN_STATES
from tagger.ledger.windows import WORKER_SEEN_S, in_window, window_size
from tagger.tables import JobKind, JobState, Outcome, chunks, job_items, jobs, models, photos, workers

_WORKED = tuple(outcome for outcome in Outcome if outcome not in {Outcome.SKIPPED, Outcome.CANCELLED})
LEAST_WORKED_S = 1.0
"""A rate over less says nothing."""
LATELY_S = 60.0
"""A job's rate is that of the chunks claimed since, and of those in hand: what it was hours ago says nothing."""


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
    written: int
    unchanged: int
    refused: int
    skipped: int
    failed: int
    cancelled: int
    photos_per_second: float
    eta_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    write_job: int | None
    """The job that writes the tags of this one into metadata."""

    @property
    def done(self) -> int:
        """Photos with an outcome; cancelled ones have none."""
        return self.total - self.queued - self.running - self.cancelled

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


@dataclass(frozen=True)
class HeldChunk:
    """A chunk in hand: so many of its photos have been stored."""

    worker: str
    job: int
    chunk: int
    photos: int
    stored: int


def list_jobs(database: Database, job_id: int | None = None) -> list[JobProgress]:
    """All jobs, or one, newest first."""
    with database.read() as connection:
        return _list(connection, () if job_id is None else (jobs.c.id == job_id,))


def list_latest(database: Database, most: int) -> tuple[list[JobProgress], int]:
    """The open jobs and the `most` newest, newest first, and how many older ones there are: no need to sum up those."""
    newest = select(jobs.c.id).order_by(jobs.c.id.desc()).limit(most)
    with database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(jobs)) or 0
        found = _list(connection, (or_(jobs.c.state.in_(OPEN_STATES), jobs.c.id.in_(newest)),))
    return found, count - len(found)


def _list(connection: Connection, wanted: Sequence[ColumnElement[bool]]) -> list[JobProgress]:
    now = connection.execute(select(db_now())).scalar_one()  # asked once: SQLite works it out for each row
    sums, lately = _sums(wanted), _lately(wanted, now)
    query = (
        select(jobs, models.c.name.label("model"), _write_job(), sums, lately)
        .join(models, models.c.id == jobs.c.model_id)
        .outerjoin(sums, sums.c.job_id == jobs.c.id)
        .outerjoin(lately, lately.c.job_id == jobs.c.id)
        .where(*wanted)
        .order_by(jobs.c.id.desc())
    )
    return [_progress(row) for row in connection.execute(query)]


def _write_job() -> Label[int | None]:
    chained = jobs.alias("chained")
    query = select(func.max(chained.c.id)).where(
        chained.c.parent_id == jobs.c.id, chained.c.kind == JobKind.WRITE
    )
    return query.correlate(jobs).scalar_subquery().label("write_job")


def _sums(wanted: Sequence[ColumnElement[bool]]) -> Subquery:
    counts = [func.sum(chunks.c[outcome.value]).label(outcome.value) for outcome in Outcome]
    chosen = chunks.c.job_id.in_(select(jobs.c.id).where(*wanted))
    return select(chunks.c.job_id, *counts).where(chosen).group_by(chunks.c.job_id).subquery()


def _lately(wanted: Sequence[ColumnElement[bool]], now: float) -> Subquery:
    """Of open jobs: how many photos are in hand, how many were looked at lately, and for how long that was measured."""
    held = (chunks.c.done.is_(False)) & (chunks.c.lease_until > now)
    open_items = chunks.c.last - chunks.c.first + 1 - sum(chunks.c[outcome.value] for outcome in Outcome)
    looked = sum(chunks.c[outcome.value] for outcome in _WORKED)
    still_open = select(jobs.c.id).where(jobs.c.state.in_(OPEN_STATES), *wanted)
    return (
        select(
            chunks.c.job_id,
            func.sum(case((held, open_items), else_=0)).label("held"),
            func.sum(looked).label("lately"),
            (now - func.min(chunks.c.claimed_at)).label("lately_s"),
        )
        .where(chunks.c.job_id.in_(still_open), or_(chunks.c.claimed_at > now - LATELY_S, held))
        .group_by(chunks.c.job_id)
        .subquery()
    )


def check_job(database: Database, job_id: int) -> None:
    """Raises:
    JobNotFound: there is no such job.
    """
    with database.read() as connection:
        if connection.scalar(select(jobs.c.id).where(jobs.c.id == job_id)) is None:
            raise JobNotFound(job=job_id)


def list_workers(database: Database) -> list[WorkerSeen]:
    """The workers that were alive within the last WORKER_SEEN_S seconds."""
    ago = (db_now() - workers.c.seen_at).label("ago")
    query = select(workers, ago).where(ago < WORKER_SEEN_S).order_by(workers.c.name)
    with database.read() as connection:
        rows = connection.execute(query).all()
    held = Counter(each.worker for each in list_held(database))
    return [
        WorkerSeen(row.name, row.device, row.started_at, max(0.0, float(row.ago)), held[row.name])
        for row in rows
    ]


def list_held(database: Database) -> list[HeldChunk]:
    """The chunks in hand, by who holds them; those of `tagger tag` too, which are in no worker's."""
    stored = sum(chunks.c[outcome.value] for outcome in Outcome)
    query = (
        select(chunks.c.worker, chunks.c.job_id, chunks.c.chunk, chunks.c.first, chunks.c.last)
        .add_columns(type_coerce(stored, Integer).label("stored"))
        .select_from(jobs.join(chunks, chunks.c.job_id == jobs.c.id))
        .where(jobs.c.state.in_(OPEN_STATES), chunks.c.worker.is_not(None), chunks.c.lease_until > db_now())
        .order_by(chunks.c.worker, chunks.c.job_id, chunks.c.chunk)
    )
    with database.read() as connection:
        rows = connection.execute(query.where(in_window(window_size(connection)))).all()
    return [
        HeldChunk(row.worker, row.job_id, row.chunk, row.last - row.first + 1, row.stored) for row in rows
    ]


@dataclass(frozen=True)
class FailingPhoto:
    """A photo that fails now; `position` is where a list goes on after it."""

    position: int
    photo_id: int
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


def failing_photos(
    database: Database, failing: Failing | None = None, after: int = 0
) -> Iterator[FailingPhoto]:
    """Every photo that fails now, or those meant, in pages by key; only those after a position."""
    conditions = failing_now(failing or Failing())
    while True:
        query = select(photos).where(*conditions, photos.c.id > after)
        with database.read() as connection:
            rows = connection.execute(query.order_by(photos.c.id).limit(FAILURES_PAGE)).all()
        for row in rows:
            yield FailingPhoto(
                row.id,
                row.id,
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


def unwritten_photos(
    database: Database, job_id: int, kinds: Collection[str] = (), after: int = -1
) -> Iterator[FailingPhoto]:
    """Every photo that a job which writes metadata refused or failed, with the reason, in pages by key."""
    while True:
        query = (
            select(job_items, photos.c.root_id, photos.c.path, photos.c.path_bytes)
            .join(photos, photos.c.id == job_items.c.photo_id)
            .where(job_items.c.job_id == job_id, job_items.c.position > after)
            .where(job_items.c.outcome.in_((Outcome.REFUSED, Outcome.FAILED)))
        )
        if kinds:
            query = query.where(job_items.c.reason.in_(kinds))
        with database.read() as connection:
            rows = connection.execute(query.order_by(job_items.c.position).limit(FAILURES_PAGE)).all()
        for row in rows:
            yield FailingPhoto(
                row.position,
                row.photo_id,
                row.root_id,
                row.path,
                row.path_bytes,
                row.reason,
                row.error_text,
                row.attempts,
                job_id,
            )
        if len(rows) < FAILURES_PAGE:
            return
        after = rows[-1].position


def _progress(row: Row[Any]) -> JobProgress:
    numbers = {outcome.value: int(getattr(row, outcome.value) or 0) for outcome in Outcome}
    is_over = row.state in {JobState.FINISHED, JobState.CANCELLED}
    running = 0 if is_over else int(row.held or 0)
    queued = row.total - running - sum(numbers.values())
    looked = sum(numbers[outcome.value] for outcome in _WORKED)
    rate = _rate(looked, _seconds_worked(row)) if is_over else _rate(row.lately, row.lately_s)
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
        write_job=row.write_job,
        **numbers,
    )


def _rate(looked: int | None, worked_s: float | None) -> float:
    return (looked or 0) / worked_s if worked_s is not None and worked_s >= LEAST_WORKED_S else 0.0


def _seconds_worked(row: Row[Any]) -> float | None:
    if row.started_at is None or row.finished_at is None:
        return None
    worked: float = (row.finished_at - row.started_at).total_seconds()
    return worked
