"""Jobs that write metadata, or undo writes: their requests and photos, and what is left to undo."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from sqlalchemy import ColumnElement, and_, case, exists, false, func, or_, select

from tagger.database import STATED, JobKind, Outcome, Target
from tagger.database.connection import Database
from tagger.database.tables import (
    contents,
    job_items,
    jobs,
    metadata_writes,
    photos,
    positions,
)
from tagger.errors import ScanInterrupted
from tagger.jobs.enqueue.scan import Scan
from tagger.jobs.enqueue.submission import UNDO_JOB, MetadataOptions, inference_options
from tagger.kept.update import update_kept
from tagger.ledger import NewJob, claim_unfilled_job, finish_scan, job_heartbeat
from tagger.ledger.items import fill_job
from tagger.ledger.job_control import find_job
from tagger.query.filters import ResolvedQuery
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import has_tag, path_ranges
from tagger.roots import RootPaths
from tagger.settings import Settings
from tagger.things import shown_things

PAGE = 1000


@dataclass(frozen=True)
class Write:
    """Write the tags of the photos that a query finds, or of those with `photo_ids`, to their metadata.

    Without a filter by tags, photos are included that were written before, or whose position is written.
    """

    options: MetadataOptions
    query: PhotoQuery = field(default_factory=PhotoQuery)
    photo_ids: Sequence[int] | None = None

    def check(self, database: Database, root_paths: RootPaths) -> None:
        """Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: the query has an unknown name.
        """
        with database.read() as connection:
            ResolvedQuery.resolve(connection, self.query, root_paths)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        inference = inference_options(database, settings)
        return NewJob(
            **vars(inference), kind=JobKind.WRITE, options=self.options.to_job_options()
        )

    def add_photos(self, scan: Scan) -> None:
        """Bring positions, and the tags that they accept or refuse, up to date; then add the photos."""
        update_kept(scan.database)
        # A photo may lose its tags meanwhile, and is then found again.
        is_item = exists().where(
            job_items.c.job_id == scan.job_id, job_items.c.photo_id == photos.c.id
        )
        for page in self.photo_id_pages(scan.database, scan.root_paths):
            scan.select([of_photos(page), ~is_item])

    def photo_id_pages(
        self, database: Database, root_paths: RootPaths
    ) -> Iterator[Sequence[int]]:
        if self.photo_ids is not None:
            yield self.photo_ids
            return
        query = self.query
        ids = (photo.id for photo in find_tagged(database, query, root_paths))
        while page := list(islice(ids, PAGE)):
            yield page
        # Folders and dates alone do not leave out photos without tags.
        if (
            replace(
                query,
                under=(),
                year=(),
                calendar_month=(),
                calendar_day=(),
                undated=False,
                taken_after=None,
                taken_before=None,
            )
            == PhotoQuery()
        ):
            with database.read() as connection:
                of_files = ResolvedQuery.resolve(
                    connection, query, root_paths
                ).file_conditions()
            others = (
                ~has_tag(),
                photos.c.gone_since.is_(None),
                _has_other_values(self.options),
            )
            yield from photo_id_pages(database, (*others, *of_files))


@dataclass(frozen=True)
class Undo:
    """Undo what all jobs, or `job`, wrote to all photos, or those under `paths`, or with `photo_ids`."""

    job: int | None = None
    paths: Sequence[Path] = ()
    photo_ids: Sequence[int] | None = None

    def check(self, database: Database, root_paths: RootPaths) -> None:  # noqa: ARG002
        """Raises:
        JobNotFound: there is no such job.
        """
        if self.job is not None:
            find_job(database, self.job)

    def new_job(self, database: Database, settings: Settings) -> NewJob:
        options = {} if self.job is None else {UNDO_JOB: self.job}
        return NewJob(
            **vars(inference_options(database, settings)),
            kind=JobKind.UNDO,
            options=options,
        )

    def add_photos(self, scan: Scan) -> None:
        scan.select(self.conditions(scan.database, scan.root_paths))

    def photo_id_pages(
        self, database: Database, root_paths: RootPaths
    ) -> Iterator[Sequence[int]]:
        return photo_id_pages(database, self.conditions(database, root_paths))

    def conditions(
        self, database: Database, root_paths: RootPaths
    ) -> list[ColumnElement[bool]]:
        """The conditions for the photos. Those that are gone are among them, as their sidecars may stay."""
        conditions = [_was_written(self.job)]
        if self.paths:
            conditions.append(is_under(database, self.paths, root_paths))
        return (
            conditions
            if self.photo_ids is None
            else [*conditions, of_photos(self.photo_ids)]
        )


def of_photos(photo_ids: Sequence[int]) -> ColumnElement[bool]:
    return photos.c.id.in_(photo_ids)


def is_under(
    database: Database, paths: Iterable[Path], root_paths: RootPaths
) -> ColumnElement[bool]:
    with database.read() as connection:
        ranges = path_ranges(connection, paths, root_paths)
    return or_(false(), *(range_.condition() for range_ in ranges))


def photo_id_pages(
    database: Database, conditions: Sequence[ColumnElement[bool]]
) -> Iterator[Sequence[int]]:
    for rows in database.row_pages(
        select(photos.c.id).where(*conditions), photos.c.id, size=PAGE
    ):
        yield [row.id for row in rows]


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
    is_sidecar = metadata_writes.c.target == Target.SIDECAR
    is_new = and_(is_sidecar, metadata_writes.c.base_digest.is_(None))
    kinds = {"embedded": ~is_sidecar, "sidecars": is_sidecar, "new_sidecars": is_new}
    files = (
        func.count(case((kind, metadata_writes.c.id))).label(name)
        for name, kind in kinds.items()
    )
    of_job = metadata_writes.c.job_id == job
    is_held = metadata_writes.c.photo_id.is_not(None)
    with database.read() as connection:
        counts = (
            connection.execute(select(*files).where(of_job, is_held)).mappings().one()
        )
        count = connection.scalar(
            select(func.count()).select_from(photos).where(_was_written(job))
        )
    return JobWrites(photos=count or 0, **counts)


def has_job_writes(database: Database, job: int) -> bool:
    """Whether the undo log has a write of the job; its photo may be gone."""
    written = select(metadata_writes.c.id).where(metadata_writes.c.job_id == job)
    return database.scalar(written.limit(1)) is not None


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
    return database.scalar(embedded.limit(1)) is not None


def options_of_last_sidecar(
    database: Database, photo_id: int
) -> MetadataOptions | None:
    """The options with which a photo's sidecar was written last; None if that is not known."""
    last = (
        select(jobs.c.options)
        .join(metadata_writes, metadata_writes.c.job_id == jobs.c.id)
        .where(
            metadata_writes.c.photo_id == photo_id,
            metadata_writes.c.target == Target.SIDECAR,
        )
        .order_by(metadata_writes.c.written_at.desc())
        .limit(1)
    )
    options = database.scalar(last)
    return MetadataOptions.from_job_options(options or {})


