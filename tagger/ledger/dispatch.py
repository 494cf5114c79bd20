"""Which chunks to send to the workers, and which messages Redis has lost.

Redis holds messages for each job's dispatch window only, its first open chunks, so that jobs of one priority alternate.
Redis may lose messages: the ledger knows which chunks wait. Sending a chunk twice is harmless, it is claimed once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobState, Priority, Runner
from tagger.database.statements import among, db_now
from tagger.database.tables import chunks, job_items, jobs, photos, workers
from tagger.ledger.chunks import ChunkName
from tagger.ledger.jobs import CLAIMABLE

SEND_PAGE = 1000
WORKER_TIMEOUT_S = 30.0
"""A worker without a heartbeat for this long is not active. Heartbeats come every 10 s."""
LEAST_WINDOW = 8
CHUNKS_AT_ONCE = {"cuda": 8}
"""How many chunks a worker on a device processes at once. A GPU's pipeline holds up to three batches of 512 photos, and
chunks have 256: with two, its batches would be part empty whenever a chunk ends."""
FEWEST_AT_ONCE = 2
"""Of the other devices: the next chunk is read while the last batches of the current one are stored."""
_NO_LIMIT = 2**31 - 1

IS_WAITING = (
    chunks.c.done.is_(False),
    chunks.c.lease_until.is_(None),
    jobs.c.runner == Runner.WORKERS,
    jobs.c.state.in_(CLAIMABLE),
)
"""The conditions, on chunks joined with jobs, that a chunk waits for a worker."""
IS_CLAIMED = (
    chunks.c.done.is_(False),
    chunks.c.lease_until.is_not(None),
    jobs.c.runner == Runner.WORKERS,
)
"""The conditions that a worker processes a chunk."""


@dataclass(frozen=True)
class WaitingChunk:
    """A chunk whose message is due."""

    name: ChunkName
    priority: Priority


@dataclass(frozen=True)
class SentMessage:
    """A chunk that waits, and when its message was sent."""

    name: ChunkName
    sent_at: float


@dataclass(frozen=True)
class TakenMessages:
    """Messages that workers have taken and not acknowledged: all, and those of the last minute. Those of a dead worker stay for ten."""

    all: int = 0
    latest: int = 0


def unsent_chunks(database: Database, job_id: int | None = None) -> list[WaitingChunk]:
    """The chunks (of one job) whose message is due, at most SEND_PAGE.

    Interactive jobs come first; jobs of one priority alternate.
    """
    turn = func.row_number().over(partition_by=chunks.c.job_id, order_by=chunks.c.chunk)
    query = (
        select(chunks.c.job_id, chunks.c.chunk, jobs.c.priority)
        .select_from(jobs.join(chunks, chunks.c.job_id == jobs.c.id))
        .where(*IS_WAITING, chunks.c.sent_at.is_(None))
        .order_by(jobs.c.priority.desc(), turn, chunks.c.job_id)
        .limit(SEND_PAGE)
    )
    if job_id is not None:
        query = query.where(jobs.c.id == job_id)
    with database.read() as connection:
        rows = connection.execute(query.where(in_window(window_size(connection)))).all()
    return [WaitingChunk(ChunkName(row.job_id, row.chunk), Priority(row.priority)) for row in rows]


def window_size(connection: Connection) -> int:
    """The number of a job's chunks that may be claimed or in Redis at once, enough for all active workers."""
    active = workers.c.heartbeat_at > db_now() - WORKER_TIMEOUT_S
    query = select(workers.c.device, func.count()).where(active).group_by(workers.c.device)
    processed = sum(chunks_at_once(row[0]) * int(row[1]) for row in connection.execute(query))
    return max(LEAST_WINDOW, 2 * processed)  # as many are in the queue while the next are sent


def chunks_at_once(device: str) -> int:
    """The number of chunks that a worker on this device processes at once."""
    return CHUNKS_AT_ONCE.get(device, FEWEST_AT_ONCE)


def in_window(size: int) -> ColumnElement[bool]:
    """The condition, on chunks joined with jobs, that a chunk is among its job's first `size` open chunks.

    Claimed and sent chunks are always among them, so queries with this condition do not read thousands of others.
    """
    other = chunks.alias("other")
    end = (
        select(other.c.chunk)
        .where(other.c.job_id == jobs.c.id, other.c.done.is_(False))
        .order_by(other.c.chunk)
        .offset(size)
        .limit(1)
        .correlate(jobs)
        .scalar_subquery()
    )
    return and_(chunks.c.done.is_(False), chunks.c.chunk < func.coalesce(end, _NO_LIMIT))


