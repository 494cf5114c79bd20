"""Jobs: made, scanned, waiting, ended. A job is one request over many photos, kept as items in chunks.

Knows nothing of who works on chunks (see chunks) or of how they are sent (see dispatch).
"""

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, case, exists, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database, db_now
from tagger.errors import ScanEnded
from tagger.tables import (
    WRITING_KINDS,
    JobKind,
    JobState,
    Outcome,
    Priority,
    Runner,
    chunks,
    job_items,
    jobs,
)

log = logging.getLogger(__name__)

LEASE_S = 45.0
RENEW_S = 12.0
"""Three renewals may fail before a lease ends."""

CHUNK_SIZES = (32, 32, 64, 64, 128, 128)
LARGEST_CHUNK = 256
"""Chunks grow: small jobs still spread over several workers, large ones need few messages."""

SEEN_BEFORE = "looked at before with the same model"

NOBODY = ""
"""Owner of a job that is to be filled by whoever sees it first."""
WRITE = "write"
"""Among a job's options: what is to be written into its photos' metadata, as `writing.asked` reads it."""


CLAIMABLE = (JobState.SCANNING, JobState.QUEUED, JobState.RUNNING)
OPEN_STATES = (*CLAIMABLE, JobState.WAITING, JobState.PAUSED)


@dataclass(frozen=True)
class NewJob:
    """What a job is made with; the model and how it looks are pinned."""

    model_id: int
    top_k: int
    threshold: float
    runner: Runner
    priority: Priority = Priority.BULK
    kind: JobKind = JobKind.TAG
    again: bool = False
    options: dict[str, object] | None = None
    parent_id: int | None = None
    """The job whose failed photos this one retries, or whose tags it writes."""


@dataclass(frozen=True)
class NewItem:
    """A photo of a job being scanned; `skipped` where nothing is to do, as it was looked at before."""

    photo_id: int
    skipped: bool


def create_job(database: Database, new: NewJob) -> int:
    """Record a job that this process now scans; returns its number."""
    with database.write() as connection:
        return make_job(connection, new)


def make_job(connection: Connection, new: NewJob) -> int:
    """The same, in a transaction that does more."""
    values = {
        "kind": new.kind,
        "options": new.options or {},
        "model_id": new.model_id,
        "top_k": new.top_k,
        "threshold": new.threshold,
        "again": new.again,
        "parent_id": new.parent_id,
        "runner": new.runner,
        "priority": new.priority,
        "state": JobState.SCANNING,
        "created_at": datetime.now(UTC),
        "owner": process_name(),
        "owner_until": db_now() + LEASE_S,
    }
    return int(connection.execute(insert(jobs).values(values).returning(jobs.c.id)).scalar_one())


def append_items(connection: Connection, job_id: int, items: Sequence[NewItem]) -> None:
    """Add items to a job being scanned, in chunks; call it in the transaction that records their photos.

    Raises:
        ScanEnded: the job was cancelled meanwhile, or taken for abandoned.
    """
    if not items:
        return
    position = hold_scan(connection, job_id)
    connection.execute(
        insert(job_items), [_item_row(job_id, position + i, item) for i, item in enumerate(items)]
    )
    append_chunks(connection, job_id, position, [item.skipped for item in items])


def append_chunks(connection: Connection, job_id: int, position: int, skipped: Sequence[bool]) -> None:
    """Cut items that were added at `position` into chunks; `skipped` says of each whether nothing is to do."""
    latest = connection.scalar(select(func.max(chunks.c.chunk)).where(chunks.c.job_id == job_id))
    chunk = 0 if latest is None else latest + 1
    rows, start = [], 0
    while start < len(skipped):
        size = CHUNK_SIZES[chunk] if chunk < len(CHUNK_SIZES) else LARGEST_CHUNK
        rows.append(_chunk_row(job_id, chunk, position + start, skipped[start : start + size]))
        chunk, start = chunk + 1, start + size
    connection.execute(insert(chunks), rows)
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(total=position + len(skipped), owner_until=db_now() + LEASE_S)
    )


