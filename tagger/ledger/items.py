"""Items: the photos of a job, in chunks; and photos that fail, or whose metadata could not be written.

A scan appends items; retries and backfills select them in SQL.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
)

from tagger.database import CLASSIFICATION_KINDS, Outcome, Priority, Target
from tagger.database.connection import Database
from tagger.database.statements import (
    AdvisoryLock,
    among,
    db_now,
    insert_page,
    take_lock,
)
from tagger.database.tables import chunks, job_items, jobs, metadata_writes, photos
from tagger.errors import FailureKind, ScanInterrupted
from tagger.ledger import (
    CLAIMABLE,
    IS_LOCAL,
    LEASE_S,
    OPEN_STATES,
    WRITE,
    other_models,
    process_name,
    process_space,
    update_job,
)

CHUNK_SIZES = (32, 32, 64, 64, 128, 128)
# Chunks grow: a small job is spread over several workers, a large one needs few messages.
LARGEST_CHUNK = 256

# The reason of a skipped item.
CLASSIFIED_BEFORE = "already classified by this model"

PAGE = 20_000

Condition = ColumnElement[bool]


def append_items(
    connection: Connection, job_id: int, items: Mapping[int, bool]
) -> None:
    """Add photos to a job, in chunks. Call it in the transaction that records them.

    `items`: for each photo's id, whether it is skipped, since the job's model has classified it already.

    Raises:
        ScanInterrupted: the job was cancelled, or another process took it over.
    """
    if not items:
        return
    position = lock_scan(connection, job_id)
    skipped = (Outcome.SKIPPED.value, CLASSIFIED_BEFORE)
    rows = [
        (job_id, position + i, photo_id, *(skipped if is_skipped else (None, None)))
        for i, (photo_id, is_skipped) in enumerate(items.items())
    ]
    insert_page(
        connection,
        job_items,
        ("job_id", "position", "photo_id", "outcome", "reason"),
        rows,
    )
    _append_chunks(connection, job_id, position, list(items.values()))


def lock_scan(connection: Connection, job_id: int) -> int:
    """Lock the job, so that it cannot end before this transaction does. Returns the number of its items.

    A transaction that also writes photos calls this first, so that all lock the job before photos.

    Raises:
        ScanInterrupted: the job was cancelled, or another process took it over.
    """
    total = connection.scalar(
        select(jobs.c.total)
        .where(
            jobs.c.id == job_id,
            jobs.c.state.in_(OPEN_STATES),
            jobs.c.owner == process_name(),
        )
        .with_for_update(key_share=True)
    )
    if total is None:
        raise ScanInterrupted(job=job_id)
    return int(total)


def open_jobs_of_photos(database: Database, photo_ids: Sequence[int]) -> dict[int, int]:
    """The latest job that is classifying or will classify a photo, by the photo's id."""
    query = (
        select(job_items.c.photo_id, jobs.c.id)
        .join(jobs, jobs.c.id == job_items.c.job_id)
        .where(
            among(job_items.c.photo_id, photo_ids),
            job_items.c.outcome.is_(None),
            jobs.c.state.in_(OPEN_STATES),
            jobs.c.kind.in_(CLASSIFICATION_KINDS),
        )
        .order_by(jobs.c.id)
    )
    return {row.photo_id: row.id for row in database.rows(query)}


def jobs_with_the_same_task(connection: Connection, job_id: int) -> list[int]:
    """The open jobs that classify their photos as this one would, so that it can leave these to them.

    None for a job that classifies photos again, or then writes metadata: it needs all of its photos. A job
    that waits or is paused keeps nobody from its photos, and one for later no job for now. So does one in a
    process of another machine, which may have died.

    Call it in the transaction that adds photos, before that locks photos: other jobs wait until it ends.
    """
    job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    if job.kind not in CLASSIFICATION_KINDS or job.reprocess or WRITE in job.options:
        return []
    take_lock(connection, AdvisoryLock.ADD_ITEMS)
    is_here = jobs.c.owner.startswith(f"{process_space()}/", autoescape=True)
    query = select(jobs.c.id).where(
        jobs.c.id != job_id,
        jobs.c.runner == job.runner,
        jobs.c.model_id == job.model_id,
        jobs.c.top_k == job.top_k,
        jobs.c.threshold == job.threshold,
        jobs.c.state.in_(CLAIMABLE),
        jobs.c.kind.in_(CLASSIFICATION_KINDS),
        or_(~IS_LOCAL, is_here),
        or_(jobs.c.priority == Priority.INTERACTIVE, job.priority == Priority.BULK),
    )
    models = other_models(connection, job_id)
    return [
        each
        for each in connection.scalars(query).all()
        if other_models(connection, each) == models
    ]


