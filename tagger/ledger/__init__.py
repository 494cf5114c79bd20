"""Jobs: created, filled, suspended, ended; and the outcomes of their photos that follow their images.

A job is one request over many photos, stored as items in chunks.

A process that scans or runs a job has a lease on it. All times are the database's.
"""

import logging
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import (
    CLASSIFIED_OUTCOMES,
    METADATA_KINDS,
    JobKind,
    JobState,
    Note,
    NoteCode,
    Outcome,
    Priority,
    Runner,
    note_columns,
)
from tagger.database.changed_days import are_consequences_due
from tagger.database.connection import (
    AuditAction,
    Database,
    actor_of,
    has_receivers,
    record_action,
    record_event,
)
from tagger.database.engine import reason_of
from tagger.database.statements import among, current_time, db_now
from tagger.database.tables import (
    chunks as chunk_table,  # `chunks` is a module of this package
    contents,
    job_items,
    job_models,
    jobs,
    ledgers,
    photos,
)
from tagger.extensions import Event

log = logging.getLogger(__name__)

# Length of a lease, of jobs and of chunks.
LEASE_S = 45.0
# Time between renewals: a lease survives three failed ones.
RENEW_S = 12.0
# Time until the next renewal after a failed one: when the database is back, leases may have
# expired.
RETRY_S = 2.0

# The owner of a job without items. Any process may claim it and add them.
UNFILLED = ""
# The columns of a job that no process owns.
NO_OWNER: dict[str, None] = {"owner": None, "owner_lease_until": None}


def process_name() -> str:
    """The running process, the owner of its leases: its number, after `process_space`."""
    return f"{process_space()}/{os.getpid()}"


def process_space() -> str:
    """Where a process number names one process: the host, on Linux with the boot and the PID namespace.

    Containers may share the name of their host, but each has its own numbers.
    """
    host = socket.gethostname()
    try:
        boot = (
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        )
        return f"{host}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return host


def job_heartbeat(
    database: Database, job_id: int, after_renewal: Callable[[], object] = lambda: None
) -> AbstractContextManager[None]:
    """Renew this process's lease on the job while the context is open, and call `after_renewal` each time."""
    is_own = jobs.c.id == job_id, jobs.c.owner == process_name()
    renewal = update(jobs).where(*is_own).values(owner_lease_until=db_now() + LEASE_S)

    def renew() -> None:
        database.execute(renewal)
        after_renewal()

    return renewing(renew, "owner")


@contextmanager
def renewing(renew: Callable[[], object], name: str) -> Iterator[None]:
    """Call `renew` every RENEW_S while the context is open; after an error, every RETRY_S.

    A thread of its own does, so that a slow disk ends no lease. It goes on after any error: without renewals,
    other processes take over.
    """
    closed = threading.Event()

    def run() -> None:
        pause_s = RENEW_S
        while not closed.wait(pause_s):
            try:
                renew()
            except Exception as error:
                if pause_s == RENEW_S:
                    log.warning(
                        "The leases could not be renewed; trying again: %s",
                        reason_of(error)
                        if isinstance(error, SQLAlchemyError)
                        else error,
                        exc_info=not isinstance(error, SQLAlchemyError),
                    )
                pause_s = RETRY_S
            else:
                pause_s = RENEW_S

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


# The job option with the metadata options of the job that writes its tags (see
# jobs.enqueue.submission).
WRITE = "write"

# The job option that lists the folders and files of a job.
PATHS = "paths"

# The job option with the number of folders that its scan could not read, if there are any.
SKIPPED_FOLDERS = "skipped_folders"

# Who works on a job, which the column `runner` says: the process that made it, or workers.
IS_LOCAL = jobs.c.runner == Runner.LOCAL

CLAIMABLE = (JobState.SCANNING, JobState.QUEUED, JobState.RUNNING)
OPEN_STATES = (*CLAIMABLE, JobState.WAITING, JobState.PAUSED)


@dataclass(frozen=True)
class InferenceOptions:
    """A job skips photos that were classified with the same options, unless `reprocess`."""

    model_id: int
    top_k: int
    threshold: float
    reprocess: bool = field(default=False, kw_only=True)
    # Further models that classify the photos, each with its threshold.
    other_models: tuple[tuple[int, float], ...] = field(default=(), kw_only=True)

    @property
    def thresholds(self) -> Mapping[int, float]:
        """The models that classify the photos, the first one first, with their thresholds."""
        return {self.model_id: self.threshold, **dict(self.other_models)}


