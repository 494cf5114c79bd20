"""Jobs that classify photos: tagging the photos of a selection, and retrying photos that fail now.

A photo that failed once and was tagged since is not retried. A retry has a model like any other job; workers read its
photos again because they fail, so it does not set `reprocess`. `check_job_options` checks what jobs of each kind store.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, false, func, not_, or_, select

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Priority, Runner, Target
from tagger.database.tables import jobs, photos
from tagger.errors import BucketUnwritable
from tagger.jobs.enqueue.backfill import backfill_from_options
from tagger.jobs.enqueue.job_options import UNDO_JOB, InferenceOptions, MetadataOptions, inference_options
from tagger.jobs.enqueue.scan import ProgressCallback, Scan, ScanReport, Selection, require_available_roots
from tagger.ledger.failures import FailureFilter, failure_conditions
from tagger.ledger.items import fill_job
from tagger.ledger.jobs import WRITE, NewJob, create_job, finish_scan, job_heartbeat
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.photo_conditions import path_ranges
from tagger.photos.paths import ObjectPath, path_from_json, path_to_json
from tagger.settings import Settings

PATHS = "paths"
"""The job option that lists the folders and files of a job."""
MOST_PATHS = 100
"""A job records at most this many of its paths; it still tags the photos of all of them."""


def tag_job(
    database: Database,
    settings: Settings,
    selection: Selection,
    *,
    runner: Runner,
    priority: Priority,
    reprocess: bool = False,
    write: MetadataOptions | None = None,
) -> NewJob:
    """A job that tags the photos of `selection` with the model and the options of `settings`; nothing is recorded.

    `reprocess`: also tag photos that this model classified before. `write`: write the tags to the photos' metadata afterwards.

    Raises:
        BucketUnwritable: tags would be written into photos in a bucket without `embed_objects`.
        RootUnavailable: the disk of a folder is not mounted.
        ModelNotFound, ModelNotSelected: there is no model to tag with.
    """
    named = (*selection.folders, *selection.files)
    objects = [path for path in named if isinstance(path, ObjectPath)]
    if objects and write is not None and write.to is Target.EMBED and not write.embed_objects:
        raise BucketUnwritable(path=objects[0])
    require_available_roots(database, selection, settings.roots)
    inference = inference_options(database, settings, reprocess=reprocess)
    paths = [path_to_json(path) for path in named]
    options = {PATHS: paths[:MOST_PATHS], **(write.to_job_options() if write else {})}
    return NewJob(**vars(inference), kind=JobKind.TAG, runner=runner, priority=priority, options=options)


def record_tag_job(
    database: Database,
    new: NewJob,
    selection: Selection,
    root_paths: RootPaths,
    on_progress: ProgressCallback = lambda _count: None,
) -> tuple[int, ScanReport]:
    """Record the job and scan its folders; returns the job's number and the report of the scan.

    Raises:
        RootUnavailable: a disk was unmounted during the scan.
        ScanInterrupted: the job was cancelled during the scan.
    """
    job_id = create_job(database, new)
    return job_id, fill_tag_job(database, job_id, new, selection, root_paths, on_progress)


def fill_tag_job(
    database: Database,
    job_id: int,
    new: NewJob,
    selection: Selection,
    root_paths: RootPaths,
    on_progress: ProgressCallback = lambda _count: None,
) -> ScanReport:
    """Scan the folders of a recorded job, then queue it. `on_progress` receives the number of photos found so far.

    Raises:
        RootUnavailable, ScanInterrupted: as `record_tag_job`.
    """
    inference = InferenceOptions(new.model_id, new.top_k, new.threshold, new.reprocess)
    with job_heartbeat(database, job_id):
        report = Scan(database, job_id, inference, root_paths).run(selection, on_progress)
    finish_scan(
        database,
        job_id,
        report.note(),
        other_files=report.other_files.count,
        skipped_folders=report.skipped_folders,
    )
    return report


def tag_job_paths(options: Mapping[str, Any]) -> list[Path]:
    """The recorded folders and files of a job, from its options; empty for jobs of other kinds.

    Raises:
        ValueError: they are not a list of paths.
    """
    paths = options.get(PATHS, [])
    if not isinstance(paths, list):
        raise ValueError("its paths are not a list")  # noqa: TRY004 - as for other invalid values
    return [path_from_json(path) for path in paths]


def count_failures(database: Database, failures: FailureFilter) -> dict[str, int]:
    """The number of matching photos that fail now, by kind, the most frequent first."""
    count = func.count().label("photo_count")
    conditions = failure_conditions(failures)
    query = select(photos.c.failure_kind, count).where(*conditions).group_by(photos.c.failure_kind)
    with database.read() as connection:
        rows = connection.execute(query.order_by(count.desc(), photos.c.failure_kind)).all()
    return {row.failure_kind: row.photo_count for row in rows}


def retry_job(database: Database, settings: Settings, job_id: int | None, priority: Priority) -> NewJob:
    """A retry of the failures of one job, with its model, options and metadata options, or of all, as new jobs have them.

    Raises:
        ModelNotFound, ModelNotSelected: there is no model for new jobs.
    """
    if job_id is None:
        inference = inference_options(database, settings)
        return NewJob(**vars(inference), kind=JobKind.RETRY, runner=Runner.WORKERS, priority=priority)
    with database.read() as connection:
        job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    return NewJob(
        model_id=job.model_id,
        top_k=job.top_k,
        threshold=job.threshold,
        runner=Runner.WORKERS,
        priority=priority,
        kind=JobKind.RETRY,
        options={name: value for name, value in job.options.items() if name == WRITE},
        parent_id=job_id,
    )


def record_retry(
    database: Database,
    new: NewJob,
    failures: FailureFilter,
    on_progress: ProgressCallback = lambda _count: None,
) -> int:
    """Record a job over the matching photos that fail now; returns its number.

    Raises:
        ScanInterrupted: the job was cancelled in the meantime.
    """
    job_id = create_job(database, new)
    with job_heartbeat(database, job_id):
        fill_job(database, job_id, failure_conditions(failures), on_progress=on_progress)
    finish_scan(database, job_id)
    return job_id


def has_photos_outside(
    database: Database,
    conditions: Sequence[ColumnElement[bool]],
    folders: Iterable[Path],
    root_paths: RootPaths,
) -> bool:
    """Whether one of the photos that meet the conditions is outside all of these folders."""
    with database.read() as connection:
        inside = [range_.condition for range_ in path_ranges(connection, tuple(folders), root_paths)]
        outside = select(photos.c.id).where(*conditions, not_(or_(false(), *inside)))
        return connection.scalar(outside.limit(1)) is not None


_STORED_OPTIONS = {
    JobKind.TAG: {PATHS, WRITE},
    JobKind.RETRY: {WRITE},
    JobKind.WRITE: {WRITE},
    JobKind.UNDO: {UNDO_JOB},
}


def check_job_options(kind: JobKind, options: Mapping[str, Any]) -> None:
    """Check that a job of this kind may store these options.

    Raises:
        ValueError: it stores no such options.
    """
    if kind in {JobKind.BACKFILL, JobKind.COMPARE}:
        others = {name: value for name, value in options.items() if name != "what"}
        backfill_from_options(options.get("what", ""), others)
        return
    if unknown := options.keys() - _STORED_OPTIONS[kind]:
        raise ValueError(f"a job of the kind {kind} has no option {min(unknown)!r}")
    tag_job_paths(options)
    if MetadataOptions.from_job_options(options) is None and kind is JobKind.WRITE:
        raise ValueError("it has no metadata options")  # and would undo writes
    undo_job = options.get(UNDO_JOB)
    if undo_job is not None and (type(undo_job) is not int or not 1 <= undo_job < 2**63):
        raise ValueError(f"{UNDO_JOB} is not the number of a job")
