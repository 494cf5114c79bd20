"""The progress of jobs, and single facts of them: the kind, the requested options, whether any job is open.

Counts are sums over a job's chunks: cheap to read, and never out of step with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Label, Row, Subquery, case, exists, func, or_, select

from tagger.database.connection import Database
from tagger.database.enums import CLASSIFICATION_KINDS, METADATA_KINDS, JobKind, JobState, Outcome
from tagger.database.notes import Note, NoteCode, has_code, note_columns
from tagger.database.statements import db_now
from tagger.database.tables import chunks, job_items, job_models, jobs, models, position_changes
from tagger.errors import JobNotFound
from tagger.ledger.jobs import (
    CLAIMABLE,
    IS_LAST_STEP,
    OPEN_STATES,
    PATHS,
    SKIPPED_FOLDERS,
    WRITE,
    other_models,
)
from tagger.photos.paths import path_from_json, printable_path
from tagger.texts.documents import document_of


def model_ids_of_job(connection: Connection, job_id: int) -> Sequence[int]:
    """The ids of the job's models."""
    first = connection.execute(select(jobs.c.model_id).where(jobs.c.id == job_id)).scalar_one()
    return [first, *dict(other_models(connection, job_id))]


def has_write_option(database: Database, job_id: int) -> bool:
    """Whether a metadata job follows this tagging job."""
    with database.read() as connection:
        job = connection.execute(select(jobs.c.kind, jobs.c.options).where(jobs.c.id == job_id)).one()
    return WRITE in job.options and job.kind not in METADATA_KINDS


def job_options(database: Database, job_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return the options with which these jobs were requested, by job."""
    query = select(jobs.c.id, jobs.c.options).where(jobs.c.id.in_(tuple(job_ids)))
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {row.id: row.options for row in rows}


def tag_job_paths(options: Mapping[str, Any]) -> list[Path]:
    """The recorded folders and files of a job, from its options; empty for jobs of other kinds."""
    return [path_from_json(path) for path in options.get(PATHS, ())]


def count_open_jobs(database: Database) -> int:
    """Return how many jobs are neither finished nor cancelled."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).where(jobs.c.state.in_(OPEN_STATES))) or 0


def count_changes(database: Database) -> int:
    """How many changes of photos and images wait for an update of positions."""
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(position_changes)) or 0


def is_any_claimable(database: Database) -> bool:
    """Whether a job runs, or would run if a worker had time for it."""
    with database.read() as connection:
        return bool(connection.scalar(select(exists().where(jobs.c.state.in_(CLAIMABLE)))))


def open_job_of_photo(database: Database, photo_id: int) -> int | None:
    """Return the newest open job that has yet to classify the photo."""
    query = (
        select(jobs.c.id)
        .join(job_items, job_items.c.job_id == jobs.c.id)
        .where(job_items.c.photo_id == photo_id, job_items.c.outcome.is_(None))
        .where(jobs.c.state.in_(OPEN_STATES), jobs.c.kind.in_(CLASSIFICATION_KINDS))
        .order_by(jobs.c.id.desc())
        .limit(1)
    )
    with database.read() as connection:
        return connection.scalar(query)


_PROCESSED = tuple(outcome for outcome in Outcome if outcome not in {Outcome.SKIPPED, Outcome.CANCELLED})
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
    # All its models, the first one first.
    models: Sequence[str] = field(default=(), kw_only=True)
    # The folders and files that were named, at most a hundred; empty for other jobs than tagging.
    paths: Sequence[str] = field(default=(), kw_only=True)

    @property
    def done(self) -> int:
        """The number of items with an outcome, without cancelled ones."""
        return self.total - self.queued - self.running - self.cancelled

    @property
    def lacks_a_model(self) -> bool:
        """Whether one of its models could not be loaded, so that its photos lack that model's results."""
        return has_code(self.note, self.note_message, NoteCode.MODEL_LEFT_OUT)

    @property
    def is_silent(self) -> bool:
        """Whether its process has not renewed its lease. The next command that starts a job settles that."""
        return has_code(self.note, self.note_message, NoteCode.PROCESS_SILENT)

    @property
    def is_over(self) -> bool:
        return self.state in {JobState.FINISHED, JobState.CANCELLED}


def list_jobs(database: Database) -> list[JobProgress]:
    """All jobs, newest first."""
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


def count_open_chunks(database: Database, job_id: int) -> int:
    """How many chunks with photos are free or held; 0 if the job is paused, suspended or over."""
    query = (
        select(func.count())
        .select_from(chunks.join(jobs, jobs.c.id == chunks.c.job_id))
        .where(chunks.c.job_id == job_id, chunks.c.done.is_(False), chunks.c.last >= chunks.c.first)
        .where(jobs.c.state.in_(CLAIMABLE))
    )
    with database.read() as connection:
        return connection.scalar(query) or 0