@dataclass(frozen=True)
class NewJob(InferenceOptions):
    """A job to create. Its model and inference options never change afterwards."""

    runner: Runner = Runner.WORKERS
    priority: Priority = Priority.BULK
    kind: JobKind = JobKind.TAG
    options: Mapping[str, object] | None = None
    # The job whose failed photos this one retries, or whose tags it writes.
    parent_id: int | None = None
    # Who started it; None: who makes the transaction.
    author: str | None = None


def other_models(connection: Connection, job_id: int) -> tuple[tuple[int, float], ...]:
    query = select(job_models.c.model_id, job_models.c.threshold).where(
        job_models.c.job_id == job_id
    )
    return tuple(
        (row.model_id, row.threshold)
        for row in connection.execute(query.order_by(job_models.c.position))
    )


def update_job(
    connection: Connection,
    job_id: int,
    values: Mapping[str, Any],
    *conditions: ColumnElement[bool],
) -> bool:
    """Change columns of a job if it meets the conditions. Returns whether it did."""
    is_job = jobs.c.id == job_id
    return bool(
        connection.execute(
            update(jobs).where(is_job, *conditions).values(values)
        ).rowcount
    )


def create_job(database: Database, new: NewJob) -> int:
    with database.write() as connection:
        return insert_job(connection, new)


def insert_job(connection: Connection, new: NewJob, schedule: str | None = None) -> int:
    """Create a job, for a run of `schedule`, inside a transaction of the caller. Returns its id."""
    options = new.options or {}
    values = {
        "kind": new.kind,
        "options": options,
        "model_id": new.model_id,
        "top_k": new.top_k,
        "threshold": new.threshold,
        "reprocess": new.reprocess,
        "parent_id": new.parent_id,
        "runner": new.runner,
        "priority": new.priority,
        "state": JobState.SCANNING,
        "created_at": current_time(connection),
        "author": new.author or actor_of(connection).name,
        "owner": process_name(),
        "owner_lease_until": db_now() + LEASE_S,
    }
    if connection.dialect.name == "sqlite":
        # It would use the numbers of removed jobs again.
        last = connection.scalar(select(func.max(jobs.c.id))) or 0
        removed = connection.scalar(select(ledgers.c.last_removed_job)) or 0
        values["id"] = max(last, removed) + 1
    job_id = int(
        connection.execute(
            insert(jobs).values(values).returning(jobs.c.id)
        ).scalar_one()
    )
    others = [
        {
            "job_id": job_id,
            "position": position,
            "model_id": model_id,
            "threshold": threshold,
        }
        for position, (model_id, threshold) in enumerate(new.other_models, 2)
    ]
    if others:
        connection.execute(insert(job_models), others)
    record_action(
        connection,
        AuditAction.JOB_CREATE,
        job_id,
        kind=new.kind,
        runner=new.runner,
        parent=new.parent_id,
        schedule=schedule,
        write=options.get(WRITE),
    )
    return job_id


def finish_scan(
    database: Database,
    job_id: int,
    note: Note | str | None = None,
    *,
    other_files: int = 0,
    skipped_folders: int = 0,
) -> None:
    """Queue a job whose items are all recorded, or finish it if no chunk is open.

    `other_files`: what the scan left out. `skipped_folders`: how many folders it could not read.
    """
    started = jobs.c.started_at.is_not(None)
    with database.write() as connection:
        if skipped_folders:
            options = (
                connection.scalar(select(jobs.c.options).where(jobs.c.id == job_id))
                or {}
            )
            options = options | {SKIPPED_FOLDERS: skipped_folders}
            update_job(connection, job_id, {"options": options})
        queued = {
            "state": case((started, JobState.RUNNING), else_=JobState.QUEUED),
            "other_files": other_files,
        } | note_columns(note)
        update_job(connection, job_id, queued, jobs.c.state == JobState.SCANNING)
        update_job(connection, job_id, NO_OWNER, ~IS_LOCAL)
        finish_if_done(connection, job_id)


