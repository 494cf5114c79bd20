"""Submission: a request, which says what to do with which photos, becomes a job.

Commands and Python call `submit`. The page and schedules call its steps: the page adds the photos in a
thread, and schedules record a job in one transaction with their run. To wake workers, see worker.producer.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy import select

from tagger.database.connection import Database
from tagger.database.enums import METADATA_KINDS, JobKind, Priority, Runner
from tagger.database.tables import jobs
from tagger.errors import JobNotRetriable
from tagger.jobs.enqueue.job_options import MetadataOptions, inference_options
from tagger.jobs.enqueue.scan import ProgressCallback, Scan, ScanReport, Selection, require_available_roots
from tagger.ledger.items import FailureFilter, failure_conditions
from tagger.ledger.job_control import find_job
from tagger.ledger.jobs import PATHS, WRITE, NewJob, create_job, finish_scan, job_heartbeat, other_models
from tagger.photos.paths import path_to_json
from tagger.photos.source import require_writable
from tagger.registry.registered_models import model_by_id, verify_model
from tagger.roots.roots import RootPaths
from tagger.settings import Settings

# A job records at most this many of its paths; it still tags the photos of all of them.
MOST_PATHS = 100


class JobRequest(Protocol):
    """What a job is to do, and with which photos."""

    def check(self, database: Database, root_paths: RootPaths) -> None:
        """Check the request before anything is recorded.

        Raises:
            TaggerError: no job can do it.
        """

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        """The row of its job, with the model and the options of the settings.

        Raises:
            TaggerError: there is no model for it.
        """

    def add_photos(self, scan: Scan) -> None:
        """Add the photos to the recorded job.

        Raises:
            ScanInterrupted: the job was cancelled meanwhile.
            TaggerError: the photos cannot be found any more.
        """


def submit(
    database: Database,
    settings: Settings,
    request: JobRequest,
    runner: Runner,
    priority: Priority = Priority.BULK,
    on_progress: ProgressCallback = lambda _count: None,
) -> tuple[int, ScanReport]:
    """Record a job with its photos, and queue it. Returns its number and the report of the scan.

    `on_progress` receives the number of photos found so far.

    Raises:
        TaggerError: as the methods of the request. The job is recorded before its photos, and others cancel
        it if this process ends.
    """
    new = prepare_job(database, settings, request, runner, priority)
    job = create_job(database, new)
    return job, queue_job(request, Scan(database, job, new, settings.roots, on_progress))


def prepare_job(
    database: Database, settings: Settings, request: JobRequest, runner: Runner, priority: Priority
) -> NewJob:
    """Check a request; returns its job, which is not recorded yet.

    Raises:
        TaggerError: the request is not possible.
    """
    request.check(database, settings.roots)
    return replace(request.new_job(database, settings), runner=runner, priority=priority)


def queue_job(request: JobRequest, scan: Scan) -> ScanReport:
    """Add the photos of a recorded job, and queue it.

    Raises:
        TaggerError: as `JobRequest.add_photos`.
    """
    with job_heartbeat(scan.database, scan.job_id):
        request.add_photos(scan)
    report = scan.report
    finish_scan(
        scan.database,
        scan.job_id,
        report.note() if scan.new.kind is JobKind.TAG else report.problem_note() if scan.selected else None,
        other_files=report.other_files.count,
        skipped_folders=report.skipped_folders,
    )
    return report


@dataclass(frozen=True)
class Tagging:
    """Classify photos; `reprocess`: also known ones; `write`: then write tags to their metadata."""

    selection: Selection
    reprocess: bool = False
    write: MetadataOptions | None = None

    def check(self, database: Database, root_paths: RootPaths) -> None:
        """Raises:
        ObjectUnsupported: tags would be written into a bucket.
        RootUnavailable: the disk of a folder is not mounted.
        """
        if self.write is not None:
            require_writable(self._paths)
        require_available_roots(database, self.selection, root_paths)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        inference = inference_options(database, settings, reprocess=self.reprocess)
        paths = [path_to_json(path) for path in self._paths[:MOST_PATHS]]
        options = {PATHS: paths, **(self.write.to_job_options() if self.write else {})}
        return NewJob(**vars(inference), kind=JobKind.TAG, options=options)

    def add_photos(self, scan: Scan) -> None:
        scan.run(self.selection)

    @property
    def _paths(self) -> tuple[Any, ...]:
        return (*self.selection.folders, *self.selection.files)


@dataclass(frozen=True)
class Retry:
    """Classify photos that fail now, those of one job with its model and its metadata options."""

    failures: FailureFilter

    def check(self, database: Database, root_paths: RootPaths) -> None:  # noqa: ARG002
        """Raises:
        JobNotFound, JobNotRetriable: there is no such job, or it classifies no photos.
        """
        job = self.failures.job_id
        if job is not None and find_job(database, job).kind in METADATA_KINDS:
            raise JobNotRetriable(job=job)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        if self.failures.job_id is None:
            return NewJob(**vars(inference_options(database, settings)), kind=JobKind.RETRY)
        with database.read() as connection:
            job = connection.execute(select(jobs).where(jobs.c.id == self.failures.job_id)).one()
            others = other_models(connection, job.id)
        for model_id in (job.model_id, *dict(others)):
            verify_model(model_by_id(database, model_id))
        options = {name: value for name, value in job.options.items() if name == WRITE}
        inference = (job.model_id, job.top_k, job.threshold)
        retry = {"kind": JobKind.RETRY, "options": options, "parent_id": job.id}
        return NewJob(*inference, other_models=others, **retry)

    def add_photos(self, scan: Scan) -> None:
        scan.select(failure_conditions(self.failures))
