"""A job over the photos that fail now: which they are, how many of each kind, and recording them as items.

What failed once and was tagged since is not retried. The job pins a model like any other; that the photos fail is
what makes workers read them again, so it needs no `again`.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, func, select

from tagger.database import Database
from tagger.ledger.jobs import (
    NewItem,
    NewJob,
    append_items,
    create_job,
    finish_scan,
    hold_scan,
    kept_alive,
)
from tagger.ledger.progress import Failing, failing_now
from tagger.tables import Priority, Runner, jobs, photos

PAGE = 1000


def count_failing(database: Database, failing: Failing) -> dict[str, int]:
    """How many photos fail now, by kind, the most frequent first."""
    count = func.count().label("how_many")
    query = select(photos.c.failure_kind, count).where(*failing_now(failing)).group_by(photos.c.failure_kind)
    with database.read() as connection:
        rows = connection.execute(query.order_by(count.desc(), photos.c.failure_kind)).all()
    return {row.failure_kind: row.how_many for row in rows}


def like_job(database: Database, job_id: int, priority: Priority) -> NewJob:
    """A retry that looks as the job did: the same model, top-k and threshold."""
    with database.read() as connection:
        job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    return NewJob(
        model_id=job.model_id,
        top_k=job.top_k,
        threshold=job.threshold,
        runner=Runner.WORKERS,
        priority=priority,
        kind="retry",
        parent_id=job_id,
    )


def record_retry(
    database: Database,
    new: NewJob,
    failing: Failing,
    on_found: Callable[[int], None] = lambda _count: None,
) -> int:
    """Record a job over the photos that fail now; returns its number. `on_found` is told how many there are so far.

    Raises:
        ScanEnded: the job was cancelled meanwhile.
    """
    job_id = create_job(database, new)
    found = after = 0
    with kept_alive(database, job_id):
        while (last := _record_page(database, job_id, failing, after)) is not None:
            after, count = last
            found += count
            on_found(found)
    finish_scan(database, job_id)
    return job_id


def _record_page(database: Database, job_id: int, failing: Failing, after: int) -> tuple[int, int] | None:
    """Add the next failing photos to the job; returns the last one's id and how many they were."""
    with database.write() as connection:
        hold_scan(connection, job_id)
        rows = _next_failing(connection, failing, after)
        # A chunk has photos of one root, as in a scan: whether a job can go on is told by the ends of its chunks.
        by_root = sorted(rows, key=lambda row: (row.root_id, row.id))
        for _, of_root in groupby(by_root, key=lambda row: row.root_id):
            append_items(connection, job_id, [NewItem(row.id, skipped=False) for row in of_root])
    return (rows[-1].id, len(rows)) if rows else None


def _next_failing(connection: Connection, failing: Failing, after: int) -> Sequence[Any]:
    query = (
        select(photos.c.id, photos.c.root_id)
        .where(*failing_now(failing), photos.c.id > after)
        .order_by(photos.c.id)
        .limit(PAGE)
        .with_for_update(read=True, key_share=True, of=photos)  # nobody forgets them before they are items
    )
    return connection.execute(query).all()