def finish_job(database: Database, job_id: int) -> int:
    """Finish the job if it is done, after the transaction that closed a chunk, which would keep it locked.

    Returns the number of its items, as `finish_if_done`.
    """
    if database.scalar(select(_has_open_chunk(job_id))):
        return 0
    with database.write() as connection:
        return finish_if_done(connection, job_id)


def finish_if_done(
    connection: Connection, job_id: int, *, has_last_step: bool = True
) -> int:
    """Finish the job if all its items are recorded and no chunk is open, after its last step.

    Returns the number of its items if it has finished now, else 0.
    """
    # The lock comes first: an update that waited for it would decide by chunks that it read before.
    connection.execute(
        select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True)
    )
    is_done = jobs.c.id == job_id, _is_recorded(), ~_has_open_chunk(job_id)
    job = connection.execute(select(jobs).where(*is_done)).one_or_none()
    if job is None or (has_last_step and _add_last_step(connection, job)):
        return 0
    _retake_outcomes(connection, job_items.c.job_id == job_id)
    tagged = (
        select(func.sum(chunk_table.c.tagged))
        .where(chunk_table.c.job_id == job_id)
        .scalar_subquery()
    )
    job = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            state=JobState.FINISHED,
            tagged_at_end=func.coalesce(tagged, 0),
            finished_at=current_time(connection),
            **NO_OWNER,
        )
        .returning(*jobs.c)
    ).one()
    _record_end(connection, job)
    if WRITE in job.options and job.kind not in METADATA_KINDS:
        # The job that writes the tags of this one. The process that claims it adds its items.
        write_job = NewJob(
            model_id=job.model_id,
            top_k=job.top_k,
            threshold=job.threshold,
            runner=Runner(job.runner),
            priority=Priority(job.priority),
            kind=JobKind.WRITE,
            options={WRITE: job.options[WRITE]},
            parent_id=job.id,
            author=job.author,
        )
        write_job_id = insert_job(connection, write_job)
        if job.runner != Runner.LOCAL:
            leave_unfilled(connection, write_job_id)
    return int(job.total)


def _add_last_step(connection: Connection, job: Row[Any]) -> bool:
    # Add the last chunk of a job that classified photos: it has no photos, but what follows from them.
    #
    # False: it was added before, or nothing follows. `tag` does what is due after other jobs, too.
    sums = (func.sum(chunk_table.c[outcome.value]) for outcome in CLASSIFIED_OUTCOMES)
    latest, *counts, last_step = connection.execute(
        select(
            func.max(chunk_table.c.chunk),
            *sums,
            func.sum(case((IS_LAST_STEP, 1), else_=0)),
        ).where(chunk_table.c.job_id == job.id)
    ).one()
    is_local = job.runner == Runner.LOCAL
    is_due = any(counts) or (is_local and are_consequences_due(connection))
    if job.kind in METADATA_KINDS or last_step or not is_due:
        return False
    number = 0 if latest is None else latest + 1
    values = {
        "job_id": job.id,
        "chunk": number,
        "first": job.total,
        "last": job.total - 1,
    }
    connection.execute(insert(chunk_table).values(values))
    return True


# The condition that a chunk is the last step of a job: it has no photos.
IS_LAST_STEP = chunk_table.c.last < chunk_table.c.first


def done_jobs(database: Database) -> list[int]:
    """The jobs of workers that are done but not finished, as the worker died; paused ones finish later."""
    is_done = (
        jobs.c.state != JobState.PAUSED,
        _is_recorded(),
        ~_has_open_chunk(jobs.c.id),
    )
    query = select(jobs.c.id).where(~IS_LOCAL, *is_done)
    return [row.id for row in database.rows(query)]


def _is_recorded() -> ColumnElement[bool]:
    # The condition that a job is open, and that no scan adds items to it.
    # A job that was suspended and resumed is no longer in the state `scanning`, but its scan may still run.
    scanned = or_(IS_LOCAL, jobs.c.owner.is_(None))
    states = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING, JobState.PAUSED)
    return and_(jobs.c.state.in_(states), scanned)


def _has_open_chunk(job_id: int | ColumnElement[int]) -> ColumnElement[bool]:
    return exists().where(chunk_table.c.job_id == job_id, chunk_table.c.done.is_(False))


