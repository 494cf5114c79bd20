"""The progress of jobs, and their changes by others than their workers: pause, resume, cancel, recovery.

Counts are sums over a job's chunks: cheap to read, and never out of step with them. A paused chunk is
released with its next batch, a cancelled job refuses it. This module wakes no worker.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    and_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
)

from tagger.database import (
    METADATA_KINDS,
    JobKind,
    JobState,
    KeptStep,
    Note,
    NoteCode,
    Outcome,
    Runner,
    has_code,
    note_columns,
)
from tagger.database.connection import AuditAction, Database, record_action
from tagger.database.statements import LockTimedOut, db_now, lock_timeout
from tagger.database.tables import (
    changed_days,
    chunks,
    classifications,
    contents,
    job_items,
    job_models,
    jobs,
    models,
    photos,
)
from tagger.errors import JobFinished, JobNotFound, JobNotPausable
from tagger.ledger import (
    CLAIMABLE,
    IS_LAST_STEP,
    LEASE_S,
    NO_OWNER,
    OPEN_STATES,
    OVER,
    PATHS,
    PUT_BACK,
    SKIPPED_FOLDERS,
    WRITE,
    cancel_job,
    done_jobs,
    end_local_job,
    finish_if_done,
    leave_unfilled,
    lock_open_chunks,
    other_models,
    process_space,
    update_job,
)
from tagger.photos.paths import path_from_json, printable_path
from tagger.texts import document_of


def model_ids_of_job(connection: Connection, job_id: int) -> Sequence[int]:
    first = connection.execute(
        select(jobs.c.model_id).where(jobs.c.id == job_id)
    ).scalar_one()
    return [first, *dict(other_models(connection, job_id))]


def has_write_option(database: Database, job_id: int) -> bool:
    (job,) = database.rows(select(jobs).where(jobs.c.id == job_id))
    return WRITE in job.options and job.kind not in METADATA_KINDS


def job_options(
    database: Database, job_ids: Iterable[int]
) -> dict[int, dict[str, Any]]:
    is_named = jobs.c.id.in_(tuple(job_ids))
    query = select(jobs.c.id, jobs.c.options).where(is_named)
    rows = database.rows(query)
    return {row.id: row.options for row in rows}


def tag_job_paths(options: Mapping[str, Any]) -> list[Path]:
    """The recorded folders and files of a job, from its options; empty for jobs of other kinds."""
    return [path_from_json(path) for path in options.get(PATHS, ())]


def count_open_jobs(database: Database) -> int:
    return (
        database.scalar(select(func.count()).where(jobs.c.state.in_(OPEN_STATES))) or 0
    )


def count_changes(
    database: Database, steps: Collection[KeptStep] = (KeptStep.POSITIONS,)
) -> int:
    """How many changes of photos and images wait for one of these steps."""
    query = select(func.count()).where(changed_days.c.step.in_(steps))
    return database.scalar(query) or 0


def is_any_claimable(database: Database) -> bool:
    """Whether a job runs, or would run if a worker had time for it."""
    return bool(database.scalar(select(exists().where(jobs.c.state.in_(CLAIMABLE)))))


_PROCESSED = tuple(
    outcome
    for outcome in Outcome
    if outcome not in {Outcome.SKIPPED, Outcome.CANCELLED}
)
# A rate over a shorter time is meaningless.
SHORTEST_RATE_S = 1.0
# The rate of an open job counts the chunks claimed in this time, and those being processed.
RATE_WINDOW_S = 60.0


@dataclass(frozen=True)
class JobProgress:
    """A job and its counts. The counts of its items add up to `total`."""

    job: int
    parent: int | None
    kind: str
    state: JobState
    runner: str
    priority: str
    model: str
    note: str | None
    # The code and the values of the note; None if it has none.
    note_message: Mapping[str, Any] | None
    total: int
    queued: int
    running: int
    tagged: int
    unknown: int
    written: int
    unchanged: int
    refused: int
    skipped: int
    gone: int
    failed: int
    cancelled: int
    photos_per_second: float
    eta_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    # The job that writes this one's tags to metadata.
    write_job: int | None
    # How many of its first items are no longer stored (see job_control): their photos cannot be
    # listed.
    items_removed: int
    # Files that its scan left out because of their extension.
    other_files: int
    # Folders that its scan could not read. Photos in them may be missing.
    skipped_folders: int
    # Who started it, as in the audit log, or `schedule` and its name; None: it is not known.
    author: str | None
    # All photos have an outcome, and what follows from them is being stored: days, positions,
    # trips.
    settling: bool = field(default=False, kw_only=True)
    # How many of its photos had a tag when it ended; `tagged` is how many have one now.
    tagged_at_end: int | None = field(default=None, kw_only=True)
    # All its models, the first one first.
    models: Sequence[str] = field(default=(), kw_only=True)
    # The folders and files that were named, at most a hundred; empty for other jobs than tagging.
    paths: Sequence[str] = field(default=(), kw_only=True)

    @property
    def done(self) -> int:
        """The number of items with an outcome, without cancelled ones."""
        return self.total - self.queued - self.running - self.cancelled

    @property
    def counts(self) -> dict[str, int]:
        """How many of its items have each outcome that a job of its kind has."""
        if self.kind in METADATA_KINDS:
            changed = "undone" if self.kind == JobKind.UNDO else "written"
            counts = {
                changed: self.written,
                "unchanged": self.unchanged,
                "refused": self.refused,
            }
        else:
            counts = {"tagged": self.tagged, "unknown": self.unknown}
        return counts | {
            "skipped": self.skipped,
            "gone": self.gone,
            "failed": self.failed,
            "cancelled": self.cancelled,
        }

    @property
    def lacks_a_model(self) -> bool:
        """Whether one of its models could not be loaded, so that its photos lack that model's results."""
        return has_code(self.note, self.note_message, NoteCode.MODEL_LEFT_OUT)

    @property
    def is_silent(self) -> bool:
        """Whether its process has not renewed its lease. The next command that starts a job settles that."""
        return has_code(self.note, self.note_message, NoteCode.PROCESS_SILENT)

    @property
    def is_local(self) -> bool:
        return self.runner == Runner.LOCAL

    @property
    def is_over(self) -> bool:
        return self.state in OVER


