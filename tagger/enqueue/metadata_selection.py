"""Selecting the photos of a job that writes metadata, or undoes writes: by parent job, by query, or by earlier writes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select

from tagger.catalog.roots import RootPaths
from tagger.database.connection import Database
from tagger.database.tables import Outcome, contents, job_items, jobs, metadata_writes, photos, verdicts
from tagger.enqueue.scan import ProgressCallback
from tagger.errors import ScanInterrupted
from tagger.ledger.items import NewItem, append_items, fill_job, lock_scan
from tagger.ledger.jobs import NewJob, claim_unfilled_job, create_job, finish_scan
from tagger.ledger.ownership import job_heartbeat
from tagger.query import PhotoQuery, TaggedPhoto, find_tagged
from tagger.query.filters import path_ranges

PAGE = 1000


_written_contents = contents.alias("written_contents")
_own_writes = metadata_writes.alias("own_writes")
_other_photos = photos.alias("other_photos")


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

    Items that an earlier process added before it died are kept.
    """
    with database.read() as connection:
        parent = connection.scalar(select(jobs.c.parent_id).where(jobs.c.id == job_id))
        # Pages are in id order, although the photos of one page are ordered by root.
        last_id = connection.scalar(
            select(func.max(job_items.c.photo_id)).where(job_items.c.job_id == job_id)
        )
    in_parent = (
        select(job_items.c.photo_id)
        .where(
            job_items.c.job_id == parent,
            job_items.c.photo_id == photos.c.id,
            job_items.c.outcome.in_((Outcome.TAGGED, Outcome.UNKNOWN, Outcome.SKIPPED)),
        )
        .exists()
    )
    with job_heartbeat(database, job_id):
        fill_job(
            database,
            job_id,
            (in_parent, photos.c.gone_since.is_(None), _has_values_to_write_or_remove()),
            photos.outerjoin(contents, contents.c.id == photos.c.content_id),
            after=last_id or 0,
        )
    finish_scan(database, job_id)


def create_write_job(
    database: Database,
    new: NewJob,
    query: PhotoQuery,
    root_paths: RootPaths,
    on_progress: ProgressCallback = lambda _count: None,
) -> int:
    """Create a job for the photos that a query finds; return its id.

    If the query does not filter by tags, the job includes photos that were written before and have no tag now.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: the query has an unknown name.
    """
    found = find_tagged(database, query, root_paths)  # resolves names before the job is created
    job_id = create_job(database, new)
    with job_heartbeat(database, job_id):
        count = 0
        for page in _id_pages(found):
            _append(database, job_id, page)
            count += len(page)
            on_progress(count)
        if not has_tag_conditions(query):
            fill_job(
                database,
                job_id,
                (*_written_before(database, query, root_paths), ~_in_job(job_id)),
                on_progress=lambda more: on_progress(count + more),
            )
    finish_scan(database, job_id)
    return job_id


def selected_photo_pages(
    database: Database, query: PhotoQuery, root_paths: RootPaths
) -> Iterator[Sequence[int]]:
    """The ids of the photos that `create_write_job` selects, in pages. Keeps all ids in memory, a few bytes each."""
    yielded: set[int] = set()
    for found in _id_pages(find_tagged(database, query, root_paths)):
        yielded.update(found)
        yield found
    if not has_tag_conditions(query):
        conditions = tuple(_written_before(database, query, root_paths))
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


def create_undo_job(
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


def written_photo_conditions(
    database: Database, job: int | None, paths: Iterable[Path], root_paths: RootPaths
) -> tuple[ColumnElement[bool], ...]:
    """Conditions for photos that this program has written: all, those of one job, or those under the paths."""
    conditions = [photos.c.gone_since.is_(None), _was_written(job)]
    paths = tuple(paths)
    return (*conditions, *((_under(database, paths, root_paths),) if paths else ()))


def has_tag_conditions(query: PhotoQuery) -> bool:
    """Whether the query limits photos by their tags."""
    conditions = (query.landmark, query.country, query.near, query.min_score, query.model, query.limit)
    return any(condition is not None for condition in conditions)


def _id_pages(found: Iterable[TaggedPhoto]) -> Iterator[list[int]]:
    ids = (photo.id for photo in found)
    while page := list(islice(ids, PAGE)):
        yield page


def _has_values_to_write_or_remove() -> ColumnElement[bool]:
    confirmed = exists().where(
        verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "confirmed"
    )
    return or_(contents.c.outcome == Outcome.TAGGED, confirmed, _was_written())


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
    # A photo that was moved after the write has a new id and no row of its own.
    has_own = select(_own_writes.c.id).where(_own_writes.c.photo_id == photos.c.id).correlate(photos).exists()
    gone = select(_other_photos.c.id).where(_other_photos.c.gone_since.is_not(None))
    was_moved = or_(metadata_writes.c.photo_id.is_(None), metadata_writes.c.photo_id.in_(gone))
    own = or_(metadata_writes.c.photo_id == photos.c.id, and_(~has_own, was_moved))
    return same_image.where(metadata_writes.c.job_id == job, own).exists()


def _written_before(
    database: Database, query: PhotoQuery, root_paths: RootPaths
) -> Iterator[ColumnElement[bool]]:
    yield _was_written()
    yield photos.c.gone_since.is_(None)
    if query.under:
        yield _under(database, query.under, root_paths)
    if query.taken_after is not None:
        yield photos.c.taken_at >= query.taken_after
    if query.taken_before is not None:
        yield photos.c.taken_at < query.taken_before


def _under(database: Database, paths: Iterable[Path], root_paths: RootPaths) -> ColumnElement[bool]:
    with database.read() as connection:
        ranges = path_ranges(connection, paths, root_paths)
    return or_(false(), *(path_range.condition for path_range in ranges))


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
