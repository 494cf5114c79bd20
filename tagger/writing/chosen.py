"""Which photos a job writes or takes back: those of the job it was chained to, of a query, or that were written before."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select

from tagger.database import Database
from tagger.errors import ScanEnded
from tagger.ledger.filling import fill_job
from tagger.ledger.jobs import (
    NewItem,
    NewJob,
    adopt_job,
    append_items,
    create_job,
    finish_scan,
    hold_scan,
    kept_alive,
)
from tagger.query import PhotoQuery, find_tagged
from tagger.query.wanted import path_ranges
from tagger.roots import Places
from tagger.tables import (
    Outcome,
    contents,
    job_items,
    jobs,
    metadata_writes,
    photos,
    verdicts,
)

PAGE = 1000

OnFound = Callable[[int], None]

_written_contents = contents.alias("written_contents")
_own_writes = metadata_writes.alias("own_writes")
_others = photos.alias("others")


def choose_adopted(database: Database) -> list[int]:
    """Choose the photos of jobs that were chained to others and that nobody has looked after yet; returns the jobs."""
    chosen = []
    while (job_id := adopt_job(database)) is not None:
        with suppress(ScanEnded):  # cancelled meanwhile; others may still be waiting
            choose_of_parent(database, job_id)
            chosen.append(job_id)
    return chosen


def choose_of_parent(database: Database, job_id: int) -> None:
    """The photos of the job it was chained to that have something to write or to take away.

    What an earlier process chose before it died stays.
    """
    with database.read() as connection:
        parent = connection.scalar(select(jobs.c.parent_id).where(jobs.c.id == job_id))
        # Pages are in the order of ids, though within a page photos are ordered by root.
        after = connection.scalar(select(func.max(job_items.c.photo_id)).where(job_items.c.job_id == job_id))
    of_parent = (
        select(job_items.c.photo_id)
        .where(
            job_items.c.job_id == parent,
            job_items.c.photo_id == photos.c.id,
            job_items.c.outcome.in_((Outcome.TAGGED, Outcome.UNKNOWN, Outcome.SKIPPED)),
        )
        .exists()
    )
    with kept_alive(database, job_id):
        fill_job(
            database,
            job_id,
            (of_parent, photos.c.gone_since.is_(None), _matters()),
            photos.outerjoin(contents, contents.c.id == photos.c.content_id),
            after=after or 0,
        )
    finish_scan(database, job_id)


def record_write(
    database: Database,
    new: NewJob,
    query: PhotoQuery,
    places: Places,
    on_found: OnFound = lambda _count: None,
) -> int:
    """Make a job of the photos that a query finds; returns its number.

    Where the query does not ask for certain tags, photos that were written before and have no tag any more come too.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name that means nothing here.
    """
    found = find_tagged(database, query, places)  # its names are looked up before a job is made
    job_id = create_job(database, new)
    with kept_alive(database, job_id):
        count = 0
        while page := [photo.id for photo in islice(found, PAGE)]:
            _append(database, job_id, page)
            count += len(page)
            on_found(count)
        if not asks_for_tags(query):
            fill_job(
                database,
                job_id,
                (*_written_before(database, query, places), ~_in_job(job_id)),
                on_found=lambda more: on_found(count + more),
            )
    finish_scan(database, job_id)
    return job_id


def query_pages(database: Database, query: PhotoQuery, places: Places) -> Iterator[Sequence[int]]:
    """The ids of the photos that `record_write` would choose, in pages; those found are remembered, a few bytes each."""
    seen: set[int] = set()
    found = find_tagged(database, query, places)
    while page := [photo.id for photo in islice(found, PAGE)]:
        seen.update(page)
        yield page
    if not asks_for_tags(query):
        before = tuple(_written_before(database, query, places))
        for ids in photo_ids(database, before):
            yield [photo for photo in ids if photo not in seen]


def photo_ids(database: Database, conditions: Sequence[ColumnElement[bool]]) -> Iterator[Sequence[int]]:
    """The ids of photos that fit, in pages."""
    after = 0
    while True:
        query = select(photos.c.id).where(*conditions, photos.c.id > after).order_by(photos.c.id)
        with database.read() as connection:
            page = connection.scalars(query.limit(PAGE)).all()
        if not page:
            return
        yield page
        after = page[-1]


def record_undo(
    database: Database,
    new: NewJob,
    conditions: Sequence[ColumnElement[bool]],
    on_found: OnFound = lambda _count: None,
) -> int:
    """Make a job of the photos in whose files something of ours is; returns its number."""
    job_id = create_job(database, new)
    with kept_alive(database, job_id):
        fill_job(database, job_id, conditions, on_found=on_found)
    finish_scan(database, job_id)
    return job_id


def written_photos(
    database: Database, job: int | None, paths: Iterable[Path], places: Places
) -> tuple[ColumnElement[bool], ...]:
    """Photos that this program has written: by one job, or under one of the paths; without either, all."""
    conditions = [photos.c.gone_since.is_(None), _was_written(job)]
    named = tuple(paths)
    return (*conditions, *((_under(database, named, places),) if named else ()))


def asks_for_tags(query: PhotoQuery) -> bool:
    """Whether only photos with certain tags are meant."""
    given = (query.landmark, query.country, query.near, query.min_score, query.model, query.limit)
    return any(value is not None for value in given)


def _matters() -> ColumnElement[bool]:
    """There is something to write, or may be something to take away."""
    confirmed = exists().where(
        verdicts.c.content_id == photos.c.content_id, verdicts.c.verdict == "confirmed"
    )
    return or_(contents.c.outcome == Outcome.TAGGED, confirmed, _was_written())


def _was_written(job: int | None = None) -> ColumnElement[bool]:
    """The photo's picture was written, in whatever file; by a certain job: in this photo's own, or in the one it was before it was moved."""
    of_picture = (
        select(metadata_writes.c.id)
        .join(_written_contents, _written_contents.c.digest == metadata_writes.c.picture)
        .where(_written_contents.c.id == photos.c.content_id)
    )
    if job is None:
        return of_picture.exists()
    # One that was moved since is another photo now, without a row of its own.
    has_own = select(_own_writes.c.id).where(_own_writes.c.photo_id == photos.c.id).correlate(photos).exists()
    gone = select(_others.c.id).where(_others.c.gone_since.is_not(None))
    was_moved = or_(metadata_writes.c.photo_id.is_(None), metadata_writes.c.photo_id.in_(gone))
    own = or_(metadata_writes.c.photo_id == photos.c.id, and_(~has_own, was_moved))
    return of_picture.where(metadata_writes.c.job_id == job, own).exists()


def _written_before(database: Database, query: PhotoQuery, places: Places) -> Iterator[ColumnElement[bool]]:
    yield _was_written()
    yield photos.c.gone_since.is_(None)
    if query.under:
        yield _under(database, query.under, places)
    if query.taken_after is not None:
        yield photos.c.taken_at >= query.taken_after
    if query.taken_before is not None:
        yield photos.c.taken_at < query.taken_before


def _under(database: Database, paths: Iterable[Path], places: Places) -> ColumnElement[bool]:
    with database.read() as connection:
        ranges = path_ranges(connection, paths, places)
    return or_(false(), *(wanted.condition for wanted in ranges))


def _in_job(job_id: int) -> ColumnElement[bool]:
    return exists().where(job_items.c.job_id == job_id, job_items.c.photo_id == photos.c.id)


def _append(database: Database, job_id: int, photo_ids: Sequence[int]) -> None:
    """Those that were not forgotten since they were found, by root."""
    with database.write() as connection:
        hold_scan(connection, job_id)
        still = (
            select(photos.c.id)
            .where(photos.c.id.in_(photo_ids))
            .order_by(photos.c.root_id, photos.c.id)
            .with_for_update(read=True, key_share=True)
        )
        append_items(
            connection, job_id, [NewItem(photo, skipped=False) for photo in connection.scalars(still)]
        )
