"""The accepted tags of photos whose metadata is written, and what a metadata job would change, file by file.

A preview changes nothing. In files that the undo log does not know, the XMP names the values that are ours.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, select, true

from tagger.database import STATED, Target
from tagger.database.connection import Database
from tagger.database.tables import (
    contents,
    effective_tags,
    landmarks,
    metadata_writes,
    models,
    photos,
    positions,
)
from tagger.errors import PhotoNotFound
from tagger.jobs.enqueue.submission import MetadataOptions
from tagger.metadata import (
    NamedLandmark,
    PositionEstimate,
    WriteFailed,
    WriteRefused,
    make_tag_fields,
)
from tagger.metadata.photo_files import (
    TAGGER_RECORD,
    WrittenFile,
    differences,
    photo_fields,
    xmp_fields,
)
from tagger.metadata.photo_writer import PhotoPlan, PhotoWriteRequest, plan_photo
from tagger.metadata.plans import FilePlan, UndoRecord
from tagger.photos.paths import path_from_text
from tagger.query.details import find_photo_id
from tagger.query.tagged_photos import best_first
from tagger.raw_pairs import raw_files_of
from tagger.roots import RootPaths, list_roots
from tagger.roots.availability import unavailable_folders
from tagger.settings import Settings
from tagger.texts import document_of
from tagger.texts.names import slug_of_name
from tagger.things import Thing, all_things, things_of_images


@dataclass(frozen=True)
class PhotoTags:
    """A photo's accepted tags, best first, and the writes of its files and of its image (see `_writes`).

    `things`: what else it shows.
    `estimate`: its position, unless its camera measured it. `image_digest`: None before it is classified.
    `has_copy`: a photo that is not gone has the same image.
    """

    photo_id: int
    root_id: int
    is_gone: bool
    has_copy: bool
    image_digest: str | None
    landmarks: tuple[NamedLandmark, ...]
    things: tuple[Thing, ...]
    estimate: PositionEstimate | None
    writes: Sequence[Row[Any]]

    def written_targets(self, job: int | None = None) -> frozenset[Target]:
        """The targets that this program, or one job of it, has written before."""
        return frozenset(
            Target(write.target)
            for write in self.writes
            if job in {None, write.job_id}
            and (not self.is_gone or write.photo_id == self.photo_id)
        )

    def written_files(
        self, root: Path, job: int | None = None
    ) -> tuple[WrittenFile, ...]:
        """The files on record of the photo, and of photos with its image that are gone from its root."""
        return tuple(
            WrittenFile(
                (root / path_from_text(write.path, write.path_bytes)).with_name(
                    write.file
                ),
                Target(write.target),
                write.written_digest,
                write.base_digest,
                is_complete=write.complete,
                is_own=write.photo_id == self.photo_id,
                has_moved=self.is_gone and self.has_copy,
            )
            for write in self.writes
            if job in {None, write.job_id}
            if write.photo_id == self.photo_id
            or (
                not self.is_gone
                and write.root_id == self.root_id
                and write.gone_since is not None
            )
        )

    def write_request(
        self,
        path: Path,
        root: Path,
        options: MetadataOptions | None,
        *,
        max_bytes: int,
        undo_job: int | None = None,
        raw_files: Iterable[Path] = (),
    ) -> PhotoWriteRequest:
        """The request for the photo at `path`; without `options` an undo, of all writes or of `undo_job`."""
        written = self.written_targets(undo_job), self.written_files(root, undo_job)
        request = PhotoWriteRequest(
            path, root, max_bytes, *written, raw_files=tuple(raw_files)
        )
        if options is None:
            return replace(
                request, single_job=undo_job is not None, is_gone=self.is_gone
            )
        landmarks = [tag.in_language(options.language) for tag in self.landmarks]
        gps, estimate = options.gps, None
        if options.max_error_m is not None and self.estimate is not None:
            gps = False  # the stored position takes account of what contradicts the landmark
            if self.estimate.error_m <= options.max_error_m:
                sight = self.estimate.sight
                sight = None if sight is None else sight.in_language(options.language)
                estimate = replace(self.estimate, sight=sight)
        things = (
            [thing.path_in(options.language) for thing in self.things]
            if options.things
            else []
        )
        tag_fields = make_tag_fields(
            landmarks,
            things=things,
            gps=gps,
            estimate=estimate,
            description=options.description,
        )
        return replace(
            request,
            target=options.to,
            tag_fields=tag_fields,
            image_digest=self.image_digest,
        )


def load_photo_tags(
    database: Database, photo_ids: Collection[int]
) -> Mapping[int, PhotoTags]:
    """Load tags by photo id. Photos that were removed from the database are missing."""
    copy = photos.alias("copy")
    has_copy = exists().where(
        copy.c.content_id == photos.c.content_id,
        copy.c.id != photos.c.id,
        copy.c.gone_since.is_(None),
    )
    with database.read() as connection:
        rows = connection.execute(
            select(
                photos.c.id,
                photos.c.root_id,
                photos.c.content_id,
                photos.c.gone_since,
                contents.c.digest,
                has_copy.label("has_copy"),
            )
            .outerjoin(contents, contents.c.id == photos.c.content_id)
            .where(photos.c.id.in_(photo_ids))
        ).all()
        estimated = (
            positions.c.photo_id.in_(photo_ids),
            positions.c.source.not_in(STATED),
        )
        estimates = {
            row.photo_id: PositionEstimate(
                row.latitude,
                row.longitude,
                row.error_m,
                row.source,
                _sight(connection, row),
            )
            for row in connection.execute(select(positions).where(*estimated))
        }
        accepted = _accepted_landmarks(connection, {row.content_id for row in rows})
        # By slug: another order would change files that are written again.
        shown = things_of_images(connection, {row.content_id for row in rows})
        every = all_things(connection) if shown else {}
        things = {
            content_id: tuple(
                every[slug] for slug in sorted(each.thing for each in of_image)
            )
            for content_id, of_image in shown.items()
        }
        writes = _writes(connection, photo_ids)
    return {
        row.id: PhotoTags(
            row.id,
            row.root_id,
            row.gone_since is not None,
            row.has_copy,
            row.digest,
            accepted.get(row.content_id, ()),
            things.get(row.content_id, ()),
            estimates.get(row.id),
            writes.get(row.id, ()),
        )
        for row in rows
    }


def _sight(connection: Connection, row: Row[Any]) -> NamedLandmark | None:
    # The sight of a position.
    if row.sight is None:
        return None
    from tagger.sights import library_sights  # numpy

    sight = library_sights(connection).named(row.sight, row.latitude, row.longitude)
    names = {} if sight is None else dict(sight.names)
    slug = slug_of_name(row.sight) or row.sight
    return NamedLandmark(
        slug, row.sight, row.country, row.region, row.city, names=names
    )


def _accepted_landmarks(
    connection: Connection, content_ids: Collection[int]
) -> Mapping[int, tuple[NamedLandmark, ...]]:
    tags = effective_tags
    query = (
        select(
            tags.c.content_id,
            tags.c.landmark_id,
            tags.c.rank,
            tags.c.score,
            tags.c.verdict,
            models.c.name.label("model"),
            landmarks,
        )
        .select_from(tags)
        .join(landmarks, landmarks.c.id == tags.c.landmark_id)
        .outerjoin(models, models.c.id == tags.c.model_id)
        .where(tags.c.content_id.in_(content_ids), tags.c.accepted == true())
    )
    accepted: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query) if content_ids else ():
        accepted.setdefault(row.content_id, []).append(row)
    named = {}
    for content_id, rows in accepted.items():
        # Equal ones by slug: another order would change files that are written again.
        rows.sort(key=lambda row: (*best_first(row)[:3], row.slug))
        named[content_id] = tuple(document_of(NamedLandmark, row) for row in rows)
    return named


def _writes(
    connection: Connection, photo_ids: Collection[int]
) -> Mapping[int, list[Row[Any]]]:
    # The writes of each photo's files, and of its image in any file, with the photos of these.
    of_file = metadata_writes.c.photo_id == photos.c.id
    of_image = metadata_writes.c.image_digest == contents.c.digest
    holder = photos.alias("holder")
    query = (
        select(
            photos.c.id.label("of_photo"),
            *(column for column in metadata_writes.c if column.name != "undo"),
            and_(of_file, metadata_writes.c.complete).label("is_complete"),
            *(
                holder.c[name]
                for name in ("root_id", "path", "path_bytes", "gone_since")
            ),
        )
        .select_from(photos)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
    )
    writes: dict[int, dict[int, Any]] = {}
    for condition in (of_file, of_image):
        joined = query.join(metadata_writes, condition).outerjoin(
            holder, holder.c.id == metadata_writes.c.photo_id
        )
        for row in connection.execute(joined.where(photos.c.id.in_(photo_ids))):
            writes.setdefault(row.of_photo, {})[row.id] = row
    return {photo_id: list(rows.values()) for photo_id, rows in writes.items()}


# So many rows of one digest are compared.
_SAME_DIGEST_ROWS = 100


def find_undo_record(
    database: Database, photo_id: int, written_digest: str
) -> UndoRecord | None:
    """Find the record of the write that produced a file: the photo's own, else any other's."""
    query = select(metadata_writes).where(
        metadata_writes.c.written_digest == written_digest
    )
    newest = query.order_by(metadata_writes.c.id.desc()).limit(_SAME_DIGEST_ROWS)
    own = newest.where(metadata_writes.c.photo_id == photo_id).limit(1)
    rows = database.rows(own) or database.rows(newest)
    bases = {row.base_digest for row in rows}
    # If two different originals became the same file, the original of a third one is unknown.
    if len(bases) != 1:
        return None
    return UndoRecord(rows[0].written_digest, rows[0].base_digest, rows[0].undo)


def count_forgotten(database: Database, job: int | None = None) -> int:
    """The number of written files of forgotten photos: the database does not know where they are."""
    is_forgotten = (metadata_writes.c.photo_id.is_(None), metadata_writes.c.complete)
    query = select(func.count()).select_from(metadata_writes).where(*is_forgotten)
    return (
        database.scalar(
            query if job is None else query.where(metadata_writes.c.job_id == job)
        )
        or 0
    )


def recorded_sidecars(
    database: Database, photo: Path, root_paths: RootPaths
) -> Sequence[str]:
    """The names of a photo's sidecars that were written and not undone."""
    with suppress(PhotoNotFound), database.read() as connection:
        photo_id = find_photo_id(connection, photo, root_paths)
        writes = _writes(connection, [photo_id]).get(photo_id, ())
        return [
            write.file
            for write in writes
            if write.target == Target.SIDECAR and write.is_complete
        ]
    return []


