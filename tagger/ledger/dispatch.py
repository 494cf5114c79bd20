"""What has to be sent to the workers, and what of it got lost on the way.

A job has a window of messages in Redis, so that jobs of one priority take turns (see windows). Redis may lose messages;
the ledger knows which chunks wait. Sending one twice is harmless: a chunk is claimed once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from tagger.database import Database, db_now
from tagger.ledger.chunks import ChunkName
from tagger.ledger.jobs import CLAIMABLE
from tagger.ledger.windows import in_window, window_size
from tagger.tables import JobState, Priority, Runner, chunks, job_items, jobs, photos

SEND_PAGE = 1000
SENT_LONG_AGO_S = 15.0
"""A message younger than this may still be on its way."""


@dataclass(frozen=True)
class WaitingChunk:
    """A chunk whose message is to be sent."""

    name: ChunkName
    priority: Priority


def unsent(database: Database, job_id: int | None = None) -> list[WaitingChunk]:
    """The chunks whose message has to be sent now, at most SEND_PAGE: urgent jobs first, those of one priority by turns."""
    turn = func.row_number().over(partition_by=chunks.c.job_id, order_by=chunks.c.chunk)
    query = (
        select(chunks.c.job_id, chunks.c.chunk, jobs.c.priority)
        .select_from(jobs.join(chunks, chunks.c.job_id == jobs.c.id))
        .where(*WAITING, chunks.c.sent_at.is_(None))
        .order_by(jobs.c.priority.desc(), turn, chunks.c.job_id)
        .limit(SEND_PAGE)
    )
    if job_id is not None:
        query = query.where(jobs.c.id == job_id)
    with database.read() as connection:
        rows = connection.execute(query.where(in_window(window_size(connection)))).all()
    return [WaitingChunk(ChunkName(row.job_id, row.chunk), Priority(row.priority)) for row in rows]


def mark_sent(database: Database, sent: Sequence[WaitingChunk]) -> None:
    """Remember that the messages are in Redis."""
    statement = update(chunks).where(
        chunks.c.job_id == bindparam("job"), chunks.c.chunk == bindparam("number"), chunks.c.sent_at.is_(None)
    )
    with database.write() as connection:
        connection.execute(
            statement.values(sent_at=db_now()),
            [{"job": waiting.name.job_id, "number": waiting.name.chunk} for waiting in sent],
        )


def return_expired(database: Database) -> int:
    """Take chunks from workers whose lease has ended; they are sent again. Returns how many."""
    with database.write() as connection:
        returned = connection.execute(
            update(chunks)
            .where(chunks.c.done.is_(False), chunks.c.lease_until < db_now())
            .values(token=None, lease_until=None, worker=None, sent_at=None)
        )
    return returned.rowcount


def send_again(database: Database, in_redis: int) -> int:
    """Mark as unsent what Redis lost: more chunks wait to be claimed than Redis has messages. Returns how many.

    Queues are first in, first out, so the ones sent longest ago are the lost ones; a wrong guess costs a message.
    """
    sent: tuple[ColumnElement[bool], ...] = (*WAITING, chunks.c.sent_at < db_now() - SENT_LONG_AGO_S)
    joined = jobs.join(chunks, chunks.c.job_id == jobs.c.id)
    with database.read() as connection:
        sent = (*sent, in_window(window_size(connection)))
        waiting = connection.scalar(select(func.count()).select_from(joined).where(*sent)) or 0
        if waiting <= in_redis:
            return 0
        oldest = (
            select(chunks.c.job_id, chunks.c.chunk)
            .select_from(joined)
            .where(*sent)
            .order_by(chunks.c.sent_at, chunks.c.job_id, chunks.c.chunk)
            .limit(waiting - in_redis)
        )
        lost = connection.execute(oldest).all()
    with database.write() as connection:
        statement = update(chunks).where(
            chunks.c.job_id == bindparam("job"),
            chunks.c.chunk == bindparam("number"),
            chunks.c.lease_until.is_(None),
        )
        connection.execute(
            statement.values(sent_at=None), [{"job": row.job_id, "number": row.chunk} for row in lost]
        )
    return len(lost)


def waiting_roots(database: Database) -> dict[int, list[int]]:
    """The jobs that wait for a root that is away, and the roots of what is not done of them.

    A scan goes root by root, so the ends of a chunk tell its roots; millions of items need not be read for it.
    """
    ends = job_items.c.position.in_((chunks.c.first, chunks.c.last))
    query = (
        select(jobs.c.id, photos.c.root_id)
        .join(chunks, chunks.c.job_id == jobs.c.id)
        .join(job_items, (job_items.c.job_id == chunks.c.job_id) & ends)
        .join(photos, photos.c.id == job_items.c.photo_id)
        .where(jobs.c.state == JobState.WAITING, chunks.c.done.is_(False))
        .distinct()
    )
    found: dict[int, list[int]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            found.setdefault(row.id, []).append(row.root_id)
    return found


def wake(database: Database, job_ids: Iterable[int]) -> None:
    """The roots of these jobs are there again: queue what is left of them."""
    with database.write() as connection:
        for job_id in job_ids:
            make_due(connection, job_id)
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state == JobState.WAITING)
                .values(state=JobState.QUEUED, note=None)
            )


def make_due(connection: Connection, job_id: int) -> None:
    """The job stood still, and its messages were thrown away: they are to be sent again.

    Call it before the job itself is changed, as those who store lock the chunk first.
    """
    thrown_away = (chunks.c.done.is_(False), chunks.c.lease_until.is_(None), chunks.c.sent_at.is_not(None))
    connection.execute(update(chunks).where(chunks.c.job_id == job_id, *thrown_away).values(sent_at=None))


WAITING = (
    chunks.c.done.is_(False),
    chunks.c.lease_until.is_(None),
    jobs.c.runner == Runner.WORKERS,
    jobs.c.state.in_(CLAIMABLE),
)
"""Of a chunk joined with its job: it waits for a worker."""
