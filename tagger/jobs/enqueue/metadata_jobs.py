"""Jobs that write metadata, or undo writes: selecting their photos, recording them, and adding the photos.

Photos are selected by query, or by earlier writes; selecting records nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, false, func, or_, select

from tagger.database.connection import Database
from tagger.database.enums import JobKind, Outcome, PositionSource, Priority, Runner, Target
from tagger.database.tables import contents, job_items, jobs, metadata_writes, photos, positions
from tagger.errors import ScanInterrupted
from tagger.jobs.enqueue.job_options import UNDO_JOB, MetadataOptions, inference_options
from tagger.jobs.enqueue.scan import ProgressCallback
from tagger.ledger.items import NewItem, append_items, fill_job, lock_scan
from tagger.ledger.jobs import NewJob, claim_unfilled_job, create_job, finish_scan, job_heartbeat
from tagger.library.catalog.roots import RootPaths
from tagger.library.positions.update import update_positions
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import has_tag, is_in_months, path_ranges, taken_in
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.settings import Settings

PAGE = 1000


_written_contents = contents.alias("written_contents")
_own_writes = metadata_writes.alias("own_writes")
_other_photos = photos.alias("other_photos")


def selected_photo_pages(
    database: Database, query: PhotoQuery, root_paths: RootPaths, max_error_m: int | None
) -> Iterator[Sequence[int]]:
    """The ids of the photos that `record_write_job` selects, in pages. Keeps all ids in memory, a few bytes each."""
    yielded: set[int] = set()
    for found in found_id_pages(find_tagged(database, query, root_paths)):
        yielded.update(found)
        yield found
    if not has_tag_conditions(query):
        conditions = tuple(without_tags(database, query, root_paths, max_error_m))
        for page in photo_id_pages(database, conditions):
            yield [photo_id for photo_id in page if photo_id not in yielded]


def photo_id_pages(database: Database, conditions: Sequence[ColumnElement[bool]]) -> Iterator[Sequence[int]]:
    """The ids of the photos that meet the conditions, in pages."""
    last_id = 0
    while True:
        query = select(photos.c.id).where(*conditions, photos.c.id > last_id).order_by(photos.c.id)
        with database.read() as connection:
            page = connection.scalars(query.limit(PAGE)).all()
        if not page:
            return
        yield page
        last_id = page[-1]


def written_photo_conditions(
    database: Database, job: int | None, paths: Iterable[Path], root_paths: RootPaths
) -> tuple[ColumnElement[bool], ...]:
    """Conditions for photos that this program has written: all, those of one job, or those under the paths."""
    conditions = [photos.c.gone_since.is_(None), _was_written(job)]
    paths = tuple(paths)
    return (*conditions, *((_under(database, paths, root_paths),) if paths else ()))


def of_photos(photo_ids: Sequence[int]) -> tuple[ColumnElement[bool]]:
    """The condition for these photos."""
    return (photos.c.id.in_(photo_ids),)


def written_photos(database: Database, photo_ids: Sequence[int], root_paths: RootPaths) -> list[int]:
    """Those of the photos that this program has written."""
    conditions = written_photo_conditions(database, None, (), root_paths)
    pages = photo_id_pages(database, (*of_photos(photo_ids), *conditions))
    return [photo_id for page in pages for photo_id in page]


@dataclass(frozen=True)
class JobWrites:
    """What is left to undo of a job's writes: the `photos`, and in how many files it wrote.

    `embedded` are photos themselves; of its `sidecars`, the job made `new_sidecars`, which an undo removes.
    """

    photos: int
    embedded: int
    sidecars: int
    new_sidecars: int


def count_job_writes(database: Database, job: int) -> JobWrites:
    """Count what `undo_job` would undo of a job."""
    is_sidecar = metadata_writes.c.target == Target.SIDECAR
    is_new = and_(is_sidecar, metadata_writes.c.base_digest.is_(None))
    kinds = {"embedded": ~is_sidecar, "sidecars": is_sidecar, "new_sidecars": is_new}
    files = (
        func.count(case((kind, metadata_writes.c.id)).distinct()).label(name) for name, kind in kinds.items()
    )
    query = (
        select(func.count(photos.c.id.distinct()).label("photos"), *files)
        .join_from(metadata_writes, contents, contents.c.digest == metadata_writes.c.image_digest)
        .join(photos, photos.c.content_id == contents.c.id)
        .where(*_is_own_write(job), photos.c.gone_since.is_(None))
    )
    with database.read() as connection:
        return JobWrites(**connection.execute(query).mappings().one())


def has_job_writes(database: Database, job: int) -> bool:
    """Whether the undo log has a write of the job; its photo may be gone."""
    written = select(metadata_writes.c.id).where(metadata_writes.c.job_id == job)
    with database.read() as connection:
        return connection.scalar(written.limit(1)) is not None


def was_embedded(database: Database, photo_ids: Sequence[int]) -> bool:
    """Whether this program has written into one of the photos itself, also before it was moved."""
    writes = photos.join(contents, contents.c.id == photos.c.content_id).join(
        metadata_writes, metadata_writes.c.image_digest == contents.c.digest
    )
    embedded = (
        select(photos.c.id)
        .select_from(writes)
        .where(photos.c.id.in_(photo_ids), metadata_writes.c.target == Target.EMBED)
    )
    with database.read() as connection:
        return connection.scalar(embedded.limit(1)) is not None


def options_of_last_sidecar(database: Database, photo_id: int) -> MetadataOptions | None:
    """The options with which a photo's sidecar was written last; None if it has none, or its job is not known any more."""
    last = (
        select(jobs.c.options)
        .join(metadata_writes, metadata_writes.c.job_id == jobs.c.id)
        .where(metadata_writes.c.photo_id == photo_id, metadata_writes.c.target == Target.SIDECAR)
        .order_by(metadata_writes.c.written_at.desc())
        .limit(1)
    )
    with database.read() as connection:
        options = connection.scalar(last)
    return MetadataOptions.from_job_options(options or {})


