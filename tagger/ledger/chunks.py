"""Chunks: claimed under a token and a lease, their outcomes stored under the token, released.

A late or repeated worker stores nothing. All times are the database's.
"""

import secrets
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, select, update

from tagger.database import JobKind, JobState, Outcome
from tagger.database.connection import Database
from tagger.database.statements import among, current_time, db_now
from tagger.database.tables import chunks, job_items, jobs
from tagger.errors import LeaseLost
from tagger.ledger import (
    CLAIMABLE,
    LEASE_S,
    InferenceOptions,
    other_models,
    update_job,
)
from tagger.texts import document_of


@dataclass(frozen=True, kw_only=True)
class Claim(InferenceOptions):
    """A claimed chunk: its items `first` to `last`, the token of its results, and what its job says."""

    job_id: int
    chunk: int
    token: str
    first: int
    last: int
    attempts: int
    kind: JobKind = JobKind.TAG
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_last_step(self) -> bool:
        """Whether it has no items, but what follows from those of its job."""
        return self.last < self.first

    def of_models(self, model_ids: Container[int]) -> Self:
        (first, threshold), *others = [
            each for each in self.thresholds.items() if each[0] in model_ids
        ]
        return replace(
            self, model_id=first, threshold=threshold, other_models=tuple(others)
        )


@dataclass(frozen=True)
class ItemOutcome:
    """The outcome of one item. `reason`: why it was skipped, or the kind of failure or refusal."""

    position: int
    outcome: Outcome
    reason: str | None = None
    text: str | None = None


# The columns of a released chunk. A release does not count as an attempt.
RELEASED: Mapping[str, Any] = {
    "token": None,
    "lease_until": None,
    "worker": None,
    "attempts": chunks.c.attempts - 1,
}

# Conditions of a chunk that can be claimed. Of one whose lease has expired, a sweeper decides.
IS_FREE = (chunks.c.done.is_(False), chunks.c.lease_until.is_(None))


def claim_next_chunk(database: Database, job_id: int, worker: str) -> Claim | None:
    """Claim the first free chunk of a job. None if it has none, or if it is paused, suspended or over."""
    query = select(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(CLAIMABLE))
    with database.write() as connection:
        job = connection.execute(query).one_or_none()
        return None if job is None else claim_first_chunk(connection, job, worker)


def claim_first_chunk(
    connection: Connection, job: Row[Any], worker: str
) -> Claim | None:
    """Claim the first free chunk of a job, given its row. None if it has none, or its state has changed."""
    token = secrets.token_hex(8)
    is_free = (chunks.c.job_id == job.id, *IS_FREE)
    first = select(chunks.c.chunk).where(*is_free).order_by(chunks.c.chunk).limit(1)
    # Workers that claim at once take different chunks, and do not wait for each other.
    number = first.with_for_update(skip_locked=True).scalar_subquery()
    claimable = exists().where(jobs.c.id == job.id, jobs.c.state.in_(CLAIMABLE))
    statement = (
        update(chunks)
        .where(*is_free, chunks.c.chunk == number, claimable)
        .values(
            token=token,
            worker=worker,
            claimed_at=db_now(),
            lease_until=db_now() + LEASE_S,
            attempts=chunks.c.attempts + 1,
        )
        .returning(chunks.c.chunk, chunks.c.first, chunks.c.last, chunks.c.attempts)
    )
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    if job.state == JobState.QUEUED:
        running = {"state": JobState.RUNNING}
        update_job(connection, job.id, running, jobs.c.state == JobState.QUEUED)
    if job.started_at is None:
        started = {"started_at": current_time(connection)}
        update_job(connection, job.id, started, jobs.c.started_at.is_(None))
    return document_of(
        Claim,
        job,
        job_id=job.id,
        chunk=row.chunk,
        first=row.first,
        last=row.last,
        attempts=row.attempts,
        token=token,
        other_models=other_models(connection, job.id),
        kind=JobKind(job.kind),
    )


def renew_leases(database: Database, claims: Iterable[Claim]) -> list[Claim]:
    """Renew leases, also of a paused job, and return the claims that were lost."""
    with database.write() as connection:
        in_order = sorted(claims, key=lambda claim: (claim.job_id, claim.chunk))
        return [claim for claim in in_order if not _renew(connection, claim)]


