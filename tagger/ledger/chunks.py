"""Chunks in hand: claimed under a token, leased, their outcomes stored, given back.

A chunk is worked on by whoever holds its token while its lease lasts; results are stored under that token, so a
late or repeated worker stores nothing. All times come from the database's clock.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, exists, or_, select, update

from tagger.database import Database, db_now
from tagger.errors import LeaseLost
from tagger.ledger.jobs import CLAIMABLE, LEASE_S, finish_if_done
from tagger.tables import JobKind, JobState, Outcome, Runner, chunks, job_items, jobs


@dataclass(frozen=True)
class ChunkName:
    """What a message names."""

    job_id: int
    chunk: int


@dataclass(frozen=True)
class Claim:
    """A chunk in hand: its items `first`..`last`, the token that results are stored under, and how its job looks."""

    name: ChunkName
    token: str
    first: int
    last: int
    attempts: int
    claimed_at: float
    model_id: int
    top_k: int
    threshold: float
    again: bool
    kind: JobKind = JobKind.TAG
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemOutcome:
    """How one item ended. `reason` says why it was skipped, or the kind of failure or refusal."""

    position: int
    outcome: Outcome
    reason: str | None = None
    text: str | None = None


GIVEN_BACK: Mapping[str, Any] = {
    "token": None,
    "lease_until": None,
    "worker": None,
    "sent_at": None,
    "attempts": chunks.c.attempts - 1,
}
"""What a chunk has that its worker let go of; that is no attempt that ended badly."""


def claim(database: Database, name: ChunkName, runner: Runner, worker: str) -> Claim | None:
    """Take a chunk, or None where there is nothing to take: it is done, in other hands, or its job stands still."""
    token = secrets.token_hex(8)
    free = or_(chunks.c.lease_until.is_(None), chunks.c.lease_until < db_now())
    claimable = exists().where(jobs.c.id == name.job_id, jobs.c.runner == runner, jobs.c.state.in_(CLAIMABLE))
    take = (
        update(chunks)
        .where(*_is(name), chunks.c.done.is_(False), free, claimable)
        .values(
            token=token,
            worker=worker,
            claimed_at=db_now(),
            lease_until=db_now() + LEASE_S,
            attempts=chunks.c.attempts + 1,
        )
        .returning(chunks.c.first, chunks.c.last, chunks.c.attempts, chunks.c.claimed_at)
    )
    with database.write() as connection:
        row = connection.execute(take).one_or_none()
        if row is None:
            return None
        job = connection.execute(select(jobs).where(jobs.c.id == name.job_id)).one()
        _mark_running(connection, job)
    return Claim(
        name,
        token,
        row.first,
        row.last,
        row.attempts,
        row.claimed_at,
        job.model_id,
        job.top_k,
        job.threshold,
        job.again,
        JobKind(job.kind),
        job.options,
    )


def claim_next(database: Database, job_id: int, worker: str) -> Claim | None:
    """Take any free chunk of a job that this process runs itself."""
    free = or_(chunks.c.lease_until.is_(None), chunks.c.lease_until < db_now())
    while True:
        with database.read() as connection:
            number = connection.scalar(
                select(chunks.c.chunk)
                .where(chunks.c.job_id == job_id, chunks.c.done.is_(False), free)
                .order_by(chunks.c.chunk)
                .limit(1)
            )
        if number is None:
            return None
        taken = claim(database, ChunkName(job_id, number), Runner.LOCAL, worker)
        if taken is not None or not _is_claimable(database, job_id):
            return taken


def renew(database: Database, held: Iterable[Claim]) -> list[Claim]:
    """Lengthen leases; returns the claims that were lost to somebody else or cancelled.

    What is in hand of a job that waits goes on, of one that was paused until a batch is stored: nobody else works on it.
    """
    lost = []
    with database.write() as connection:
        for claimed in sorted(held, key=lambda each: (each.name.job_id, each.name.chunk)):
            renewed = update(chunks).where(*_mine(claimed)).values(lease_until=db_now() + LEASE_S)
            if connection.execute(renewed).rowcount != 1:
                lost.append(claimed)
    return lost


def check_held(connection: Connection, claimed: Claim) -> None:
    """Before something is done that no transaction undoes. The chunk stays in hand until this one ends.

    Raises:
        LeaseLost: somebody else took the chunk over.
    """
    mine = select(chunks.c.chunk).where(*_mine(claimed)).with_for_update()
    if connection.execute(mine).one_or_none() is None:
        raise LeaseLost(job=claimed.name.job_id, chunk=claimed.name.chunk)


def release(database: Database, claimed: Claim) -> None:
    """Give a chunk back whole or in part; giving back is not a failed attempt."""
    with database.write() as connection:
        connection.execute(update(chunks).where(*_mine(claimed)).values(**GIVEN_BACK))


def store_outcomes(connection: Connection, claimed: Claim, outcomes: Sequence[ItemOutcome]) -> None:
    """Record how items of a claimed chunk ended, and the job's end with its last one.

    Call it in the transaction that stores what was found, before it writes photos. An item counts once: outcomes that
    are stored again, after a commit whose answer got lost, change nothing.

    Raises:
        LeaseLost: somebody else took the chunk over; nothing of this may be stored.
    """
    mine = select(chunks, jobs.c.state).join(jobs, jobs.c.id == chunks.c.job_id).where(*_mine(claimed))
    chunk = connection.execute(mine.with_for_update(of=chunks)).one_or_none()
    if chunk is None:
        raise LeaseLost(job=claimed.name.job_id, chunk=claimed.name.chunk)
    new = _still_open(connection, claimed, outcomes)
    counts = Counter({outcome.value: getattr(chunk, outcome.value) for outcome in Outcome})
    counts.update(each.outcome.value for each in new)
    done = counts.total() == chunk.last - chunk.first + 1
    lease = _lease_after(done=done, paused=chunk.state == JobState.PAUSED)
    connection.execute(update(chunks).where(*_is(claimed.name)).values(**counts, **lease, done=done))
    if done:
        finish_if_done(connection, claimed.name.job_id)
    _write_outcomes(connection, claimed, new)


def _lease_after(*, done: bool, paused: bool) -> Mapping[str, Any]:
    """A chunk whose job was paused is given back with the batch in hand: what its worker finds later is not stored."""
    if done:
        return {"lease_until": None, "worker": None}
    return GIVEN_BACK if paused else {"lease_until": db_now() + LEASE_S}


def _still_open(connection: Connection, claimed: Claim, outcomes: Sequence[ItemOutcome]) -> list[ItemOutcome]:
    """Those whose item has no outcome yet, one per item, in the order that everybody locks items in."""
    by_position = {each.position: each for each in outcomes}
    query = select(job_items.c.position).where(
        job_items.c.job_id == claimed.name.job_id,
        job_items.c.position.in_(by_position),
        job_items.c.outcome.is_(None),
    )
    return [by_position[position] for position in sorted(connection.scalars(query))] if outcomes else []


def _write_outcomes(connection: Connection, claimed: Claim, outcomes: Sequence[ItemOutcome]) -> None:
    statement = (
        update(job_items)
        .where(job_items.c.job_id == claimed.name.job_id, job_items.c.position == bindparam("item"))
        .values(
            outcome=bindparam("outcome"),
            reason=bindparam("reason"),
            error_text=bindparam("error_text"),
            attempts=claimed.attempts,
        )
    )
    rows = [
        {"item": o.position, "outcome": o.outcome, "reason": o.reason, "error_text": o.text} for o in outcomes
    ]
    if rows:
        connection.execute(statement, rows)


def count_deaths(database: Database, claimed: Claim, position: int, by: int) -> None:
    """Change how often an item without an outcome was alone in the hands of a worker that died."""
    item = (
        job_items.c.job_id == claimed.name.job_id,
        job_items.c.position == position,
        job_items.c.outcome.is_(None),
    )
    # What was counted is taken back even if the lease was lost meanwhile: nobody died of it.
    allowed = exists().where(*_mine(claimed)) if by > 0 else job_items.c.attempts > 0
    with database.write() as connection:
        connection.execute(update(job_items).where(*item, allowed).values(attempts=job_items.c.attempts + by))


def busy_elsewhere(database: Database, claimed: Claim) -> set[int]:
    """Photos that an earlier claim of another job has in hand with the same model: wait for it, and do no work twice."""
    earlier = or_(
        chunks.c.claimed_at < claimed.claimed_at,
        and_(chunks.c.claimed_at == claimed.claimed_at, chunks.c.job_id < claimed.name.job_id),
    )
    held = (chunks.c.done.is_(False), chunks.c.lease_until > db_now(), chunks.c.job_id != claimed.name.job_id)
    same_model = jobs.c.model_id == claimed.model_id
    in_chunk = and_(
        job_items.c.job_id == chunks.c.job_id, job_items.c.position.between(chunks.c.first, chunks.c.last)
    )
    query = (
        select(job_items.c.photo_id)
        .select_from(chunks)
        .join(jobs, jobs.c.id == chunks.c.job_id)
        .join(job_items, in_chunk)
        .where(*held, earlier, same_model, job_items.c.outcome.is_(None), job_items.c.photo_id.is_not(None))
    )
    with database.read() as connection:
        return set(connection.scalars(query))


def _is(name: ChunkName) -> tuple[ColumnElement[bool], ...]:
    return chunks.c.job_id == name.job_id, chunks.c.chunk == name.chunk


def _mine(claimed: Claim) -> tuple[ColumnElement[bool], ...]:
    return *_is(claimed.name), chunks.c.token == claimed.token, chunks.c.done.is_(False)


def _mark_running(connection: Connection, job: Row[Any]) -> None:
    if job.state == JobState.QUEUED:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.state == JobState.QUEUED)
            .values(state=JobState.RUNNING)
        )
    if job.started_at is None:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.started_at.is_(None))
            .values(started_at=datetime.now(UTC))
        )


def _is_claimable(database: Database, job_id: int) -> bool:
    with database.read() as connection:
        state = connection.scalar(select(jobs.c.state).where(jobs.c.id == job_id))
    return state in CLAIMABLE