def has_tag_conditions(query: PhotoQuery) -> bool:
    """Whether the query limits photos by more than folders and dates, so that it leaves out photos without tags."""
    return (
        replace(query, under=(), year=(), calendar_month=(), taken_after=None, taken_before=None)
        != PhotoQuery()
    )


def found_id_pages(found: Iterable[TaggedPhoto]) -> Iterator[list[int]]:
    """The ids of the photos that a query found, in pages."""
    ids = (photo.id for photo in found)
    while page := list(islice(ids, PAGE)):
        yield page


def _was_written(job: int | None = None) -> ColumnElement[bool]:
    """Whether the photo's image was written in any file.

    With a job: whether that job wrote this photo's own file, or the file it was before it was moved.
    """
    same_image = (
        select(metadata_writes.c.id)
        .join(_written_contents, _written_contents.c.digest == metadata_writes.c.image_digest)
        .where(_written_contents.c.id == photos.c.content_id)
    )
    if job is None:
        return same_image.exists()
    return same_image.where(*_is_own_write(job)).exists()


def _is_own_write(job: int) -> tuple[ColumnElement[bool], ...]:
    """The conditions for a write of the job in the photo's own file, or in the file that it was before it was moved."""
    # A photo that was moved after the write has a new id and no row of its own.
    has_own = select(_own_writes.c.id).where(_own_writes.c.photo_id == photos.c.id).correlate(photos).exists()
    gone = select(_other_photos.c.id).where(_other_photos.c.gone_since.is_not(None))
    was_moved = or_(metadata_writes.c.photo_id.is_(None), metadata_writes.c.photo_id.in_(gone))
    own = or_(metadata_writes.c.photo_id == photos.c.id, and_(~has_own, was_moved))
    return metadata_writes.c.job_id == job, own