def renew_lease(connection: Connection, claim: Claim) -> None:
    """Renew the lease and lock the chunk, before anything that no rollback can undo.

    Raises:
        LeaseLost: another worker took the chunk.
    """
    if not _renew(connection, claim):
        raise LeaseLost(job=claim.job_id)


def _renew(connection: Connection, claim: Claim) -> bool:
    # Renew the lease, even an expired one that nobody has claimed since. False if it was lost.
    statement = (
        update(chunks).where(*_holds(claim)).values(lease_until=db_now() + LEASE_S)
    )
    return connection.execute(statement).rowcount == 1


def release_chunk(database: Database, claim: Claim) -> None:
    """Give the chunk up, done in part or not at all. This does not count as a failed attempt."""
    database.execute(update(chunks).where(*_holds(claim)).values(**RELEASED))


def close_last_step(database: Database, claim: Claim) -> None:
    """Close the last step of a job, under its token. `finish_job` follows."""
    closed = {"done": True, "lease_until": None, "worker": None}
    database.execute(update(chunks).where(*_holds(claim)).values(closed))


def store_outcomes(
    connection: Connection, claim: Claim, outcomes: Sequence[ItemOutcome]
) -> None:
    """Store the outcomes of items of a claimed chunk. After the last one, `finish_job` follows the commit.

    Call it in the transaction that stores the results. Outcomes count once: those of items that have one
    already are left out.

    Raises:
        LeaseLost: another worker took the chunk; the transaction must not commit.
    """
    query = (
        select(chunks, jobs.c.state)
        .join(jobs, jobs.c.id == chunks.c.job_id)
        .where(*_holds(claim))
    )
    chunk = connection.execute(query.with_for_update(of=chunks)).one_or_none()
    if chunk is None:
        raise LeaseLost(job=claim.job_id)
    by_position = {item.position: item for item in outcomes}
    is_open = (
        job_items.c.job_id == claim.job_id,
        among(job_items.c.position, by_position),
        job_items.c.outcome.is_(None),
    )
    open_positions = (
        connection.scalars(select(job_items.c.position).where(*is_open))
        if outcomes
        else ()
    )
    # In the order in which all writers lock items.
    new = [by_position[position] for position in sorted(open_positions)]
    counts = Counter(
        {outcome.value: getattr(chunk, outcome.value) for outcome in Outcome}
    )
    counts.update(item.outcome.value for item in new)
    done = counts.total() == chunk.last - chunk.first + 1
    lease: Mapping[str, Any] = {"lease_until": db_now() + LEASE_S}
    if done:
        lease = {"lease_until": None, "worker": None}
    elif chunk.state == JobState.PAUSED:
        lease = RELEASED  # later results of its worker are not stored
    connection.execute(
        update(chunks).where(*_holds(claim)).values(**counts, **lease, done=done)
    )
    rows = [
        {
            "item": item.position,
            "outcome": item.outcome,
            "reason": item.reason,
            "error_text": item.text,
        }
        for item in new
    ]
    if rows:
        is_item = (
            job_items.c.job_id == claim.job_id,
            job_items.c.position == bindparam("item"),
        )
        connection.execute(
            update(job_items).where(*is_item).values(attempts=claim.attempts), rows
        )


def count_crashes(database: Database, claim: Claim, position: int, by: int) -> None:
    """Add `by` to the crashes of an open item: how often a worker died while it processed this item alone."""
    item = (
        job_items.c.job_id == claim.job_id,
        job_items.c.position == position,
        job_items.c.outcome.is_(None),
    )
    # A negative `by` subtracts a count, even after the lease was lost: the worker did not die.
    allowed = exists().where(*_holds(claim)) if by > 0 else job_items.c.attempts > 0
    database.execute(
        update(job_items)
        .where(*item, allowed)
        .values(attempts=job_items.c.attempts + by)
    )


def _holds(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        chunks.c.job_id == claim.job_id,
        chunks.c.chunk == claim.chunk,
        chunks.c.token == claim.token,
        chunks.c.done.is_(False),
    )
