"""Jobs that write metadata, or undo writes: recording them, and adding their photos (see metadata_selection)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Outcome, Priority, Runner
from tagger.database.tables import contents, job_items, jobs, photos
from tagger.errors import ScanInterrupted
from tagger.jobs.enqueue.job_options import UNDO_JOB, MetadataOptions, inference_options
from tagger.jobs.enqueue.metadata_selection import (
    found_id_pages,
    has_tag_conditions,
    has_values_to_write_or_remove,
    without_tags,
)
from tagger.jobs.enqueue.scan import ProgressCallback
from tagger.ledger.items import NewItem, append_items, fill_job, lock_scan
from tagger.ledger.jobs import NewJob, claim_unfilled_job, create_job, finish_scan, job_heartbeat
from tagger.library.catalog.roots import RootPaths
from tagger.library.positions.update import update_positions
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.settings import Settings


def write_job(
    database: Database, settings: Settings, metadata: MetadataOptions, runner: Runner, priority: Priority
) -> NewJob:
    """A job that writes tags to metadata; nothing is recorded.

    Raises:
        ModelNotFound, ModelNotSelected: there is no model.
    """
    options = metadata.to_job_options()
    return inference_options(database, settings).new_job(
        JobKind.WRITE, priority, runner=runner, options=options
    )


def undo_job(
    database: Database, settings: Settings, job: int | None, runner: Runner, priority: Priority
) -> NewJob:
    """A job that undoes the writes of `job`, or of all jobs; nothing is recorded.

    Raises:
        ModelNotFound, ModelNotSelected: there is no model.
    """
    options = {} if job is None else {UNDO_JOB: job}
    return inference_options(database, settings).new_job(
        JobKind.UNDO, priority, runner=runner, options=options
    )


def record_write_job(
    database: Database,
    new: NewJob,
    query: PhotoQuery,
    root_paths: RootPaths,
    on_progress: ProgressCallback = lambda _count: None,
) -> int:
    """Create a job for the photos that a query finds; return its id.

    If the query does not filter by tags, the job includes photos without a tag that were written before, or whose
    estimated position it writes. Positions, and the tags that they accept or refuse, are brought up to date first.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: the query has an unknown name.
    """
    found = find_tagged(database, query, root_paths)  # resolves names before the job is created
    job_id = create_job(database, new)
    with job_heartbeat(database, job_id):
        update_positions(database)
        max_error_m = _max_error(new.options or {})
        count = 0
        for page in found_id_pages(found):
            _append(database, job_id, page)
            count += len(page)
            on_progress(count)
        if not has_tag_conditions(query):
            fill_job(
                database,
                job_id,
                (*without_tags(database, query, root_paths, max_error_m), ~_in_job(job_id)),
                on_progress=lambda more: on_progress(count + more),
            )
    finish_scan(database, job_id)
    return job_id


def record_write_job_of_photos(database: Database, new: NewJob, photo_ids: Sequence[int]) -> int:
    """Create a job that writes these photos; return its id. Positions are brought up to date first."""
    job_id = create_job(database, new)
    with job_heartbeat(database, job_id):
        update_positions(database)
        _append(database, job_id, photo_ids)
    finish_scan(database, job_id)
    return job_id


def record_undo_job_of_photos(database: Database, new: NewJob, photo_ids: Sequence[int]) -> int:
    """Create a job that undoes writes in these photos; return its id."""
    return record_undo_job(database, new, (photos.c.id.in_(photo_ids),))


def record_undo_job(
    database: Database,
    new: NewJob,
    conditions: Sequence[ColumnElement[bool]],
    on_progress: ProgressCallback = lambda _count: None,
) -> int:
    """Create a job that undoes writes in the photos that meet the conditions; return its id."""
    job_id = create_job(database, new)
    with job_heartbeat(database, job_id):
        fill_job(database, job_id, conditions, on_progress=on_progress)
    finish_scan(database, job_id)
    return job_id


def select_adopted_jobs(database: Database) -> list[int]:
    """Select the photos of chained jobs that no process is filling; return these jobs' ids."""
    job_ids = []
    while (job_id := claim_unfilled_job(database)) is not None:
        with suppress(ScanInterrupted):  # the job was cancelled; the others are still to be filled
            select_parent_photos(database, job_id)
            job_ids.append(job_id)
    return job_ids


def select_parent_photos(database: Database, job_id: int) -> None:
    """Fill a chained job with the photos of its parent that have something to write or to remove.

    Positions are brought up to date first, as in `record_write_job`. Items that an earlier process added before it died are kept.
    """
    with database.read() as connection:
        job = connection.execute(select(jobs.c.parent_id, jobs.c.options).where(jobs.c.id == job_id)).one()
        # Pages are in id order, although the photos of one page are ordered by root.
        last_id = connection.scalar(
            select(func.max(job_items.c.photo_id)).where(job_items.c.job_id == job_id)
        )
    in_parent = (
        select(job_items.c.photo_id)
        .where(
            job_items.c.job_id == job.parent_id,
            job_items.c.photo_id == photos.c.id,
            job_items.c.outcome.in_((Outcome.TAGGED, Outcome.UNKNOWN, Outcome.SKIPPED)),
        )
        .exists()
    )
    with job_heartbeat(database, job_id):
        update_positions(database)
        max_error_m = _max_error(job.options)
        fill_job(
            database,
            job_id,
            (in_parent, photos.c.gone_since.is_(None), has_values_to_write_or_remove(max_error_m)),
            photos.outerjoin(contents, contents.c.id == photos.c.content_id),
            after=last_id or 0,
        )
    finish_scan(database, job_id)


def _max_error(options: Mapping[str, Any]) -> int | None:
    """The largest error of estimated positions that the job writes; None: it writes none."""
    metadata = MetadataOptions.from_job_options(options)
    return None if metadata is None else metadata.max_error_m


def _in_job(job_id: int) -> ColumnElement[bool]:
    return exists().where(job_items.c.job_id == job_id, job_items.c.photo_id == photos.c.id)


def _append(database: Database, job_id: int, photo_ids: Sequence[int]) -> None:
    """Add the photos that still exist, ordered by root."""
    with database.write() as connection:
        lock_scan(connection, job_id)
        existing = (
            select(photos.c.id)
            .where(photos.c.id.in_(photo_ids))
            .order_by(photos.c.root_id, photos.c.id)
            .with_for_update(read=True, key_share=True)
        )
        append_items(
            connection, job_id, [NewItem(photo, skipped=False) for photo in connection.scalars(existing)]
        )
