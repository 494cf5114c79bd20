"""Tagging jobs: a model tags the photos of the folders and files that a selection names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Priority, Runner, Target
from tagger.errors import BucketUnwritable
from tagger.jobs.enqueue.inference_options import InferenceOptions, inference_options
from tagger.jobs.enqueue.metadata_options import MetadataOptions
from tagger.jobs.enqueue.scan import ProgressCallback, Scan, ScanReport
from tagger.jobs.enqueue.selection import Selection, require_available_roots
from tagger.ledger.jobs import NewJob, create_job, finish_scan
from tagger.ledger.ownership import job_heartbeat
from tagger.library.catalog.roots import RootPaths
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
    if write is not None and write.to is Target.EMBED and not write.embed_objects:
        _refuse_buckets(selection)
    require_available_roots(database, selection, settings.roots)
    inference = inference_options(database, settings, reprocess=reprocess)
    paths = [path_to_json(path) for path in (*selection.folders, *selection.files)]
    options = {PATHS: paths[:MOST_PATHS], **(write.to_job_options() if write else {})}
    return inference.new_job(JobKind.TAG, priority, runner=runner, options=options)


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
    finish_scan(database, job_id, report.note(), other_files=report.other_files.count)
    return report


def _refuse_buckets(selection: Selection) -> None:
    for path in (*selection.folders, *selection.files):
        if isinstance(path, ObjectPath):
            raise BucketUnwritable(path=path)


def tag_job_paths(options: Mapping[str, Any]) -> list[Path]:
    """The recorded folders and files of a job, from its options; empty for jobs of other kinds.

    Raises:
        ValueError: they are not a list of paths.
    """
    paths = options.get(PATHS, [])
    if not isinstance(paths, list):
        raise ValueError("its paths are not a list")  # noqa: TRY004 - as for other invalid values
    return [path_from_json(path) for path in paths]