_written_contents = contents.alias("written_contents")
_own_writes = metadata_writes.alias("own_writes")
_other_photos = photos.alias("other_photos")


def _was_written(job: int | None = None) -> ColumnElement[bool]:
    # Whether one of the photo's files was written, or, if the photo is not gone, its image in any file.
    #
    # With a job: whether that job wrote this photo's own files, or those it had before it was moved.
    same_image = (
        select(metadata_writes.c.id)
        .join(
            _written_contents,
            _written_contents.c.digest == metadata_writes.c.image_digest,
        )
        .where(
            _written_contents.c.id == photos.c.content_id, photos.c.gone_since.is_(None)
        )
    )
    own = select(_own_writes.c.id).where(_own_writes.c.photo_id == photos.c.id)
    if job is None:
        return or_(own.exists(), same_image.exists())
    # A photo that was moved after the write has a new id and no row of its own.
    gone = select(_other_photos.c.id).where(_other_photos.c.gone_since.is_not(None))
    was_moved = or_(
        metadata_writes.c.photo_id.is_(None), metadata_writes.c.photo_id.in_(gone)
    )
    moved = same_image.where(metadata_writes.c.job_id == job, was_moved)
    return or_(
        own.where(_own_writes.c.job_id == job).exists(),
        and_(~own.exists(), moved.exists()),
    )


def _has_other_values(options: MetadataOptions | None) -> ColumnElement[bool]:
    # Whether a photo without tags was written before, or has a position or things to write.
    found = [_was_written()]
    if options is not None and options.max_error_m is not None:
        is_precise = (
            positions.c.source.not_in(STATED),
            positions.c.error_m <= options.max_error_m,
        )
        found.append(exists().where(positions.c.photo_id == photos.c.id, *is_precise))
    if options is not None and options.things:
        found.append(exists().where(shown_things.c.content_id == photos.c.content_id))
    return or_(*found)


def fill_chained_jobs(
    database: Database, on_progress: Callable[[int], None] = lambda _count: None
) -> list[int]:
    """Select the photos of chained jobs that no process is filling; return these jobs' ids."""
    job_ids = []
    while (job_id := claim_unfilled_job(database)) is not None:
        with suppress(
            ScanInterrupted
        ):  # the job was cancelled; the others are still to be filled
            select_parent_photos(database, job_id, on_progress)
            job_ids.append(job_id)
    return job_ids


def select_parent_photos(
    database: Database,
    job_id: int,
    on_progress: Callable[[int], None] = lambda _count: None,
) -> None:
    """Fill a chained job with the photos of its parent that have something to write or to remove.

    Positions are brought up to date first. Items that a process added before it died are kept.
    """
    (job,) = database.rows(select(jobs).where(jobs.c.id == job_id))
    # Pages are in id order, although the photos of one page are ordered by root.
    last_id = database.scalar(
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
        update_kept(database, lambda _step, done, _total: on_progress(done))
        options = MetadataOptions.from_job_options(job.options)
        has_values = or_(has_tag(), _has_other_values(options))
        fill_job(
            database,
            job_id,
            (in_parent, photos.c.gone_since.is_(None), has_values),
            photos.outerjoin(contents, contents.c.id == photos.c.content_id),
            on_progress,
            after=last_id or 0,
        )
    finish_scan(database, job_id)