def list_jobs(database: Database) -> list[JobProgress]:
    with database.read() as connection:
        return _list(connection, ())


def find_job(database: Database, job_id: int) -> JobProgress:
    """Return a job.

    Raises:
        JobNotFound: there is no such job.
    """
    with database.read() as connection:
        is_number = isinstance(job_id, int) and job_id < 2**63
        found = _list(connection, (jobs.c.id == job_id,)) if is_number else []
    if not found:
        raise JobNotFound(job=job_id)
    return found[0]


def has_only_things(database: Database, job: JobProgress) -> bool:
    """Whether models of things have classified photos of a job since it began, and none of landmarks."""
    return _has_classified(database, job, "things") and not _has_classified(
        database, job, "landmarks"
    )


def _has_classified(database: Database, job: JobProgress, kind: str) -> bool:
    of_kind = select(models.c.id).where(models.c.kind == kind)
    is_of_job = job_items.c.photo_id == photos.c.id, job_items.c.job_id == job.job
    source = photos.join(contents, contents.c.id == photos.c.content_id).outerjoin(
        classifications, classifications.c.content_id == contents.c.id
    )
    is_new = or_(
        and_(
            contents.c.model_id.in_(of_kind), contents.c.classified_at >= job.started_at
        ),
        and_(
            classifications.c.model_id.in_(of_kind),
            classifications.c.classified_at >= job.started_at,
        ),
    )
    query = (
        select(photos.c.id)
        .select_from(source)
        .where(exists().where(*is_of_job), is_new)
    )
    return database.scalar(query.limit(1)) is not None


def count_open_chunks(database: Database, job_id: int) -> int:
    """How many chunks with photos are free or held; 0 if the job is paused, suspended or over."""
    query = (
        select(func.count())
        .select_from(chunks.join(jobs, jobs.c.id == chunks.c.job_id))
        .where(
            chunks.c.job_id == job_id,
            chunks.c.done.is_(False),
            chunks.c.last >= chunks.c.first,
        )
        .where(jobs.c.state.in_(CLAIMABLE))
    )
    return database.scalar(query) or 0


def list_recent_jobs(database: Database, limit: int) -> tuple[list[JobProgress], int]:
    """The open jobs and the `limit` newest ones, newest first, and the number of all others."""
    newest = select(jobs.c.id).order_by(jobs.c.id.desc()).limit(limit)
    with database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(jobs)) or 0
        is_recent = or_(jobs.c.state.in_(OPEN_STATES), jobs.c.id.in_(newest))
        recent = _list(connection, (is_recent,))
    return recent, count - len(recent)


