"""Selecting the photos of a job that writes metadata, or undoes writes: by query, or by earlier writes. Records nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, and_, exists, false, not_, or_, select

from tagger.database.connection import Database
from tagger.database.enums import Outcome, PositionSource, Target
from tagger.database.tables import contents, jobs, metadata_writes, photos, positions
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.library.query.path_ranges import path_ranges
from tagger.library.query.photo_conditions import is_confirmed_or_taught, taken_in
from tagger.library.query.tagged_photos import TaggedPhoto

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


def written_photos(database: Database, photo_ids: Sequence[int], root_paths: RootPaths) -> list[int]:
    """Those of the photos that this program has written."""
    conditions = written_photo_conditions(database, None, (), root_paths)
    pages = photo_id_pages(database, (photos.c.id.in_(photo_ids), *conditions))
    return [photo_id for page in pages for photo_id in page]


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


def has_photos_outside(
    database: Database, photo_ids: Sequence[int], folders: Iterable[Path], root_paths: RootPaths
) -> bool:
    """Whether one of the photos is outside all of these folders."""
    outside = (photos.c.id.in_(photo_ids), not_(_under(database, folders, root_paths)))
    with database.read() as connection:
        return connection.scalar(select(photos.c.id).where(*outside).limit(1)) is not None


def has_tag_conditions(query: PhotoQuery) -> bool:
    """Whether the query limits photos by more than folders and dates, so that it leaves out photos without tags."""
    return replace(query, under=(), year=(), taken_after=None, taken_before=None) != PhotoQuery()


def found_id_pages(found: Iterable[TaggedPhoto]) -> Iterator[list[int]]:
    """The ids of the photos that a query found, in pages."""
    ids = (photo.id for photo in found)
    while page := list(islice(ids, PAGE)):
        yield page


def has_values_to_write_or_remove(max_error_m: int | None) -> ColumnElement[bool]:
    """The condition for photos with accepted tags or estimated positions, or that were written before."""
    is_tagged = or_(contents.c.outcome == Outcome.TAGGED, is_confirmed_or_taught())
    return or_(is_tagged, _was_written_or_estimated(max_error_m))


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