def _record_end(connection: Connection, job: Row[Any]) -> None:
    if not has_receivers(connection, Event.JOB_FINISHED):
        return
    sums = [
        func.coalesce(func.sum(chunk_table.c[outcome.value]), 0).label(outcome.value)
        for outcome in Outcome
    ]
    counts = connection.execute(
        select(*sums).where(chunk_table.c.job_id == job.id)
    ).one()
    data = {
        "job": job.id,
        "kind": job.kind,
        "state": job.state,
        "total": job.total,
        **{name: int(count) for name, count in counts._mapping.items()},  # noqa: SLF001 - its public name
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at.isoformat(),
    }
    record_event(connection, Event.JOB_FINISHED, job.id, data)


def leave_unfilled(connection: Connection, job_id: int) -> None:
    """Let any process add the items of the job."""
    update_job(connection, job_id, {"owner": UNFILLED, "owner_lease_until": None})


# The condition that any process may claim a job to add its items.
IS_UNFILLED = and_(jobs.c.owner == UNFILLED, jobs.c.state.in_(OPEN_STATES))


def claim_unfilled_job(database: Database) -> int | None:
    """Claim a job whose items are not all recorded, for this process to add them. None if there is none."""
    job_id = database.scalar(
        select(jobs.c.id).where(IS_UNFILLED).order_by(jobs.c.id).limit(1)
    )
    if job_id is None:
        return None
    owner = {"owner": process_name(), "owner_lease_until": db_now() + LEASE_S}
    with database.write() as connection:
        return job_id if update_job(connection, job_id, owner, IS_UNFILLED) else None


def suspend_for_root(
    database: Database, job_id: int, root_name: str, problem: str | None = None
) -> None:
    """Let the job wait until the root is available. `problem`: why a bucket is not."""
    unavailable = Note(NoteCode.FOLDER_UNAVAILABLE, {"name": root_name})
    note = f"waiting for {root_name}: {problem}" if problem else unavailable
    values = {"state": JobState.WAITING} | note_columns(note)
    with database.write() as connection:
        update_job(connection, job_id, values, jobs.c.state.in_(CLAIMABLE))


def record_error(database: Database, job_id: int, error: Note | str) -> None:
    """Show an error in the job's note. The chunk is retried."""
    with database.write() as connection:
        update_job(connection, job_id, note_columns(error), jobs.c.state.in_(CLAIMABLE))


# What becomes of the photos of a local job that ends early.
PUT_BACK = "what is left was put back, which counts as cancelled; the same command finds it again"


def end_local_job(connection: Connection, job_id: int, note: str) -> None:
    """End the job of a command that ends: finish it if it is done, and cancel it otherwise.

    A job whose tags were to be written next is cancelled, too: there is nobody left to write them.
    """
    options = connection.scalar(select(jobs.c.options).where(jobs.c.id == job_id)) or {}
    # What follows from its photos is due, and done by the next command or worker.
    if WRITE not in options:
        last_step = chunk_table.c.job_id == job_id, IS_LAST_STEP
        connection.execute(
            update(chunk_table).where(*last_step).values(done=True, lease_until=None)
        )
        finish_if_done(connection, job_id, has_last_step=False)
    cancel_job(connection, job_id, note)


def cancel_job(connection: Connection, job_id: int, note: str) -> None:
    """Cancel the job: its open items end as `cancelled`, stored outcomes stay."""
    lock_open_chunks(connection, job_id)
    end = {"state": JobState.CANCELLED, "finished_at": current_time(connection)}
    values = end | NO_OWNER | note_columns(note)
    if update_job(connection, job_id, values, jobs.c.state.in_(OPEN_STATES)):
        # After the job: a concurrent scan adds its chunks either before, or sees that the job has ended.
        stored = sum(
            chunk_table.c[outcome.value]
            for outcome in Outcome
            if outcome is not Outcome.CANCELLED
        )
        ended: dict[str, Any] = {
            "done": True,
            "token": None,
            "lease_until": None,
            "cancelled": chunk_table.c.last - chunk_table.c.first + 1 - stored,
        }
        is_open = chunk_table.c.job_id == job_id, chunk_table.c.done.is_(False)
        connection.execute(update(chunk_table).where(*is_open).values(ended))
        is_open_item = job_items.c.job_id == job_id, job_items.c.outcome.is_(None)
        cancelled_items = update(job_items).where(*is_open_item)
        connection.execute(cancelled_items.values(outcome=Outcome.CANCELLED))
        _retake_outcomes(connection, job_items.c.job_id == job_id)
        _record_end(
            connection,
            connection.execute(select(jobs).where(jobs.c.id == job_id)).one(),
        )