def hold_scan(connection: Connection, job_id: int) -> int:
    """Keep others from ending the job until this transaction does; returns how many items it has.

    A transaction that also writes photos calls this first: whoever stores outcomes locks the job before photos.

    Raises:
        ScanEnded: the job was cancelled meanwhile, or taken for abandoned.
    """
    total = connection.scalar(
        select(jobs.c.total)
        .where(jobs.c.id == job_id, jobs.c.state.in_(OPEN_STATES), jobs.c.owner == process_name())
        .with_for_update(key_share=True)
    )
    if total is None:
        raise ScanEnded(job=job_id)
    return int(total)


def _item_row(job_id: int, position: int, item: NewItem) -> dict[str, object]:
    outcome, reason = (Outcome.SKIPPED, SEEN_BEFORE) if item.skipped else (None, None)
    return {
        "job_id": job_id,
        "position": position,
        "photo_id": item.photo_id,
        "outcome": outcome,
        "reason": reason,
    }


def _chunk_row(job_id: int, chunk: int, first: int, skipped: Sequence[bool]) -> dict[str, object]:
    return {
        "job_id": job_id,
        "chunk": chunk,
        "first": first,
        "last": first + len(skipped) - 1,
        "skipped": sum(skipped),
        "done": all(skipped),
    }


def finish_scan(database: Database, job_id: int, note: str | None = None) -> None:
    """All photos of the job are recorded: it is queued, or finished if there is nothing to do."""
    begun = jobs.c.started_at.is_not(None)
    with database.write() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == JobState.SCANNING)
            .values(state=case((begun, JobState.RUNNING), else_=JobState.QUEUED), note=note)
        )
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.runner == Runner.WORKERS)
            .values(owner=None, owner_until=None)
        )
        finish_if_done(connection, job_id)


def model_of(database: Database, job_id: int) -> int:
    """The model a job was made with."""
    with database.read() as connection:
        return int(connection.execute(select(jobs.c.model_id).where(jobs.c.id == job_id)).scalar_one())


def kind_of(database: Database, job_id: int) -> JobKind:
    with database.read() as connection:
        return JobKind(connection.execute(select(jobs.c.kind).where(jobs.c.id == job_id)).scalar_one())


def writes_tags(database: Database, job_id: int) -> bool:
    """Whether a job that writes tags is chained to it."""
    with database.read() as connection:
        job = connection.execute(select(jobs.c.kind, jobs.c.options).where(jobs.c.id == job_id)).one()
    return WRITE in job.options and job.kind not in WRITING_KINDS


def renew_owned(database: Database, job_id: int) -> None:
    """Show that this process, which scans or runs the job, is alive."""
    mine = (jobs.c.id == job_id, jobs.c.owner == process_name())
    with database.write() as connection:
        connection.execute(update(jobs).where(*mine).values(owner_until=db_now() + LEASE_S))


@contextmanager
def kept_alive(database: Database, job_id: int) -> Iterator[None]:
    """Show, from a thread of its own, that this process scans or runs the job; a slow disk is no death."""
    ended = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(database, job_id, ended), name="owner", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _renew_until(database: Database, job_id: int, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        try:
            renew_owned(database, job_id)
        except SQLAlchemyError as error:
            log.warning("job %d could not be shown to be alive: %s", job_id, error)


def finish_if_done(connection: Connection, job_id: int) -> None:
    """End the job if all its photos are known and no chunk of it is open."""
    # Two workers may store a job's last two chunks at once: with the row locked, the later one sees the earlier.
    connection.execute(select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True))
    no_open_chunk = ~exists().where(chunks.c.job_id == job_id, chunks.c.done.is_(False))
    # A job that waited for a root and was woken is no longer called scanning, though its scan may go on.
    scanned = or_(jobs.c.runner == Runner.LOCAL, jobs.c.owner.is_(None))
    ending = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING, JobState.PAUSED)
    ended = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(ending), scanned, no_open_chunk)
        .values(state=JobState.FINISHED, finished_at=datetime.now(UTC), owner=None, owner_until=None)
        .returning(*jobs.c)
    ).one_or_none()
    if ended is not None and WRITE in ended.options and ended.kind not in WRITING_KINDS:
        _chain_write(connection, ended)


