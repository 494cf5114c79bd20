"""What stands in the way of jobs: work that nobody does, workers that fell silent, chunks that end badly. Reads only."""

from dataclasses import dataclass

from sqlalchemy import func, select

from tagger.database import Database, db_now
from tagger.ledger.dispatch import WAITING
from tagger.ledger.jobs import OPEN_STATES
from tagger.ledger.windows import WORKER_SEEN_S, in_window, window_size
from tagger.tables import chunks, jobs, workers

SHOWN = 5
"""Of each kind; one is enough to see what is wrong."""
BAD_ATTEMPTS = 2
"""A chunk that is given back counts no attempt, so the second means that the first ended badly."""
OLD_S = 3600.0
LATELY_S = 3600.0


@dataclass(frozen=True)
class OpenJob:
    """A job that is not over."""

    job: int
    runner: str
    state: str
    note: str | None
    model_id: int
    age_s: float
    owner_is_late: bool
    """It is scanned or run by a process that has not shown for longer than its lease that it lives."""


@dataclass(frozen=True)
class SilentWorker:
    """A worker that has not said for longer than WORKER_SEEN_S that it is alive, and did not say that it ends."""

    name: str
    silent_s: float
    chunks: int


@dataclass(frozen=True)
class HardChunk:
    """A chunk that was claimed several times and is not done."""

    job: int
    chunk: int
    first: int
    last: int
    attempts: int


@dataclass(frozen=True)
class WaitingChunks:
    """Chunks for workers that nobody holds: those whose message was sent, and those whose message is still to be."""

    sent: int
    unsent: int

    @property
    def count(self) -> int:
        return self.sent + self.unsent


def open_jobs(database: Database) -> list[OpenJob]:
    """Jobs that are not over, oldest first."""
    query = select(jobs, db_now().label("now")).where(jobs.c.state.in_(OPEN_STATES)).order_by(jobs.c.id)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        OpenJob(
            row.id,
            row.runner,
            row.state,
            row.note,
            row.model_id,
            float(row.now) - row.created_at.timestamp(),
            row.owner_until is not None and row.owner_until < row.now,
        )
        for row in rows
    ]


def silent_workers(database: Database) -> list[SilentWorker]:
    """Workers that fell silent and hold chunks, or did so lately; the longest silent first."""
    held = (
        select(func.count())
        .where(chunks.c.worker == workers.c.name, chunks.c.done.is_(False))
        .scalar_subquery()
    )
    silent = (db_now() - workers.c.seen_at).label("silent")
    query = select(workers.c.name, silent, held.label("held")).where(silent > WORKER_SEEN_S)
    with database.read() as connection:
        rows = connection.execute(query.order_by(silent.desc())).all()
    found = [SilentWorker(row.name, float(row.silent), row.held) for row in rows]
    return [worker for worker in found if worker.chunks or worker.silent_s < LATELY_S]


def hard_chunks(database: Database) -> list[HardChunk]:
    """Chunks that are not done after BAD_ATTEMPTS claims, those tried most first; at most SHOWN."""
    query = (
        select(chunks)
        .where(chunks.c.done.is_(False), chunks.c.attempts >= BAD_ATTEMPTS)
        .order_by(chunks.c.attempts.desc(), chunks.c.job_id, chunks.c.chunk)
        .limit(SHOWN)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [HardChunk(row.job_id, row.chunk, row.first, row.last, row.attempts) for row in rows]


def waiting_chunks(database: Database) -> WaitingChunks:
    """How much waits for workers; these are the chunks whose messages Redis has or should have."""
    count = select(func.count(), func.count(chunks.c.sent_at))
    query = count.select_from(jobs.join(chunks, chunks.c.job_id == jobs.c.id)).where(*WAITING)
    with database.read() as connection:
        total, sent = connection.execute(query.where(in_window(window_size(connection)))).one()
    return WaitingChunks(sent=sent, unsent=total - sent)
