"""Photos that currently fail, and photos whose metadata a job could not write."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Select, exists, func, or_, select

from tagger.database.connection import Database
from tagger.database.enums import Outcome, Target
from tagger.database.tables import job_items, metadata_writes, photos
from tagger.errors import FailureKind
from tagger.texts.documents import document_of

FAILURES_PAGE = 1000
# The reason of a photo that an undo left as another program had edited it.
EDITED = "edited"


@dataclass(frozen=True)
class FailingPhoto:
    """A photo with the reason of its failure. `position` is the key of the next page."""

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    kind: str
    text: str
    attempts: int
    job: int | None


@dataclass(frozen=True)
class FailureDocument:
    """A photo that fails, and why. `photo` is its number."""

    photo: int
    path: str
    kind: str
    text: str | None
    attempts: int | None
    job: int | None


@dataclass(frozen=True)
class FailureFilter:
    """Selects failing photos: those of a job, of some kinds. By default all.

    `is_processed`: only photos that the job has processed, not those that fail since an earlier job.
    """

    job_id: int | None = None
    kinds: tuple[FailureKind, ...] = ()
    is_processed: bool = False


def failure_conditions(failures: FailureFilter) -> list[ColumnElement[bool]]:
    """The conditions on `photos`. The partial index of failing photos serves them."""
    conditions: list[ColumnElement[bool]] = [photos.c.failure_kind.is_not(None)]
    if failures.kinds:
        conditions.append(photos.c.failure_kind.in_(failures.kinds))
    if failures.job_id is not None:
        in_job = exists().where(job_items.c.photo_id == photos.c.id, job_items.c.job_id == failures.job_id)
        conditions.append(in_job)
        if failures.is_processed:
            conditions.append(~_is_pending(failures.job_id))
    return conditions


def count_failures(database: Database, failures: FailureFilter) -> dict[str, int]:
    """The number of matching photos that fail now, by kind, the most frequent first."""
    count = func.count().label("photo_count")
    query = select(photos.c.failure_kind, count).where(*failure_conditions(failures))
    query = query.group_by(photos.c.failure_kind).order_by(count.desc(), photos.c.failure_kind)
    with database.read() as connection:
        return {row.failure_kind: row.photo_count for row in connection.execute(query)}


def failing_photos(
    database: Database,
    failures: FailureFilter | None = None,
    after: int = 0,
    page_size: int = FAILURES_PAGE,
) -> Iterator[FailingPhoto]:
    """Yield every matching photo after the position `after`. Reads pages by key."""
    query = select(photos).where(*failure_conditions(failures or FailureFilter()))
    for row in _rows(database, query, photos.c.id, after, page_size):
        ids = {"position": row.id, "photo_id": row.id, "job": row.failure_job_id}
        failure = {"kind": row.failure_kind, "text": row.failure_text, "attempts": row.failure_attempts}
        yield document_of(FailingPhoto, row, **ids, **failure)


def _rows(
    database: Database, query: Select[Any], key: Column[int], after: int, size: int = FAILURES_PAGE
) -> Iterator[Row[Any]]:
    """The rows of a query whose keys follow `after`, in their order."""
    return chain.from_iterable(database.row_pages(query.where(key > after), key, size=size))


def count_refusals(database: Database, job_id: int) -> dict[str, int]:
    """The number of photos that a metadata job refused, by kind, the most frequent first."""
    count = func.count()
    query = (
        select(job_items.c.reason, count)
        .where(job_items.c.job_id == job_id, job_items.c.outcome == Outcome.REFUSED)
        .group_by(job_items.c.reason)
        .order_by(count.desc(), job_items.c.reason)
    )
    with database.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query)}


def count_refusals_with_sidecar(database: Database, job_id: int) -> int:
    """The number of photos that a metadata job refused and gave a sidecar, which is not undone."""
    is_refused = exists().where(
        job_items.c.photo_id == metadata_writes.c.photo_id,
        job_items.c.job_id == job_id,
        job_items.c.outcome == Outcome.REFUSED,
    )
    query = select(func.count(metadata_writes.c.photo_id.distinct())).where(
        metadata_writes.c.job_id == job_id,
        metadata_writes.c.target == Target.SIDECAR,
        metadata_writes.c.complete,
        is_refused,
    )
    with database.read() as connection:
        return connection.scalar(query) or 0


def unwritten_photos(
    database: Database, job_id: int, kinds: Collection[str] = (), after: int = -1
) -> Iterator[FailingPhoto]:
    """Yield every photo that a metadata job refused or failed, after the position `after`, in pages by key.

    With EDITED in `kinds`, also those of an undo whose files keep the changes of other programs.
    """
    reports: ColumnElement[bool] = job_items.c.outcome.in_((Outcome.REFUSED, Outcome.FAILED))
    if EDITED in kinds:
        reports = or_(reports, job_items.c.outcome == Outcome.WRITTEN)
    query = (
        select(job_items, photos.c.root_id, photos.c.path, photos.c.path_bytes)
        .join(photos, photos.c.id == job_items.c.photo_id)
        .where(job_items.c.job_id == job_id, reports)
    )
    if kinds:
        query = query.where(job_items.c.reason.in_(kinds))
    for row in _rows(database, query, job_items.c.position, after):
        yield document_of(FailingPhoto, row, kind=row.reason, text=row.error_text, job=job_id)


def _is_pending(job: int) -> ColumnElement[bool]:
    """The job has no outcome for the photo, or was cancelled before it."""
    return exists().where(
        job_items.c.photo_id == photos.c.id,
        job_items.c.job_id == job,
        func.coalesce(job_items.c.outcome, Outcome.CANCELLED) == Outcome.CANCELLED,
    )
