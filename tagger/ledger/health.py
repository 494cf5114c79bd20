"""What keeps jobs from progressing: open jobs without a process, chunks that fail repeatedly, unclaimed chunks."""

from dataclasses import dataclass

from sqlalchemy import func, select

from tagger.database.connection import Database
from tagger.database.statements import db_now
from tagger.database.tables import chunks, jobs
from tagger.ledger.dispatch import IS_WAITING, in_window, window_size
from tagger.ledger.jobs import OPEN_STATES

STUCK_CHUNKS_SHOWN = 5
STUCK_ATTEMPTS = 2
"""A released chunk counts no attempt, so a second attempt means that the first ended badly."""
OLD_JOB_S = 3600.0


@dataclass(frozen=True)
class OpenJob:
    """A job that is not over. `owner_lease_expired`: the process that scans or runs it has not renewed its lease."""

    job: int
    runner: str
    state: str
    note: str | None
    model_id: int
    age_s: float
    owner_lease_expired: bool


@dataclass(frozen=True)
class StuckChunk:
    """A chunk that was claimed several times and is not done."""

    job: int
    chunk: int
    first: int
    last: int
    attempts: int


@dataclass(frozen=True)
class WaitingChunks:
    """How many chunks no worker has claimed: those whose message was sent, and the others."""

    sent: int
    unsent: int

    @property
    def count(self) -> int:
        return self.sent + self.unsent


def open_jobs(database: Database) -> list[OpenJob]:
    """The jobs that are not over, oldest first."""
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
            row.owner_lease_until is not None and row.owner_lease_until < row.now,
        )
        for row in rows
    ]


def stuck_chunks(database: Database) -> list[StuckChunk]:
    """At most STUCK_CHUNKS_SHOWN chunks that are not done after STUCK_ATTEMPTS claims, most attempts first."""
    query = (
        select(chunks)
        .where(chunks.c.done.is_(False), chunks.c.attempts >= STUCK_ATTEMPTS)
        .order_by(chunks.c.attempts.desc(), chunks.c.job_id, chunks.c.chunk)
        .limit(STUCK_CHUNKS_SHOWN)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [StuckChunk(row.job_id, row.chunk, row.first, row.last, row.attempts) for row in rows]


def waiting_chunks(database: Database) -> WaitingChunks:
    """The number of chunks that wait for workers: their messages are in Redis, or should be."""
    count = select(func.count(), func.count(chunks.c.sent_at))
    query = count.select_from(jobs.join(chunks, chunks.c.job_id == jobs.c.id)).where(*IS_WAITING)
    with database.read() as connection:
        total, sent = connection.execute(query.where(in_window(window_size(connection)))).one()
    return WaitingChunks(sent=sent, unsent=total - sent)