def _chain_write(connection: Connection, ended: Row[Any]) -> None:
    """A job that writes the tags of one that has just ended; whose photos those are is found out by who works on it."""
    new = NewJob(
        model_id=ended.model_id,
        top_k=ended.top_k,
        threshold=ended.threshold,
        runner=Runner(ended.runner),
        priority=Priority(ended.priority),
        kind=JobKind.WRITE,
        options={WRITE: ended.options[WRITE]},
        parent_id=ended.id,
    )
    job_id = make_job(connection, new)
    if new.runner is Runner.WORKERS:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(owner=NOBODY, owner_until=None))


def adopt_job(database: Database) -> int | None:
    """Take a job whose photos nobody has chosen yet, or not all of them; None where there is none."""
    unchosen = (jobs.c.owner == NOBODY, jobs.c.state.in_(OPEN_STATES))
    with database.read() as connection:
        job_id = connection.scalar(select(jobs.c.id).where(*unchosen).order_by(jobs.c.id).limit(1))
    if job_id is None:
        return None
    mine = {"owner": process_name(), "owner_until": db_now() + LEASE_S}
    with database.write() as connection:
        taken = connection.execute(update(jobs).where(jobs.c.id == job_id, *unchosen).values(mine))
    return job_id if taken.rowcount else None


def wait_for_root(database: Database, job_id: int, root_name: str) -> None:
    """The job stands still until the root is there again."""
    note = f"waits for the folder “{root_name}”, which is away (not mounted?)"
    with database.write() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.in_(CLAIMABLE))
            .values(state=JobState.WAITING, note=note)
        )


def note_trouble(database: Database, job_id: int, trouble: str) -> None:
    """Say on the job what stands in its way; it is tried again."""
    with database.write() as connection:
        connection.execute(
            update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(CLAIMABLE)).values(note=trouble)
        )


def cancel_job(connection: Connection, job_id: int, note: str) -> None:
    """End a job early: what is not done is cancelled, what is done stays."""
    lock_open_chunks(connection, job_id)
    ended = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(OPEN_STATES))
        .values(
            state=JobState.CANCELLED, note=note, finished_at=datetime.now(UTC), owner=None, owner_until=None
        )
    )
    if ended.rowcount:
        # After the job: a scan that adds chunks at this moment either comes before, or finds its job ended.
        _cancel_open(connection, job_id)


def lock_open_chunks(connection: Connection, job_id: int) -> None:
    """Chunks before their job, as those who store do: each of them either comes before, or finds its token gone."""
    if connection.dialect.name == "postgresql":
        open_chunks = select(chunks.c.chunk).where(chunks.c.job_id == job_id, chunks.c.done.is_(False))
        connection.execute(open_chunks.order_by(chunks.c.chunk).with_for_update())


def _cancel_open(connection: Connection, job_id: int) -> None:
    counted = sum(chunks.c[o.value] for o in Outcome if o is not Outcome.CANCELLED)
    connection.execute(
        update(chunks)
        .where(chunks.c.job_id == job_id, chunks.c.done.is_(False))
        .values(
            done=True, token=None, lease_until=None, cancelled=chunks.c.last - chunks.c.first + 1 - counted
        )
    )
    connection.execute(
        update(job_items)
        .where(job_items.c.job_id == job_id, job_items.c.outcome.is_(None))
        .values(outcome=Outcome.CANCELLED)
    )


def process_name() -> str:
    """Name the running process, as leases name their holder."""
    return f"{socket.gethostname()}/{os.getpid()}"