def lock_open_chunks(connection: Connection, job_id: int) -> None:
    """Lock chunks before their job, the order in which they are claimed."""
    if connection.dialect.name == "postgresql":
        open_chunks = select(chunk_table.c.chunk).where(
            chunk_table.c.job_id == job_id, chunk_table.c.done.is_(False)
        )
        connection.execute(open_chunks.order_by(chunk_table.c.chunk).with_for_update())


# Outcomes of photos that follow their images: verdicts, positions and later photos change them.
#
# Items of a job that runs have the outcomes with which they were stored. When it ends, all of them
# are those of their images; from then on, whatever changes an image changes the items of its
# photos.

OVER = (JobState.FINISHED, JobState.CANCELLED)


def follow_images(connection: Connection, condition: ColumnElement[bool]) -> None:
    """Give items of jobs that are over the outcomes that their images have now.

    `condition`: of the items, their photos or images. A job that ends just now is waited for.
    """
    changed = {row.job_id for row in connection.execute(items_to_replace(condition))}
    if not changed:
        return
    # One that runs, as far as is seen here, may be ending with the outcomes from before. Scans are not: they
    # lock their job first.
    may_be_over = among(jobs.c.id, changed), jobs.c.state != JobState.SCANNING
    query = select(jobs.c.id, jobs.c.state).where(*may_be_over).order_by(jobs.c.id)
    locked = connection.execute(query.with_for_update(read=True))
    over = [job.id for job in locked if job.state in OVER]
    if over:
        _retake_outcomes(connection, condition & among(job_items.c.job_id, over))


def _retake_outcomes(connection: Connection, condition: ColumnElement[bool]) -> None:
    # Give items of jobs that are over, or are about to end, the outcomes that their images have now.
    rows = connection.execute(items_to_replace(condition)).all()
    for job_id, of_job in groupby(rows, key=attrgetter("job_id")):
        _replace(connection, job_id, list(of_job))


def items_to_replace(condition: ColumnElement[bool]) -> Select[Any]:
    """The classified items with another outcome than their images have now, in order of their positions."""
    is_other = contents.c.outcome.in_(CLASSIFIED_OUTCOMES) & (
        contents.c.outcome != job_items.c.outcome
    )
    columns = (
        job_items.c.job_id,
        job_items.c.position,
        job_items.c.outcome,
        contents.c.outcome.label("now"),
    )
    return (
        select(*columns)
        .join_from(job_items, photos, photos.c.id == job_items.c.photo_id)
        .join(contents, contents.c.id == photos.c.content_id)
        .where(job_items.c.outcome.in_(CLASSIFIED_OUTCOMES), is_other, condition)
        .order_by(job_items.c.job_id, job_items.c.position)
    )


def _replace(connection: Connection, job_id: int, rows: Sequence[Row[Any]]) -> None:
    # Replace outcomes of items of a job, and the numbers of their chunks.
    first, last = rows[0].position, rows[-1].position
    is_near = chunk_table.c.first <= last, chunk_table.c.last >= first
    query = select(chunk_table.c.chunk, chunk_table.c.first, chunk_table.c.last).where(
        chunk_table.c.job_id == job_id, *is_near
    )
    for chunk in connection.execute(query.order_by(chunk_table.c.chunk)).all():
        own = [row for row in rows if chunk.first <= row.position <= chunk.last]
        numbers = Counter(row.now for row in own)
        numbers.subtract(row.outcome for row in own)
        if own:
            is_chunk = (
                chunk_table.c.job_id == job_id,
                chunk_table.c.chunk == chunk.chunk,
            )
            more = {
                outcome: chunk_table.c[outcome] + number
                for outcome, number in numbers.items()
            }
            connection.execute(update(chunk_table).where(*is_chunk).values(more))
    is_item = job_items.c.job_id == job_id, job_items.c.position == bindparam("item")
    values = [{"item": row.position, "outcome": row.now} for row in rows]
    connection.execute(update(job_items).where(*is_item), values)