def list_older_jobs(database: Database, before: int, limit: int) -> list[JobProgress]:
    """The newest jobs with numbers below `before` that are over."""
    is_older = (jobs.c.id < before) & jobs.c.state.not_in(OPEN_STATES)
    newest = select(jobs.c.id).where(is_older).order_by(jobs.c.id.desc()).limit(limit)
    with database.read() as connection:
        return _list(connection, (jobs.c.id.in_(newest),))


def _list(
    connection: Connection, conditions: Sequence[ColumnElement[bool]]
) -> list[JobProgress]:
    # Read once: SQLite would evaluate it per row.
    now = connection.execute(select(db_now())).scalar_one()
    counts = [
        func.sum(chunks.c[outcome.value]).label(outcome.value) for outcome in Outcome
    ]
    in_jobs = chunks.c.job_id.in_(select(jobs.c.id).where(*conditions))
    sums = (
        select(chunks.c.job_id, *counts)
        .where(in_jobs)
        .group_by(chunks.c.job_id)
        .subquery()
    )
    recent = _recent_work(conditions, now)
    child = jobs.alias("child")
    is_writer = child.c.parent_id == jobs.c.id, child.c.kind == JobKind.WRITE
    write_job = (
        select(func.max(child.c.id)).where(*is_writer).correlate(jobs).scalar_subquery()
    )
    last_step = exists().where(
        chunks.c.job_id == jobs.c.id,
        chunks.c.done.is_(False),
        IS_LAST_STEP,
    )
    own = (
        models.c.name.label("model"),
        write_job.label("write_job"),
        last_step.correlate(jobs).label("settling"),
        or_(jobs.c.owner_lease_until < now, _is_dead(connection)).label("is_silent"),
    )
    query = (
        select(jobs, *own, sums, recent)
        .join(models, models.c.id == jobs.c.model_id)
        .outerjoin(sums, sums.c.job_id == jobs.c.id)
        .outerjoin(recent, recent.c.job_id == jobs.c.id)
        .where(*conditions)
        .order_by(jobs.c.id.desc())
    )
    others: dict[int, list[str]] = {}
    further = (
        select(job_models.c.job_id, models.c.name)
        .join(models, models.c.id == job_models.c.model_id)
        .where(job_models.c.job_id.in_(select(jobs.c.id).where(*conditions)))
    )
    for job_id, name in connection.execute(
        further.order_by(job_models.c.job_id, job_models.c.position)
    ):
        others.setdefault(job_id, []).append(name)
    return [_progress(row, others.get(row.id, ())) for row in connection.execute(query)]


def _recent_work(conditions: Sequence[ColumnElement[bool]], now: float) -> Subquery:
    # Of open jobs: the photos in claimed chunks, the recently processed ones, and over how many seconds.
    claimed = (chunks.c.done.is_(False)) & (chunks.c.lease_until > now)
    open_items = (
        chunks.c.last
        - chunks.c.first
        + 1
        - sum(chunks.c[outcome.value] for outcome in Outcome)
    )
    processed = sum(chunks.c[outcome.value] for outcome in _PROCESSED)
    open_jobs = select(jobs.c.id).where(jobs.c.state.in_(OPEN_STATES), *conditions)
    return (
        select(
            chunks.c.job_id,
            func.sum(case((claimed, open_items), else_=0)).label("running"),
            func.sum(processed).label("recent"),
            (now - func.min(chunks.c.claimed_at)).label("recent_s"),
        )
        .where(
            chunks.c.job_id.in_(open_jobs),
            or_(chunks.c.claimed_at > now - RATE_WINDOW_S, claimed),
        )
        .group_by(chunks.c.job_id)
        .subquery()
    )


def _progress(row: Row[Any], other_models: Sequence[str]) -> JobProgress:
    counts = {
        outcome.value: int(getattr(row, outcome.value) or 0) for outcome in Outcome
    }
    is_over = row.state in OVER
    running = 0 if is_over else int(row.running or 0)
    queued = row.total - running - sum(counts.values())
    processed = sum(counts[outcome.value] for outcome in _PROCESSED)
    rate = _rate(row.recent, row.recent_s)
    if is_over:
        has_times = row.started_at is not None and row.finished_at is not None
        duration_s = (
            (row.finished_at - row.started_at).total_seconds() if has_times else None
        )
        rate = _rate(processed, duration_s)
    remaining = queued + running
    eta_s = round(remaining / rate, 1) if rate and not row.is_silent else None
    if is_over or not remaining:
        eta_s = 0.0
    silent = note_columns(Note(NoteCode.PROCESS_SILENT)) if row.is_silent else {}
    return document_of(
        JobProgress,
        row,
        job=row.id,
        parent=row.parent_id,
        state=JobState(row.state),
        skipped_folders=row.options.get(SKIPPED_FOLDERS, 0),
        settling=bool(row.settling),
        queued=queued,
        running=running,
        photos_per_second=round(rate, 2),
        models=(row.model, *other_models),
        paths=[printable_path(path) for path in tag_job_paths(row.options)],
        eta_seconds=eta_s,
        **counts,
        **silent,
    )