def jobs_of_photos(
    connection: Connection, job_ids: Sequence[int], photo_ids: Sequence[int]
) -> dict[int, int]:
    if not job_ids:
        return {}
    is_open = job_items.c.job_id.in_(job_ids) & job_items.c.outcome.is_(None)
    query = select(job_items).where(among(job_items.c.photo_id, photo_ids), is_open)
    return {row.photo_id: row.job_id for row in connection.execute(query)}


def _append_chunks(
    connection: Connection, job_id: int, position: int, skipped: Sequence[bool]
) -> None:
    # Divide the items from `position` on into chunks. `skipped` has one value per item.
    latest = connection.scalar(
        select(func.max(chunks.c.chunk)).where(chunks.c.job_id == job_id)
    )
    chunk = 0 if latest is None else latest + 1
    rows, start = [], 0
    while start < len(skipped):
        size = CHUNK_SIZES[chunk] if chunk < len(CHUNK_SIZES) else LARGEST_CHUNK
        part = skipped[start : start + size]
        row = {
            "job_id": job_id,
            "chunk": chunk,
            "first": position + start,
            "last": position + start + len(part) - 1,
            "skipped": sum(part),
            "done": all(part),
        }
        rows.append(row)
        chunk, start = chunk + 1, start + size
    connection.execute(insert(chunks), rows)
    values = {"total": position + len(skipped), "owner_lease_until": db_now() + LEASE_S}
    update_job(connection, job_id, values)


def fill_job(
    database: Database,
    job_id: int,
    conditions: Sequence[Condition],
    source: FromClause = photos,
    on_progress: Callable[[int], None] = lambda _count: None,
    in_other_jobs: Counter[int] | None = None,
    *,
    after: int = 0,
) -> int:
    """Add all photos that match the conditions, in pages, by SQL alone. Returns the count.

    `source` is photos, or a join that the conditions need. Photos with ids up to `after` are items already.
    `in_other_jobs` gets the numbers of photos that are left to other jobs.

    Raises:
        ScanInterrupted: the job was cancelled.
    """
    count = 0
    while True:
        with database.write() as connection:
            added, of_others, after = _add_page(
                connection, job_id, conditions, source, after
            )
        count += added
        if in_other_jobs is not None:
            in_other_jobs.update(of_others)
        on_progress(count)
        if added + of_others.total() < PAGE:
            return count


def _add_page(
    connection: Connection,
    job_id: int,
    conditions: Sequence[Condition],
    source: FromClause,
    after: int,
) -> tuple[int, Counter[int], int]:
    # Add the next photos by id. Returns their number, those that other jobs have, and the last id.
    position = lock_scan(connection, job_id)
    other_jobs = jobs_with_the_same_task(connection, job_id)
    is_open = job_items.c.job_id.in_(other_jobs) & job_items.c.outcome.is_(None)
    open_in = select(func.min(job_items.c.job_id)).where(
        job_items.c.photo_id == photos.c.id, is_open
    )
    other_job = open_in.scalar_subquery() if other_jobs else null()
    # No photo is deleted before it is an item.
    page = (
        select(photos.c.id, photos.c.root_id, other_job.label("other_job"))
        .select_from(source)
        .where(*conditions, photos.c.id > after)
        .order_by(photos.c.id)
        .limit(PAGE)
        .with_for_update(read=True, key_share=True, of=photos)
    )
    selected = page.subquery()
    of_others = Counter[int]()
    last = 0
    if other_jobs:
        query = select(selected.c.other_job, func.count(), func.max(selected.c.id))
        for other, number, latest in connection.execute(
            query.group_by(selected.c.other_job)
        ):
            last = max(last, latest)
            if other is not None:
                of_others[other] = number
    # Ordered by root, as in a scan: the first and last item of a chunk then tell which roots it needs.
    number = func.row_number().over(order_by=(selected.c.root_id, selected.c.id))
    rows = select(literal(job_id), literal(position - 1) + number, selected.c.id)
    if other_jobs:
        rows = rows.where(selected.c.other_job.is_(None))
    connection.execute(
        insert(job_items).from_select(["job_id", "position", "photo_id"], rows)
    )
    # The items of each root get chunks of their own.
    of_roots = (
        select(func.count(), func.max(photos.c.id))
        .select_from(job_items.join(photos, photos.c.id == job_items.c.photo_id))
        .where(job_items.c.job_id == job_id, job_items.c.position >= position)
        .group_by(photos.c.root_id)
        .order_by(photos.c.root_id)
    )
    added = 0
    for count, latest in connection.execute(of_roots).all():
        _append_chunks(connection, job_id, position + added, [False] * count)
        added += count
        last = max(last, latest)
    return added, of_others, last