def without_tags(
    database: Database, query: PhotoQuery, root_paths: RootPaths, max_error_m: int | None
) -> Iterator[ColumnElement[bool]]:
    """The conditions for photos that need no tag to be written, and match the query's folders and dates.

    These are photos that were written before, and those with an estimated position.
    """
    yield _was_written_or_estimated(max_error_m)
    yield photos.c.gone_since.is_(None)
    if query.under:
        yield _under(database, query.under, root_paths)
    if query.year:
        yield or_(*(taken_in(photos.c.taken_at, year) for year in query.year))
    if query.calendar_month:
        yield is_in_months(photos.c.taken_at, query.calendar_month)
    if query.taken_after is not None:
        yield photos.c.taken_at >= query.taken_after
    if query.taken_before is not None:
        yield photos.c.taken_at < query.taken_before


def _was_written_or_estimated(max_error_m: int | None) -> ColumnElement[bool]:
    if max_error_m is None:
        return _was_written()
    is_precise = (positions.c.source != PositionSource.CAMERA, positions.c.error_m <= max_error_m)
    return or_(_was_written(), exists().where(positions.c.photo_id == photos.c.id, *is_precise))


def _under(database: Database, paths: Iterable[Path], root_paths: RootPaths) -> ColumnElement[bool]:
    with database.read() as connection:
        ranges = path_ranges(connection, paths, root_paths)
    return or_(false(), *(path_range.condition for path_range in ranges))


def write_job(
    database: Database, settings: Settings, metadata: MetadataOptions, runner: Runner, priority: Priority
) -> NewJob:
    """A job that writes tags to metadata; nothing is recorded.

    Raises:
        ModelNotFound, ModelNotSelected: there is no model.
    """
    options = metadata.to_job_options()
    inference = inference_options(database, settings)
    return NewJob(**vars(inference), kind=JobKind.WRITE, runner=runner, priority=priority, options=options)


def undo_job(
    database: Database, settings: Settings, job: int | None, runner: Runner, priority: Priority
) -> NewJob:
    """A job that undoes the writes of `job`, or of all jobs; nothing is recorded.

    Raises:
        ModelNotFound, ModelNotSelected: there is no model.
    """
    options = {} if job is None else {UNDO_JOB: job}
    inference = inference_options(database, settings)
    return NewJob(**vars(inference), kind=JobKind.UNDO, runner=runner, priority=priority, options=options)


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
            in_job = exists().where(job_items.c.job_id == job_id, job_items.c.photo_id == photos.c.id)
            fill_job(
                database,
                job_id,
                (*without_tags(database, query, root_paths, max_error_m), ~in_job),
                on_progress=lambda more: on_progress(count + more),
            )
    finish_scan(database, job_id)
    return job_id


def fill_write_job(database: Database, job_id: int, photo_ids: Sequence[int]) -> None:
    """Add these photos to a new job. Positions are brought up to date first."""
    with job_heartbeat(database, job_id):
        update_positions(database)
        _append(database, job_id, photo_ids)
    finish_scan(database, job_id)


def record_undo_job(database: Database, new: NewJob, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Create a job that undoes writes in the photos that meet the conditions; return its id."""
    job_id = create_job(database, new)
    fill_undo_job(database, job_id, conditions)
    return job_id


def fill_undo_job(database: Database, job_id: int, conditions: Sequence[ColumnElement[bool]]) -> None:
    """Add the photos that meet the conditions to a new job."""
    with job_heartbeat(database, job_id):
        fill_job(database, job_id, conditions)
    finish_scan(database, job_id)


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
        is_tagged = has_tag()
        has_values = or_(is_tagged, _was_written_or_estimated(_max_error(job.options)))
        fill_job(
            database,
            job_id,
            (in_parent, photos.c.gone_since.is_(None), has_values),
            photos.outerjoin(contents, contents.c.id == photos.c.content_id),
            after=last_id or 0,
        )
    finish_scan(database, job_id)


def _max_error(options: Mapping[str, Any]) -> int | None:
    """The largest error of estimated positions that the job writes; None: it writes none."""
    metadata = MetadataOptions.from_job_options(options)
    return None if metadata is None else metadata.max_error_m


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