def mark_sent(database: Database, due: Sequence[WaitingChunk]) -> list[WaitingChunk]:
    """Record that the messages are sent now. Returns those that the caller has to send.

    Many processes find the same messages due, for example all workers of a fleet when they start: each message is sent by
    the one that marks it. A message that this process does not send, because it ends, is lost (see `missing_messages`).
    """
    by_job: dict[int, list[int]] = {}
    for waiting in due:
        by_job.setdefault(waiting.name.job_id, []).append(waiting.name.chunk)
    marked: set[ChunkName] = set()
    with database.write() as connection:
        for job_id, due_numbers in sorted(by_job.items()):
            named = (chunks.c.job_id == job_id, among(chunks.c.chunk, due_numbers))
            unmarked = (chunks.c.sent_at.is_(None), chunks.c.lease_until.is_(None))
            query = select(chunks.c.chunk).where(*named, *unmarked).order_by(chunks.c.chunk)
            numbers = connection.scalars(query.with_for_update(skip_locked=True)).all()
            marked |= {ChunkName(job_id, number) for number in numbers}
        _set_sent_at(connection, marked, db_now())
    return [waiting for waiting in due if waiting.name in marked]


def mark_unsent(database: Database, names: Iterable[ChunkName]) -> None:
    """Record that the messages could not be sent."""
    with database.write() as connection:
        _set_sent_at(connection, names, None)


def _set_sent_at(
    connection: Connection,
    names: Iterable[ChunkName],
    sent_at: ColumnElement[Any] | None,
) -> None:
    """Set it for chunks that nobody has claimed."""
    rows = [{"job": name.job_id, "number": name.chunk} for name in sorted(names, key=astuple)]
    of_row = (chunks.c.job_id == bindparam("job"), chunks.c.chunk == bindparam("number"))
    statement = update(chunks).where(*of_row, chunks.c.lease_until.is_(None))
    if rows:
        connection.execute(statement.values(sent_at=sent_at), rows)


def release_expired(database: Database) -> int:
    """Release the chunks whose lease has expired, to be sent again. Returns their number.

    The token stays valid until the next claim: a worker that could not reach the database still stores its results.
    """
    with database.write() as connection:
        released = connection.execute(
            update(chunks)
            .where(chunks.c.done.is_(False), chunks.c.lease_until < db_now())
            .values(lease_until=None, sent_at=None)
        )
    return released.rowcount


def missing_messages(database: Database, queued: int, taken: TakenMessages) -> frozenset[SentMessage]:
    """The messages that are not in Redis, if more chunks wait than messages there.

    Those that workers have taken stay there until the photos are stored: the latest of those beyond the claimed chunks are about
    to be claimed. Queues are first in, first out, so the messages that were sent first are missing. The numbers are read
    one after the other: a message that is still missing seconds later is lost.
    """
    joined = jobs.join(chunks, chunks.c.job_id == jobs.c.id)
    with database.read() as connection:
        in_windows = in_window(window_size(connection))
        processed = select(func.count()).select_from(joined).where(*IS_CLAIMED, in_windows)
        claimed = connection.scalar(processed) or 0
        in_redis = queued + max(min(taken.all - claimed, taken.latest), 0)
        sent = (*IS_WAITING, chunks.c.sent_at.is_not(None), in_windows)
        waiting = connection.scalar(select(func.count()).select_from(joined).where(*sent)) or 0
        if waiting <= in_redis:
            return frozenset()
        oldest = (
            select(chunks.c.job_id, chunks.c.chunk, chunks.c.sent_at)
            .select_from(joined)
            .where(*sent)
            .order_by(chunks.c.sent_at, chunks.c.job_id, chunks.c.chunk)
            .limit(waiting - in_redis)
        )
        rows = connection.execute(oldest).all()
    return frozenset(SentMessage(ChunkName(row.job_id, row.chunk), row.sent_at) for row in rows)


def reset_lost_messages(database: Database, lost: Iterable[SentMessage]) -> None:
    """Mark the messages as unsent, except those of chunks that were claimed or sent again since. A wrong guess costs one message."""
    ordered = sorted(lost, key=lambda message: astuple(message.name))
    rows = [{"job": each.name.job_id, "number": each.name.chunk, "sent": each.sent_at} for each in ordered]
    of_row = (chunks.c.job_id == bindparam("job"), chunks.c.chunk == bindparam("number"))
    unchanged = (chunks.c.sent_at == bindparam("sent"), chunks.c.lease_until.is_(None))
    if rows:
        with database.write() as connection:
            connection.execute(update(chunks).where(*of_row, *unchanged).values(sent_at=None), rows)


def roots_of_suspended_jobs(database: Database) -> dict[int, list[int]]:
    """The jobs that wait for a root, with the roots of their open items.

    Items are ordered by root, so the first and last item of each chunk tell its roots and the rest is not read.
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
    roots: dict[int, list[int]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            roots.setdefault(row.id, []).append(row.root_id)
    return roots


def resume_suspended_jobs(database: Database, job_ids: Iterable[int]) -> None:
    """Queue the open items of jobs whose roots are available again."""
    with database.write() as connection:
        for job_id in job_ids:
            reset_messages(connection, job_id)
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state == JobState.WAITING)
                .values(state=JobState.QUEUED, note=None)
            )


def reset_messages(connection: Connection, job_id: int) -> None:
    """Mark the messages of a suspended or paused job as unsent, since workers discarded them.

    Call it before the job is changed: those that store outcomes lock the chunk first.
    """
    discarded = (chunks.c.done.is_(False), chunks.c.lease_until.is_(None), chunks.c.sent_at.is_not(None))
    connection.execute(update(chunks).where(chunks.c.job_id == job_id, *discarded).values(sent_at=None))
