"""Old jobs: their items are removed in pages, from the first on. The jobs, their counts and the undo log of metadata stay.

What photos, tags, verdicts and failures are now does not depend on items: an item is what one job did to one photo.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobState
from tagger.database.tables import job_items, jobs
from tagger.ledger.jobs import OPEN_STATES

PAGE = 5000
"""Items that one transaction removes."""


@dataclass(frozen=True)
class OldItems:
    """How many jobs that ended before a time have items, and how many items these are."""

    jobs: int
    items: int


def count_old_items(database: Database, before: datetime) -> OldItems:
    """What `remove_old_items` would remove in all."""
    left = jobs.c.total - jobs.c.items_removed
    query = select(func.count(), func.coalesce(func.sum(left), 0)).where(_has_old_items(before))
    with database.read() as connection:
        row = connection.execute(query.select_from(jobs)).one()
    return OldItems(row[0], int(row[1]))


def remove_old_items(database: Database, before: datetime) -> int:
    """Remove a page of items of the oldest job that ended before this time; returns how many. 0: there is nothing left to do.

    Any number of processes may do so: each takes a job that no other works on just now.
    """
    oldest = select(jobs.c.id, jobs.c.total, jobs.c.items_removed).where(_has_old_items(before))
    oldest = oldest.order_by(jobs.c.id).limit(1)
    with database.read() as connection:  # most often there is none, and SQLite has one writer
        if connection.execute(oldest).first() is None:
            return 0
    with database.write() as connection:
        job = connection.execute(oldest.with_for_update(skip_locked=True)).one_or_none()
        if job is None:
            return 0
        end = min(job.total, job.items_removed + PAGE)
        page = job_items.c.position.between(job.items_removed, end - 1)
        connection.execute(delete(job_items).where(job_items.c.job_id == job.id, page))
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(items_removed=end))
    return int(end - job.items_removed)


def _has_old_items(before: datetime) -> ColumnElement[bool]:
    """Jobs that are over, and from which no open job takes its photos."""
    child = jobs.alias("child")
    is_needed = exists().where(child.c.parent_id == jobs.c.id, child.c.state.in_(OPEN_STATES))
    return and_(
        jobs.c.state.in_((JobState.FINISHED, JobState.CANCELLED)),
        jobs.c.finished_at < before,
        jobs.c.items_removed < jobs.c.total,
        ~is_needed,
    )