def _rate(count: int | None, seconds: float | None) -> float:
    return (
        (count or 0) / seconds
        if seconds is not None and seconds >= SHORTEST_RATE_S
        else 0.0
    )


# Changes of jobs by others than their workers: pause, resume, cancel, recovery, removal of old items.


def pause(database: Database, job_id: int) -> JobProgress:
    """Pause the job. Workers still store their current batch, and a scan still records photos.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
        JobNotPausable: a local process runs the job.
    """
    with database.write() as connection:
        pause_job(connection, job_id)
    return find_job(database, job_id)


def pause_job(connection: Connection, job_id: int, note: Note | None = None) -> None:
    """Pause the job, in a transaction of the caller. A note that the job has is kept.

    Raises:
        JobNotFound, JobFinished, JobNotPausable: as for `pause`.
    """
    job = _lock_open_job(connection, job_id, "pause")
    if job.runner == Runner.LOCAL:
        raise JobNotPausable(job=job_id)
    values: dict[str, object] = {"state": JobState.PAUSED}
    # A suspended job finds out again, once it is resumed, whether its root is available.
    if job.note is None or job.state == JobState.WAITING:
        values |= note_columns(note)
    update_job(connection, job_id, values)
    record_action(connection, AuditAction.JOB_PAUSE, job_id)


def resume(database: Database, job_id: int) -> bool:
    """Resume a paused job. False if it was not paused.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
    """
    with database.read() as connection:
        if _open_job(connection, job_id, "resume").state != JobState.PAUSED:
            return False
    with database.write() as connection:
        job = _lock_open_job(connection, job_id, "resume")
        state = JobState.RUNNING if job.started_at else JobState.QUEUED
        if job.owner is not None:
            state = JobState.SCANNING
        values: dict[str, object] = {"state": state}
        if has_code(job.note, job.note_message, NoteCode.PAUSED_UNTIL_NEXT_RUN):
            values |= note_columns(None)
        update_job(connection, job_id, values, jobs.c.state == JobState.PAUSED)
        finish_if_done(connection, job_id)
        record_action(connection, AuditAction.JOB_RESUME, job_id)
    return True


def cancel(database: Database, job_id: int) -> JobProgress:
    """Cancel the job: open items end as `cancelled`, stored outcomes stay.

    Raises:
        JobNotFound, JobFinished: there is no open job with this id.
    """
    with database.read() as connection:
        _open_job(connection, job_id, "cancel")
    with database.write() as connection:
        cancel_job(connection, job_id, "by request")
        record_action(connection, AuditAction.JOB_CANCEL, job_id)
    return find_job(database, job_id)


def _lock_open_job(connection: Connection, job_id: int, action: str) -> Row[Any]:
    # The job, locked until the transaction ends.
    connection.execute(
        select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(key_share=True)
    )
    return _open_job(connection, job_id, action)


def _open_job(connection: Connection, job_id: int, action: str) -> Row[Any]:
    job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if job is None:
        raise JobNotFound(job=job_id)
    if job.state not in OPEN_STATES:
        raise JobFinished(job=job_id, state=job.state, action=action)
    return job


log = logging.getLogger(__name__)
# A process that holds a lock for longer hangs. For most commands, this is only a precaution.
RECOVERY_LOCK_S = 2.0


def recover_stale_jobs(database: Database) -> None:
    """Cancel stale local jobs, queue what interrupted scans have recorded, and finish jobs that are done.

    A job that another process has locked for RECOVERY_LOCK_S is left as it is, for the next call.
    """
    with database.read() as connection:
        dead = _is_dead(connection)
    stale = database.rows(
        select(jobs.c.id).where(
            jobs.c.state.in_(OPEN_STATES),
            jobs.c.owner.is_not(None),
            dead,
        )
    )
    for row in stale:
        _recover_unless_locked(database, row.id, partial(_recover, dead=dead))
    for job_id in done_jobs(database):
        _recover_unless_locked(database, job_id, finish_if_done)


# Items that one transaction removes.
PAGE = 5000


