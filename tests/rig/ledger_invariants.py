"""Invariants of the ledger that hold after every job, also after faults, checked on the stored rows."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, func, select

from tagger.database import JobState, Outcome
from tagger.database.connection import Database
from tagger.database.tables import chunks, contents, job_items, jobs, photos, tags


def job_violations(database: Database, job_id: int) -> list[str]:
    """Describe the violations of a finished job: photos lost or counted twice, sums that do not match."""
    with database.read() as connection:
        job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
        parts = connection.execute(
            select(chunks).where(chunks.c.job_id == job_id).order_by(chunks.c.chunk)
        ).all()
        violations = [*_job_row(job, parts), *_items(connection, job)]
        for chunk in parts:
            violations += _chunk(connection, chunk)
    return [f"job {job_id}: {violation}" for violation in violations]


def library_violations(database: Database) -> list[str]:
    """Describe violations among photos, contents and tags: duplicates, photos without content."""
    with database.read() as connection:
        return [
            *_twice(connection, contents, contents.c.digest),
            *_twice(connection, tags, tags.c.content_id, tags.c.model_id, tags.c.landmark_id),
            *_classified_without_content(connection),
            *_tagged_without_tag(connection),
        ]


def _job_row(job: Row[Any], parts: Sequence[Row[Any]]) -> Iterator[str]:
    if job.state not in {JobState.FINISHED, JobState.CANCELLED}:
        yield f"it is {job.state}, not finished or cancelled"
    counted = sum(getattr(chunk, outcome.value) for chunk in parts for outcome in Outcome)
    if counted != job.total:
        yield f"its chunks count {counted} outcomes of {job.total} photos"
    expected = 0
    for chunk in parts:
        if chunk.first != expected:
            yield f"chunk {chunk.chunk} begins at {chunk.first} and not at {expected}"
        expected = chunk.last + 1
    if expected != job.total:
        yield f"its chunks hold {expected} items, it has {job.total}"


def _items(connection: Connection, job: Row[Any]) -> Iterator[str]:
    of_job = job_items.c.job_id == job.id
    count, different = connection.execute(
        select(func.count(), func.count(job_items.c.photo_id.distinct())).where(of_job)
    ).one()
    if count != job.total:
        yield f"it has {count} items of {job.total}"
    if different != count:
        yield f"its {count} items are {different} photos"


def _chunk(connection: Connection, chunk: Row[Any]) -> Iterator[str]:
    inside = job_items.c.position.between(chunk.first, chunk.last)
    query = select(job_items.c.outcome, func.count()).where(job_items.c.job_id == chunk.job_id, inside)
    outcomes: dict[str | None, int] = {
        row[0]: row[1] for row in connection.execute(query.group_by(job_items.c.outcome))
    }
    counts = {
        outcome.value: getattr(chunk, outcome.value) for outcome in Outcome if getattr(chunk, outcome.value)
    }
    if outcomes != counts:
        yield f"chunk {chunk.chunk} counts {counts}, its items {outcomes}"
    if not chunk.done or chunk.lease_until is not None:
        yield f"chunk {chunk.chunk} is still leased or not done"


def _twice(connection: Connection, table: Table, *key: Column[Any]) -> list[str]:
    query = select(*key).select_from(table).group_by(*key).having(func.count() > 1).limit(10)
    return [f"{table.name} has {tuple(row)} twice" for row in connection.execute(query)]


def _classified_without_content(connection: Connection) -> list[str]:
    classified = job_items.c.outcome.in_((Outcome.TAGGED, Outcome.UNKNOWN))
    query = (
        select(photos.c.path)
        .join(job_items, job_items.c.photo_id == photos.c.id)
        .where(classified, photos.c.content_id.is_(None))
        .limit(10)
    )
    return [f"{path} is classified and has no content" for path in connection.scalars(query)]


def _tagged_without_tag(connection: Connection) -> list[str]:
    query = (
        select(contents.c.digest)
        .outerjoin(tags, tags.c.content_id == contents.c.id)
        .where(contents.c.outcome == Outcome.TAGGED, tags.c.content_id.is_(None))
        .limit(10)
    )
    return [f"content {digest} is tagged and has no tag" for digest in connection.scalars(query)]
