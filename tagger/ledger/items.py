"""Items and chunks of jobs: what is claimed, processed, stored, and listed.

An item is a photo of a job, with its outcome; a chunk is a range of items, which one process claims under a
token.
"""

import secrets
from collections import Counter
from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Self

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    bindparam,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from tagger.database.connection import Database
from tagger.database.enums import (
    CLASSIFICATION_KINDS,
    JobKind,
    JobState,
    Outcome,
    Priority,
    Target,
)
from tagger.database.statements import (
    AdvisoryLock,
    among,
    current_time,
    db_now,
    insert_page,
    take_lock,
)
from tagger.database.tables import chunks, job_items, jobs, metadata_writes, photos
from tagger.errors import FailureKind, LeaseLost, ScanInterrupted
from tagger.ledger.jobs import (
    CLAIMABLE,
    IS_LOCAL,
    LEASE_S,
    OPEN_STATES,
    WRITE,
    InferenceOptions,
    other_models,
    process_name,
    process_space,
    update_job,
)
from tagger.texts.documents import document_of


@dataclass(frozen=True)
class ChunkName:
    job_id: int
    chunk: int


@dataclass(frozen=True, kw_only=True)
class Claim(InferenceOptions):
    """A claimed chunk: its items `first` to `last`, the token of its results, and what its job says."""

    name: ChunkName
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
        first=row.first,
        last=row.last,
        attempts=row.attempts,
        name=ChunkName(job.id, row.chunk),
        token=token,
        other_models=other_models(connection, job.id),
        kind=JobKind(job.kind),
    )


def renew_leases(database: Database, claims: Iterable[Claim]) -> list[Claim]:
    """Renew leases, also of a paused job, and return the claims that were lost."""
    with database.write() as connection:
        in_order = sorted(
            claims, key=lambda claim: (claim.name.job_id, claim.name.chunk)
        )
        return [claim for claim in in_order if not _renew(connection, claim)]


def renew_lease(connection: Connection, claim: Claim) -> None:
    """Renew the lease and lock the chunk, before anything that no rollback can undo.

    Raises:
        LeaseLost: another worker took the chunk.
    """
    if not _renew(connection, claim):
        raise LeaseLost(job=claim.name.job_id)


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
        raise LeaseLost(job=claim.name.job_id)
    by_position = {item.position: item for item in outcomes}
    is_open = (
        job_items.c.job_id == claim.name.job_id,
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
            job_items.c.job_id == claim.name.job_id,
            job_items.c.position == bindparam("item"),
        )
        connection.execute(
            update(job_items).where(*is_item).values(attempts=claim.attempts), rows
        )


def count_crashes(database: Database, claim: Claim, position: int, by: int) -> None:
    """Add `by` to the crashes of an open item: how often a worker died while it processed this item alone."""
    item = (
        job_items.c.job_id == claim.name.job_id,
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
        chunks.c.job_id == claim.name.job_id,
        chunks.c.chunk == claim.name.chunk,
        chunks.c.token == claim.token,
        chunks.c.done.is_(False),
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
    append_chunks(connection, job_id, position, list(items.values()))


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


def photos_in_open_jobs(connection: Connection, photo_ids: Sequence[int]) -> set[int]:
    """Those of the photos that a job is classifying or will classify."""
    query = (
        select(job_items.c.photo_id)
        .join(jobs, jobs.c.id == job_items.c.job_id)
        .where(
            among(job_items.c.photo_id, photo_ids),
            job_items.c.outcome.is_(None),
            jobs.c.state.in_(OPEN_STATES),
            jobs.c.kind.in_(CLASSIFICATION_KINDS),
        )
    )
    return set(connection.scalars(query))


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
    """Which of the jobs is still to process a photo, by the photo's id."""
    if not job_ids:
        return {}
    is_open = job_items.c.job_id.in_(job_ids) & job_items.c.outcome.is_(None)
    query = select(job_items).where(among(job_items.c.photo_id, photo_ids), is_open)
    return {row.photo_id: row.job_id for row in connection.execute(query)}


def append_chunks(
    connection: Connection, job_id: int, position: int, skipped: Sequence[bool]
) -> None:
    """Divide the items from `position` on into chunks. `skipped` has one value per item."""
    latest = connection.scalar(
        select(func.max(chunks.c.chunk)).where(chunks.c.job_id == job_id)
    )
    chunk = 0 if latest is None else latest + 1
    rows, start = [], 0
    while start < len(skipped):
        size = CHUNK_SIZES[chunk] if chunk < len(CHUNK_SIZES) else LARGEST_CHUNK
        part = skipped[start : start + size]
        place = {
            "job_id": job_id,
            "chunk": chunk,
            "first": position + start,
            "last": position + start + len(part) - 1,
        }
        rows.append({**place, "skipped": sum(part), "done": all(part)})
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
        append_chunks(connection, job_id, position + added, [False] * count)
        added += count
        last = max(last, latest)
    return added, of_others, last


# Photos that currently fail, and photos whose metadata a job could not write.

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
    count = func.count().label("photo_count")
    query = select(photos.c.failure_kind, count).where(*failure_conditions(failures))
    query = query.group_by(photos.c.failure_kind).order_by(
        count.desc(), photos.c.failure_kind
    )
    return {row.failure_kind: row.photo_count for row in database.rows(query)}


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
        failure = {
            "kind": row.failure_kind,
            "text": row.failure_text,
            "attempts": row.failure_attempts,
        }
        yield document_of(FailingPhoto, row, **ids, **failure)


def _rows(
    database: Database,
    query: Select[Any],
    key: Column[int],
    after: int,
    size: int = FAILURES_PAGE,
) -> Iterator[Row[Any]]:
    # The rows of a query whose keys follow `after`, in their order.
    return chain.from_iterable(
        database.row_pages(query.where(key > after), key, size=size)
    )


def count_refusals(database: Database, job_id: int) -> dict[str, int]:
    """The number of photos that a metadata job refused, by kind, the most frequent first."""
    count = func.count().label("photo_count")
    query = (
        select(job_items.c.reason, count)
        .where(job_items.c.job_id == job_id, job_items.c.outcome == Outcome.REFUSED)
        .group_by(job_items.c.reason)
        .order_by(count.desc(), job_items.c.reason)
    )
    return {row.reason: row.photo_count for row in database.rows(query)}


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
    """Yield every photo that a metadata job refused or failed, after the position `after`, in pages by key.

    With EDITED in `kinds`, also those of an undo whose files keep the changes of other programs.
    """
    reports: ColumnElement[bool] = job_items.c.outcome.in_(
        (Outcome.REFUSED, Outcome.FAILED, Outcome.GONE)
    )
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
        yield document_of(
            FailingPhoto, row, kind=row.reason, text=row.error_text, job=job_id
        )