def list_recent_jobs(database: Database, limit: int) -> tuple[list[JobProgress], int]:
    """The open jobs and the `limit` newest ones, newest first, and the number of all others."""
    newest = select(jobs.c.id).order_by(jobs.c.id.desc()).limit(limit)
    with database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(jobs)) or 0
        recent = _list(connection, (or_(jobs.c.state.in_(OPEN_STATES), jobs.c.id.in_(newest)),))
    return recent, count - len(recent)


def list_older_jobs(database: Database, before: int, limit: int) -> list[JobProgress]:
    """The newest jobs with numbers below `before` that are over."""
    is_older = (jobs.c.id < before) & jobs.c.state.not_in(OPEN_STATES)
    newest = select(jobs.c.id).where(is_older).order_by(jobs.c.id.desc()).limit(limit)
    with database.read() as connection:
        return _list(connection, (jobs.c.id.in_(newest),))


def _list(connection: Connection, conditions: Sequence[ColumnElement[bool]]) -> list[JobProgress]:
    now = connection.execute(select(db_now())).scalar_one()  # read once: SQLite would evaluate it per row
    sums, recent = _sums(conditions), _recent_work(conditions, now)
    own = models.c.name.label("model"), _write_job(), _is_settling(), _is_silent(now)
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
    for job_id, name in connection.execute(further.order_by(job_models.c.job_id, job_models.c.position)):
        others.setdefault(job_id, []).append(name)
    return [_progress(row, others.get(row.id, ())) for row in connection.execute(query)]


def _is_silent(now: float) -> Label[bool]:
    return (jobs.c.owner_lease_until < now).label("is_silent")


def _write_job() -> Label[int | None]:
    child = jobs.alias("child")
    query = select(func.max(child.c.id)).where(child.c.parent_id == jobs.c.id, child.c.kind == JobKind.WRITE)
    return query.correlate(jobs).scalar_subquery().label("write_job")


def _is_settling() -> Label[bool]:
    last_step = exists().where(chunks.c.job_id == jobs.c.id, chunks.c.done.is_(False), IS_LAST_STEP)
    return last_step.correlate(jobs).label("settling")


def _sums(conditions: Sequence[ColumnElement[bool]]) -> Subquery:
    counts = [func.sum(chunks.c[outcome.value]).label(outcome.value) for outcome in Outcome]
    in_jobs = chunks.c.job_id.in_(select(jobs.c.id).where(*conditions))
    return select(chunks.c.job_id, *counts).where(in_jobs).group_by(chunks.c.job_id).subquery()


def _recent_work(conditions: Sequence[ColumnElement[bool]], now: float) -> Subquery:
    """Of open jobs: the photos in claimed chunks, the recently processed ones, and over how many seconds."""
    claimed = (chunks.c.done.is_(False)) & (chunks.c.lease_until > now)
    open_items = chunks.c.last - chunks.c.first + 1 - sum(chunks.c[outcome.value] for outcome in Outcome)
    processed = sum(chunks.c[outcome.value] for outcome in _PROCESSED)
    open_jobs = select(jobs.c.id).where(jobs.c.state.in_(OPEN_STATES), *conditions)
    return (
        select(
            chunks.c.job_id,
            func.sum(case((claimed, open_items), else_=0)).label("running"),
            func.sum(processed).label("recent"),
            (now - func.min(chunks.c.claimed_at)).label("recent_s"),
        )
        .where(chunks.c.job_id.in_(open_jobs), or_(chunks.c.claimed_at > now - RATE_WINDOW_S, claimed))
        .group_by(chunks.c.job_id)
        .subquery()
    )


def _progress(row: Row[Any], other_models: Sequence[str]) -> JobProgress:
    counts = {outcome.value: int(getattr(row, outcome.value) or 0) for outcome in Outcome}
    is_over = row.state in {JobState.FINISHED, JobState.CANCELLED}
    running = 0 if is_over else int(row.running or 0)
    queued = row.total - running - sum(counts.values())
    processed = sum(counts[outcome.value] for outcome in _PROCESSED)
    rate = _rate(processed, _duration_s(row)) if is_over else _rate(row.recent, row.recent_s)
    remaining = queued + running
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
        eta_seconds=0.0 if is_over or not remaining else round(remaining / rate, 1) if rate else None,
        **counts,
        **silent,
    )


def _rate(count: int | None, seconds: float | None) -> float:
    return (count or 0) / seconds if seconds is not None and seconds >= SHORTEST_RATE_S else 0.0


def _duration_s(row: Row[Any]) -> float | None:
    if row.started_at is None or row.finished_at is None:
        return None
    duration_s: float = (row.finished_at - row.started_at).total_seconds()
    return duration_s
