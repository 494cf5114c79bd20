"""Integrity checks and statistics of the database. Both only read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, case, exists, func, literal, or_, select, text, true

from tagger.database.connection import Database
from tagger.database.enums import JobState, Outcome
from tagger.database.schema import SCHEMA_REVISION
from tagger.database.tables import (
    chunks,
    contents,
    job_items,
    jobs,
    landmarks,
    models,
    photos,
    roots,
    tags,
    verdicts,
)

PROBLEMS_SHOWN = 100
"""The limit per kind of problem."""


@dataclass(frozen=True)
class DatabaseStats:
    """Counts of the database's rows. `photos` is without the gone ones; `contents` is the number of different images."""

    url: str
    schema: str
    size_bytes: int
    roots: int
    photos: int
    gone: int
    failing: int
    not_classified: int
    contents: int
    tagged: int
    unknown: int
    tags: int
    verdicts: int
    landmarks: int
    models: int
    jobs: int


def check_database(database: Database) -> Iterator[str]:
    """Yield a line per problem: a damaged file, rows that refer to missing rows, counts that do not match."""
    if database.is_sqlite:
        yield from _file_problems(database)
    yield from _chunk_problems(database)
    yield from _job_problems(database)
    yield from _content_problems(database)


def database_stats(database: Database) -> DatabaseStats:
    """Count the rows. On a large database this reads whole indexes and takes seconds."""
    present = photos.c.gone_since.is_(None)
    classified = exists().where(contents.c.id == photos.c.content_id, contents.c.outcome.is_not(None))
    count = select(func.count())
    queries: dict[str, Select[Any]] = {
        "roots": count.select_from(roots),
        "photos": count.select_from(photos).where(present),
        "gone": count.select_from(photos).where(~present),
        "failing": count.select_from(photos).where(present, photos.c.failure_kind.is_not(None)),
        "not_classified": count.select_from(photos).where(
            present, ~classified, photos.c.failure_kind.is_(None)
        ),
        "contents": count.select_from(contents),
        "tagged": count.select_from(contents).where(contents.c.outcome == Outcome.TAGGED),
        "unknown": count.select_from(contents).where(contents.c.outcome == Outcome.UNKNOWN),
        "tags": count.select_from(tags).where(tags.c.accepted == true()),
        "verdicts": count.select_from(verdicts),
        "landmarks": count.select_from(landmarks),
        "models": count.select_from(models),
        "jobs": count.select_from(jobs),
    }
    size = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if database.is_sqlite
        else "SELECT pg_database_size(current_database())"
    )
    with database.read() as connection:
        numbers = {name: int(connection.scalar(query) or 0) for name, query in queries.items()}
        size_bytes = int(connection.scalar(text(size)) or 0)
    return DatabaseStats(url=database.redacted_url, schema=SCHEMA_REVISION, size_bytes=size_bytes, **numbers)


def _file_problems(database: Database) -> Iterator[str]:
    with database.read() as connection:
        for line in connection.scalars(text(f"PRAGMA integrity_check({PROBLEMS_SHOWN})")).all():
            if line != "ok":
                yield f"the file is damaged: {line}"
        # PostgreSQL always enforces foreign keys, SQLite only in programs that enable them.
        for row in connection.execute(text("PRAGMA foreign_key_check")).fetchmany(PROBLEMS_SHOWN):
            yield f"a row of {row[0]} refers to a missing row of {row[2]} (row {row[1]})"


def _chunk_problems(database: Database) -> Iterator[str]:
    """A chunk's counts must be those of its items. Items of a cancelled chunk are not checked."""
    counted = [
        func.coalesce(func.sum(case((job_items.c.outcome == outcome, 1), else_=0)), 0).label(f"has_{outcome}")
        for outcome in Outcome
        if outcome is not Outcome.CANCELLED
    ]
    in_chunk = and_(
        job_items.c.job_id == chunks.c.job_id, job_items.c.position.between(chunks.c.first, chunks.c.last)
    )
    totals = (
        select(chunks, func.count(job_items.c.position).label("item_count"), *counted)
        .select_from(chunks.outerjoin(job_items, in_chunk))
        .group_by(chunks.c.job_id, chunks.c.chunk)
        .subquery()
    )
    summed = sum((totals.c[outcome.value] for outcome in Outcome), literal(0))
    size = totals.c.last - totals.c.first + 1
    wrong = or_(
        totals.c.item_count != size,
        *(
            totals.c[outcome.value] != totals.c[f"has_{outcome}"]
            for outcome in Outcome
            if outcome is not Outcome.CANCELLED
        ),
        and_(totals.c.done == true(), summed != size),
    )
    with database.read() as connection:
        for row in connection.execute(
            select(totals.c.job_id, totals.c.chunk).where(wrong).limit(PROBLEMS_SHOWN)
        ).all():
            yield f"job {row.job_id}, chunk {row.chunk}: its counts do not match its items"


def _job_problems(database: Database) -> Iterator[str]:
    """A scanned job's total must be the number of its items, and its chunks must cover them."""
    items = select(func.count()).where(job_items.c.job_id == jobs.c.id).scalar_subquery()
    covered = (
        select(func.coalesce(func.sum(chunks.c.last - chunks.c.first + 1), 0))
        .where(chunks.c.job_id == jobs.c.id)
        .scalar_subquery()
    )
    unfinished = exists().where(chunks.c.job_id == jobs.c.id, chunks.c.done != true())
    wrong = or_(
        jobs.c.total != items,
        jobs.c.total != covered,
        and_(jobs.c.state.in_((JobState.FINISHED, JobState.CANCELLED)), unfinished),
    )
    query = select(jobs.c.id).where(jobs.c.state != JobState.SCANNING, wrong).order_by(jobs.c.id)
    with database.read() as connection:
        for number in connection.scalars(query.limit(PROBLEMS_SHOWN)).all():
            yield f"job {number}: its total or state does not match its chunks"


def _content_problems(database: Database) -> Iterator[str]:
    """A content's outcome is `tagged` exactly if it has an accepted tag."""
    accepted = exists().where(tags.c.content_id == contents.c.id, tags.c.accepted == true())
    wrong = or_(
        and_(contents.c.outcome == Outcome.TAGGED, ~accepted),
        and_(or_(contents.c.outcome.is_(None), contents.c.outcome != Outcome.TAGGED), accepted),
    )
    query = select(contents.c.digest).where(wrong).order_by(contents.c.id).limit(PROBLEMS_SHOWN)
    with database.read() as connection:
        for digest in connection.scalars(query).all():
            yield f"image {digest}: its outcome does not match its tags"
