"""Outcomes of photos that follow their images: verdicts, positions and later photos change them.

Items of a job that runs have the outcomes with which they were stored. When it ends, all of them are those of
their images; from then on, whatever changes an image changes the items of its photos.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, select, update

from tagger.database.enums import CLASSIFIED_OUTCOMES, JobState
from tagger.database.statements import among
from tagger.database.tables import chunks, contents, job_items, jobs, photos

OVER = (JobState.FINISHED, JobState.CANCELLED)


def follow_images(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Give items of jobs that are over the outcomes that their images have now.

    `condition`: of the items, their photos or images. A job that ends just now is waited for.
    """
    changed = _changed_items(connection, condition)
    if not changed:
        return
    # One that runs, as far as is seen here, may be ending with the outcomes from before. Scans are not: they
    # lock their job first.
    may_be_over = among(jobs.c.id, changed), jobs.c.state != JobState.SCANNING
    query = select(jobs.c.id, jobs.c.state).where(*may_be_over).order_by(jobs.c.id)
    locked = connection.execute(query.with_for_update(read=True))
    over = [job.id for job in locked if job.state in OVER]
    of_over = _changed_items(connection, condition & among(job_items.c.job_id, over)) if over else {}
    for job_id, rows in of_over.items():
        _replace(connection, job_id, rows)


def retake_outcomes(connection: Connection, job_id: int) -> None:
    """Give all items of a job that is about to end the outcomes that their images have now."""
    for rows in _changed_items(connection, job_items.c.job_id == job_id).values():
        _replace(connection, job_id, rows)


def _changed_items(
    connection: Connection, condition: ColumnElement[bool]
) -> Mapping[int, Sequence[Row[Any]]]:
    """The classified items with another outcome than their images, by job, in order of their positions."""
    is_other = contents.c.outcome.in_(CLASSIFIED_OUTCOMES) & (contents.c.outcome != job_items.c.outcome)
    columns = job_items.c.job_id, job_items.c.position, job_items.c.outcome, contents.c.outcome.label("now")
    query = (
        select(*columns)
        .join_from(job_items, photos, photos.c.id == job_items.c.photo_id)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(job_items.c.outcome.in_(CLASSIFIED_OUTCOMES), is_other, condition)
        .order_by(job_items.c.job_id, job_items.c.position)
    )
    rows: Iterable[Any] = connection.execute(query)
    return {job_id: list(of_job) for job_id, of_job in groupby(rows, key=attrgetter("job_id"))}


def _replace(connection: Connection, job_id: int, rows: Sequence[Row[Any]]) -> None:
    """Replace outcomes of items of a job, and the numbers of their chunks."""
    first, last = rows[0].position, rows[-1].position
    is_near = chunks.c.first <= last, chunks.c.last >= first
    query = select(chunks.c.chunk, chunks.c.first, chunks.c.last).where(chunks.c.job_id == job_id, *is_near)
    for chunk in connection.execute(query.order_by(chunks.c.chunk)).all():
        own = [row for row in rows if chunk.first <= row.position <= chunk.last]
        numbers = Counter(row.now for row in own)
        numbers.subtract(row.outcome for row in own)
        if own:
            is_chunk = chunks.c.job_id == job_id, chunks.c.chunk == chunk.chunk
            more = {outcome: chunks.c[outcome] + number for outcome, number in numbers.items()}
            connection.execute(update(chunks).where(*is_chunk).values(more))
    is_item = job_items.c.job_id == job_id, job_items.c.position == bindparam("item")
    values = [{"item": row.position, "outcome": row.now} for row in rows]
    connection.execute(update(job_items).where(*is_item), values)