@dataclass(frozen=True)
class MetadataPreview:
    path: Path
    plan: PhotoPlan | None
    problem: WriteRefused | WriteFailed | None = None


def changed_fields(plan: FilePlan) -> list[tuple[str, str, str]]:
    """Sign (+ or -), field and value of each change."""
    read = photo_fields if plan.target is Target.EMBED else xmp_fields
    original = plan.template if plan.original.data is None else plan.original.data
    before = read(original) if original is not None else {}
    after = read(plan.data) if plan.data is not None else {}
    return [line for line in differences(before, after) if TAGGER_RECORD not in line[1]]


def preview_photos(
    database: Database,
    settings: Settings,
    photo_ids: Sequence[int],
    options: MetadataOptions | None,
    undo_job: int | None = None,
) -> Iterator[MetadataPreview]:
    """Preview these photos in order; without `options` an undo, of all writes or of `undo_job`."""
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, settings.roots)}
        rows = connection.execute(
            select(photos).where(photos.c.id.in_(photo_ids))
        ).all()
        raw_files = raw_files_of(connection, photo_ids)
        of_photos = [
            roots[root_id] for root_id in sorted({row.root_id for row in rows})
        ]
        unavailable = [
            (folder, WriteFailed("unreadable", str(folder.error(connection))))
            for folder in unavailable_folders(connection, of_photos)
        ]
    tags = load_photo_tags(database, photo_ids)
    by_id = {row.id: row for row in rows}
    for photo_id in photo_ids:
        if (
            photo_id in by_id
            and photo_id in tags
            and (options is None or tags[photo_id].image_digest)
        ):
            row = by_id[photo_id]
            root = roots[row.root_id]
            path = root.path_of(row.path, row.path_bytes)
            problem = next(
                (text for folder, text in unavailable if folder.has(root.id, row.path)),
                None,
            )
            if problem is not None:
                yield MetadataPreview(path, None, problem)
                continue
            request = tags[photo_id].write_request(
                path,
                root.folder,
                options,
                max_bytes=settings.max_bytes,
                undo_job=undo_job,
                raw_files=(
                    root.path_of(file.path, file.path_bytes)
                    for file in raw_files.get(photo_id, ())
                ),
            )
            try:
                plan = plan_photo(
                    request, partial(find_undo_record, database, photo_id)
                )
            except (WriteRefused, WriteFailed) as problem_of_file:
                yield MetadataPreview(path, None, problem_of_file)
            else:
                yield MetadataPreview(path, plan)