# Photos that currently fail, and photos whose metadata a job could not write.

FAILURES_PAGE = 1000
# The reason of a photo that an undo left as another program had edited it.
EDITED = "edited"


# A photo that fails, by the names of FailureDocument, with `position`, the key of the next page, and the
# columns of its path.
FailingPhoto = Row[Any]


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
    """Selects failing photos: those of a job, of some kinds. By default all but those whose file is gone.

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
    else:
        conditions.append(photos.c.failure_kind != FailureKind.GONE)
    if failures.job_id is not None:
        in_job = exists().where(
            job_items.c.photo_id == photos.c.id, job_items.c.job_id == failures.job_id
        )
        conditions.append(in_job)
        if failures.is_processed:
            # The job has no outcome for the photo, or was cancelled before it.
            outcome = func.coalesce(job_items.c.outcome, Outcome.CANCELLED)
            is_pending = in_job.where(outcome == Outcome.CANCELLED)
            conditions.append(~is_pending)
    return conditions


def count_failures(database: Database, failures: FailureFilter) -> dict[str, int]:
    """The number of matching photos that fail now, by kind, the most frequent first."""
    return _counts(database, photos.c.failure_kind, failure_conditions(failures))


def count_refusals(database: Database, job_id: int) -> dict[str, int]:
    """The number of photos that a metadata job refused, by kind, the most frequent first."""
    is_refused = job_items.c.job_id == job_id, job_items.c.outcome == Outcome.REFUSED
    return _counts(database, job_items.c.reason, is_refused)


def _counts(
    database: Database, kind: Column[Any], conditions: Sequence[Condition]
) -> dict[str, int]:
    count = func.count().label("photo_count")
    query: Select[Any] = select(kind.label("kind"), count).where(*conditions)
    rows = database.rows(query.group_by(kind).order_by(count.desc(), kind))
    return {row.kind: row.photo_count for row in rows}


_PATH = (photos.c.root_id, photos.c.path, photos.c.path_bytes)


def failing_photos(
    database: Database,
    failures: FailureFilter | None = None,
    after: int = 0,
    page_size: int = FAILURES_PAGE,
) -> Iterator[FailingPhoto]:
    """Every matching photo after the position `after`. Reads pages by key."""
    query = select(
        photos.c.id,
        photos.c.id.label("position"),
        photos.c.id.label("photo"),
        *_PATH,
        photos.c.failure_kind.label("kind"),
        photos.c.failure_text.label("text"),
        photos.c.failure_attempts.label("attempts"),
        photos.c.failure_job_id.label("job"),
    ).where(*failure_conditions(failures or FailureFilter()), photos.c.id > after)
    return chain.from_iterable(database.row_pages(query, photos.c.id, size=page_size))


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
    return database.scalar(query) or 0


def unwritten_photos(
    database: Database, job_id: int, kinds: Collection[str] = (), after: int = -1
) -> Iterator[FailingPhoto]:
    """Every photo that a metadata job refused or failed, like `failing_photos`.

    With EDITED in `kinds`, also those of an undo whose files keep the changes of other programs.
    """
    reports: ColumnElement[bool] = job_items.c.outcome.in_(
        (Outcome.REFUSED, Outcome.FAILED, Outcome.GONE)
    )
    if EDITED in kinds:
        reports = or_(reports, job_items.c.outcome == Outcome.WRITTEN)
    query = (
        select(
            job_items.c.position,
            photos.c.id.label("photo"),
            *_PATH,
            job_items.c.reason.label("kind"),
            job_items.c.error_text.label("text"),
            job_items.c.attempts,
            job_items.c.job_id.label("job"),
        )
        .join(photos, photos.c.id == job_items.c.photo_id)
        .where(job_items.c.job_id == job_id, job_items.c.position > after, reports)
    )
    if kinds:
        query = query.where(job_items.c.reason.in_(kinds))
    return chain.from_iterable(
        database.row_pages(query, job_items.c.position, size=FAILURES_PAGE)
    )
