"""Outcomes of photos that follow their images: verdicts, positions and later photos change them."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, select, true, update

from tagger.database.enums import CLASSIFIED_OUTCOMES
from tagger.database.tables import chunks, contents, job_items, photos


def follow_images(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    """Give items the outcomes that their images have now, and chunks their numbers.

    `conditions`: of the items and their photos. Items of chunks that are not done are left out: they follow
    when their job ends.
    """
    is_other = contents.c.outcome.in_(CLASSIFIED_OUTCOMES) & (contents.c.outcome != job_items.c.outcome)
    columns = job_items.c.job_id, job_items.c.position, job_items.c.outcome, contents.c.outcome.label("now")
    changed = connection.execute(
        select(*columns)
        .join_from(job_items, photos, photos.c.id == job_items.c.photo_id)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(job_items.c.outcome.in_(CLASSIFIED_OUTCOMES), is_other, *conditions)
        .order_by(job_items.c.job_id, job_items.c.position)
    ).all()
    for job_id, rows in groupby(changed, key=lambda row: row.job_id):
        _follow_in_job(connection, job_id, list(rows))


def _follow_in_job(connection: Connection, job_id: int, rows: Sequence[Row[Any]]) -> None:
    """Change the outcomes of items of a job, in order of their positions."""
    first, last = rows[0].position, rows[-1].position
    query = select(chunks.c.chunk, chunks.c.first, chunks.c.last).where(
        chunks.c.job_id == job_id, chunks.c.done == true(), chunks.c.first <= last, chunks.c.last >= first
    )
    for chunk in connection.execute(query.order_by(chunks.c.chunk)).all():
        own = [row for row in rows if chunk.first <= row.position <= chunk.last]
        numbers = Counter(row.now for row in own)
        numbers.subtract(row.outcome for row in own)
        more = {outcome: chunks.c[outcome] + number for outcome, number in numbers.items()}
        if own:
            is_chunk = chunks.c.job_id == job_id, chunks.c.chunk == chunk.chunk
            connection.execute(update(chunks).where(*is_chunk).values(more))
            is_item = job_items.c.job_id == job_id, job_items.c.position == bindparam("item")
            values = [{"item": row.position, "outcome": row.now} for row in own]
            connection.execute(update(job_items).where(*is_item), values)
