"""What must hold in a ledger whatever was broken meanwhile: asked of the rows themselves, after the job is over."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, func, select

from tagger.database import Database
from tagger.tables import JobState, Outcome, chunks, contents, job_items, jobs, photos, tags


def wrong_sums(database: Database, job_id: int) -> list[str]:
    """What is wrong with a job that is over: photos lost or counted twice, sums that do not add up."""
    with database.read() as connection:
        job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
        parts = connection.execute(
            select(chunks).where(chunks.c.job_id == job_id).order_by(chunks.c.chunk)
        ).all()
        wrong = [*_wrong_job(job, parts), *_wrong_items(connection, job)]
        for chunk in parts:
            wrong += _wrong_chunk(connection, chunk)
    return [f"job {job_id}: {each}" for each in wrong]


def wrong_library(database: Database) -> list[str]:
    """What is wrong with what is known of pictures: anything twice, or a photo that was looked at and has no content."""
    with database.read() as connection:
        return [
            *_twice(connection, contents, contents.c.digest),
            *_twice(connection, tags, tags.c.content_id, tags.c.landmark_id),
            *_looked_at_without_content(connection),
            *_tagged_without_tag(connection),
        ]


def _wrong_job(job: Row[Any], parts: Sequence[Row[Any]]) -> Iterator[str]:
    if job.state not in {JobState.FINISHED, JobState.CANCELLED}:
        yield f"it is {job.state} and not over"
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


def _wrong_items(connection: Connection, job: Row[Any]) -> Iterator[str]:
    of_job = job_items.c.job_id == job.id
    count, different = connection.execute(
        select(func.count(), func.count(job_items.c.photo_id.distinct())).where(of_job)
    ).one()
    if count != job.total:
        yield f"it has {count} items of {job.total}"
    if different != count:
        yield f"its {count} items are {different} photos"


def _wrong_chunk(connection: Connection, chunk: Row[Any]) -> Iterator[str]:
    inside = job_items.c.position.between(chunk.first, chunk.last)
    query = select(job_items.c.outcome, func.count()).where(job_items.c.job_id == chunk.job_id, inside)
    ended: dict[str | None, int] = {
        row[0]: row[1] for row in connection.execute(query.group_by(job_items.c.outcome))
    }
    said = {
        outcome.value: getattr(chunk, outcome.value) for outcome in Outcome if getattr(chunk, outcome.value)
    }
    if ended != said:
        yield f"chunk {chunk.chunk} counts {said}, its items {ended}"
    if not chunk.done or chunk.lease_until is not None:
        yield f"chunk {chunk.chunk} is still in somebody's hands"


def _twice(connection: Connection, table: Table, *key: Column[Any]) -> list[str]:
    query = select(*key).select_from(table).group_by(*key).having(func.count() > 1).limit(10)
    return [f"{table.name} has {tuple(row)} twice" for row in connection.execute(query)]


def _looked_at_without_content(connection: Connection) -> list[str]:
    looked = job_items.c.outcome.in_((Outcome.TAGGED, Outcome.UNKNOWN))
    query = (
        select(photos.c.path)
        .join(job_items, job_items.c.photo_id == photos.c.id)
        .where(looked, photos.c.content_id.is_(None))
        .limit(10)
    )
    return [f"{path} was looked at and has no content" for path in connection.scalars(query)]


def _tagged_without_tag(connection: Connection) -> list[str]:
    query = (
        select(contents.c.digest)
        .outerjoin(tags, tags.c.content_id == contents.c.id)
        .where(contents.c.outcome == Outcome.TAGGED, tags.c.content_id.is_(None))
        .limit(10)
    )
    return [f"content {digest} is tagged and has no tag" for digest in connection.scalars(query)]