def count_old_items(database: Database, before: datetime) -> tuple[int, int]:
    """How many jobs that ended before a time have items, and how many items these are."""
    left = jobs.c.total - jobs.c.items_removed
    query = select(
        func.count().label("job_count"),
        func.coalesce(func.sum(left), 0).label("item_count"),
    ).where(_has_old_items(before))
    (row,) = database.rows(query.select_from(jobs))
    return row.job_count, int(row.item_count)


def remove_old_items(database: Database, before: datetime) -> int:
    """Remove a page of items of the oldest job that ended before this time; returns how many.

    Any number of processes may do so: each takes a job that no other works on just now.
    """
    oldest = select(jobs.c.id, jobs.c.total, jobs.c.items_removed).where(
        _has_old_items(before)
    )
    oldest = oldest.order_by(jobs.c.id).limit(1)
    with (
        database.read() as connection
    ):  # most often there is none, and SQLite has one writer
        if connection.execute(oldest).first() is None:
            return 0
    return _remove_page(database, oldest.with_for_update(skip_locked=True))


def remove_items(database: Database, job_id: int) -> None:
    job = select(
        jobs.c.id,
        jobs.c.total,
        jobs.c.items_removed,
    ).where(jobs.c.id == job_id)
    while _remove_page(
        database, job.where(jobs.c.items_removed < jobs.c.total).with_for_update()
    ):
        pass


def _remove_page(database: Database, query: Select[Any]) -> int:
    # Remove the first items that are left of the job that is found; returns how many.
    with database.write() as connection:
        job = connection.execute(query).one_or_none()
        if job is None:
            return 0
        end = min(job.total, job.items_removed + PAGE)
        page = job_items.c.position.between(job.items_removed, end - 1)
        connection.execute(delete(job_items).where(job_items.c.job_id == job.id, page))
        update_job(connection, job.id, {"items_removed": end})
    return int(end - job.items_removed)


def _recover_unless_locked(
    database: Database, job_id: int, recover: Callable[[Connection, int], object]
) -> None:
    try:
        with database.write() as connection, lock_timeout(connection, RECOVERY_LOCK_S):
            recover(connection, job_id)
    except LockTimedOut:
        log.warning(
            "Job %d waits to be recovered: another process has locked it", job_id
        )


def _recover(connection: Connection, job_id: int, dead: ColumnElement[bool]) -> None:
    lock_open_chunks(connection, job_id)
    job = connection.execute(
        select(jobs)
        .where(jobs.c.id == job_id, jobs.c.state.in_(OPEN_STATES), dead)
        .with_for_update(key_share=True)
    ).one_or_none()
    if job is None:
        return
    if job.runner == Runner.LOCAL:
        end_local_job(connection, job_id, f"its process ended; {PUT_BACK}")
    elif job.kind == JobKind.WRITE and job.parent_id is not None:
        # Its items are the photos of another job, so any process can add the rest.
        leave_unfilled(connection, job_id)
    else:
        state = JobState.PAUSED if job.state == JobState.PAUSED else JobState.QUEUED
        note = note_columns(Note(NoteCode.SCAN_INTERRUPTED))
        update_job(connection, job_id, {"state": state} | NO_OWNER | note)
        finish_if_done(connection, job_id)


def _is_dead(connection: Connection) -> ColumnElement[bool]:
    # The condition that a job's process has ended: by its number if that is known here, else by its lease.
    #
    # One that runs has time to renew an expired lease, but its number may also be another process's now.
    owners = connection.scalars(
        select(jobs.c.owner).where(jobs.c.owner.is_not(None))
    ).all()
    here = process_space()
    known = [owner for owner in owners if owner.rpartition("/")[0] == here]
    alive = [owner for owner in known if _is_alive(owner)]
    ended = [owner for owner in known if owner not in alive]
    lease_until = jobs.c.owner_lease_until
    return or_(
        jobs.c.owner.in_(ended),
        and_(lease_until < db_now(), jobs.c.owner.not_in(alive)),
        lease_until < db_now() - LEASE_S,
    )


def _is_alive(owner: str) -> bool:
    try:
        os.kill(int(owner.rpartition("/")[2]), 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _has_old_items(before: datetime) -> ColumnElement[bool]:
    # Jobs that are over, and from which no open job takes its photos.
    child = jobs.alias("child")
    is_needed = exists().where(
        child.c.parent_id == jobs.c.id, child.c.state.in_(OPEN_STATES)
    )
    return and_(
        jobs.c.state.in_(OVER),
        jobs.c.finished_at < before,
        jobs.c.items_removed < jobs.c.total,
        ~is_needed,
    )
