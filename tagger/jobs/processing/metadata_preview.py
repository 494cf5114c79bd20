"""The accepted tags of photos whose metadata is written, and what a metadata job would change, file by file.

A preview changes nothing. In files that the undo log does not know, the XMP names the values that are ours.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, select, true

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import STATED, Target
from tagger.database.tables import (
    contents,
    effective_tags,
    landmarks,
    metadata_writes,
    models,
    photos,
    positions,
)
from tagger.errors import PhotoFailed, PhotoNotFound
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.processing.claimed_chunk import raw_files_of
from tagger.jobs.processing.undo_log import delete_orphaned, find_undo_record
from tagger.library.catalog.roots import RootPaths, list_roots
from tagger.library.query.details import find_photo_id
from tagger.library.query.tagged_photos import best_first
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.photo_writer import (
    TAGGER_RECORD,
    PhotoPlan,
    WriteRequest,
    describe_result,
    differences,
    photo_fields,
    plan_photo,
    prepare_photo,
    refuse_object,
    without_unreadable_sidecars,
    xmp_fields,
    xmp_packet,
)
from tagger.metadata.plans import FilePlan, plan_sidecar
from tagger.metadata.restored_files import FindUndoRecord, digest_file
from tagger.metadata.sidecar_names import is_sidecar_name
from tagger.metadata.tag_fields import NamedLandmark, PositionEstimate, TagFields, make_tag_fields
from tagger.metadata.xmp import has_our_fields
from tagger.photos.buckets import is_object
from tagger.photos.paths import ObjectPath, path_text
from tagger.photos.source import read_named
from tagger.settings import Settings
from tagger.system.documents import document_of


@dataclass(frozen=True)
class PhotoTags:
    """A photo's accepted tags after verdicts, best first, and the writes of its image in any file (see `_writes`).

    `estimate` is its stored position, unless its camera measured it. `image_digest` is the digest of the tagged image.
    """

    image_digest: str
    landmarks: tuple[NamedLandmark, ...]
    estimate: PositionEstimate | None
    writes: Sequence[Row[Any]]

    @property
    def complete_digests(self) -> frozenset[str]:
        """The digests of the photo's written files whose rows in the undo log are complete."""
        return frozenset(write.written_digest for write in self.writes if write.is_complete)

    def written_targets(self, job: int | None = None) -> frozenset[Target]:
        """The targets that this program, or one job of it, has written before."""
        return frozenset(Target(write.target) for write in self.writes if job in {None, write.job_id})

    def write_request(
        self,
        path: Path,
        root: Path,
        options: MetadataOptions | None,
        *,
        max_bytes: int,
        undo_job: int | None = None,
    ) -> WriteRequest:
        """The request for the photo at `path` in the folder `root`. Without `options` it is an undo, of all writes or of those of `undo_job`."""
        if options is None:
            written = self.written_targets(undo_job)
            return _undo_request(path, root, written, max_bytes, single_job=undo_job is not None)
        landmarks = [tag.in_language(options.language) for tag in self.landmarks]
        gps, estimate = options.gps, None
        if options.max_error_m is not None and self.estimate is not None:
            gps = False  # the stored position takes account of what contradicts the landmark
            estimate = self.estimate if self.estimate.error_m <= options.max_error_m else None
        tag_fields = make_tag_fields(landmarks, gps=gps, estimate=estimate, description=options.description)
        return WriteRequest(
            path,
            root,
            self.image_digest,
            tag_fields,
            options.to,
            self.written_targets(),
            max_bytes,
        )


def load_photo_tags(database: Database, photo_ids: Collection[int]) -> Mapping[int, PhotoTags]:
    """Load tags by photo id. Photos that no model has classified are missing."""
    with database.read() as connection:
        rows = connection.execute(
            select(photos.c.id, photos.c.content_id, contents.c.digest)
            .join(contents, contents.c.id == photos.c.content_id)
            .where(photos.c.id.in_(photo_ids))
        ).all()
        estimates = _estimates(connection, photo_ids)
        accepted = _accepted_landmarks(connection, {row.content_id for row in rows})
        writes = _writes(connection, photo_ids)
    return {
        row.id: PhotoTags(
            row.digest,
            accepted.get(row.content_id, ()),
            estimates.get(row.id),
            writes.get(row.id, ()),
        )
        for row in rows
    }


def _estimates(connection: Connection, photo_ids: Collection[int]) -> Mapping[int, PositionEstimate]:
    query = select(positions).where(positions.c.photo_id.in_(photo_ids), positions.c.source.not_in(STATED))
    return {
        row.photo_id: PositionEstimate(row.latitude, row.longitude, row.error_m, row.source)
        for row in connection.execute(query)
    }


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
    return {
        content_id: tuple(document_of(NamedLandmark, row) for row in sorted(rows, key=_written_order))
        for content_id, rows in accepted.items()
    }


def _written_order(row: Row[Any]) -> tuple[bool, int, float, str]:
    """As `best_first`, but equal ones by slug: another order would change files that are written again."""
    is_unranked, rank, score, _landmark_id = best_first(row)
    return is_unranked, rank, score, row.slug


def _writes(connection: Connection, photo_ids: Collection[int]) -> Mapping[int, list[Row[Any]]]:
    """The writes of each photo's image in any file: photos are moved, copied, forgotten and scanned again."""
    is_complete = and_(metadata_writes.c.photo_id == photos.c.id, metadata_writes.c.complete)
    query = (
        select(
            photos.c.id,
            metadata_writes.c.target,
            metadata_writes.c.job_id,
            metadata_writes.c.written_digest,
            is_complete.label("is_complete"),
        )
        .join(contents, contents.c.id == photos.c.content_id)
        .join(metadata_writes, metadata_writes.c.image_digest == contents.c.digest)
        .where(photos.c.id.in_(photo_ids))
    )
    writes: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query):
        writes.setdefault(row.id, []).append(row)
    return writes


@dataclass(frozen=True)
class MetadataPreview:
    """A photo's plan, or why it has none."""

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
    """Preview these photos, in their order. Without `options`, preview an undo of all writes or of those of `undo_job`."""
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, settings.roots)}
        rows = connection.execute(select(photos).where(photos.c.id.in_(photo_ids))).all()
        raw_files = raw_files_of(connection, photo_ids)
    tags = load_photo_tags(database, photo_ids)
    by_id = {row.id: row for row in rows}
    for photo_id in photo_ids:
        if photo_id in by_id and photo_id in tags:
            row = by_id[photo_id]
            root = roots[row.root_id]
            path = root.path_of(row.path, row.path_bytes)
            request = tags[photo_id].write_request(
                path, root.folder, options, max_bytes=settings.max_bytes, undo_job=undo_job
            )
            files = tuple(root.path_of(*file) for file in raw_files.get(photo_id, ()))
            find = partial(find_undo_record, database, photo_id)
            yield _preview(path, partial(plan_photo, replace(request, raw_files=files), find))


def preview_unlogged_undo(
    database: Database, settings: Settings, paths: Iterable[Path]
) -> Iterator[MetadataPreview]:
    """Preview an undo in each of these files that no job would process. Folders are left to jobs."""
    for path in paths:
        if _is_file(path) and not _is_logged(database, path, settings.roots):
            find = partial(find_undo_record, database, None)
            yield _preview(path, partial(_plan_undo, path, find, settings.max_bytes))


def undo_unlogged(database: Database, preview: MetadataPreview) -> tuple[str, bool]:
    """Carry out a previewed undo; return the result in words, and whether nothing was refused."""
    if preview.plan is None:
        return f"unchanged: {preview.problem}", False
    try:
        photo = prepare_photo(preview.plan)
        photo.replace_files()
    except (WriteRefused, WriteFailed) as problem:
        return f"unchanged: {problem}", False
    for file in photo.replaced:
        if file.original.data is not None:
            name = path_text(file.original.path.name)[0]
            delete_orphaned(database, name, digest_file(file.original.data))
    if photo.replaced:
        with database.write() as connection:
            record_action(connection, AuditAction.METADATA_UNDO, preview.path)
    return describe_result(photo), preview.plan.refusal is None


def _preview(path: Path, plan: Callable[[], PhotoPlan]) -> MetadataPreview:
    try:
        return MetadataPreview(path, plan())
    except (WriteRefused, WriteFailed) as problem:
        return MetadataPreview(path, None, problem)


def _is_file(path: Path) -> bool:
    return is_object(path) if isinstance(path, ObjectPath) else path.is_file()


def _plan_undo(path: Path, find_undo_record: FindUndoRecord, max_bytes: int) -> PhotoPlan:
    """Plan the undo of a photo, or of a sidecar alone, whose photo may be gone."""
    refuse_object(path, None)
    if is_sidecar_name(path.name):
        request = _undo_request(path, path.parent, frozenset({Target.SIDECAR}), max_bytes)
        plan = PhotoPlan(request, (plan_sidecar(path, request.tag_fields, find_undo_record),))
        return without_unreadable_sidecars(plan)
    targets = frozenset(Target) if _may_hold_our_values(path, max_bytes) else frozenset({Target.SIDECAR})
    return plan_photo(_undo_request(path, path.parent, targets, max_bytes), find_undo_record)


def _undo_request(
    path: Path, root: Path, targets: frozenset[Target], max_bytes: int, *, single_job: bool = False
) -> WriteRequest:
    return WriteRequest(
        path,
        root,
        None,
        TagFields(),
        None,
        targets,
        max_bytes,
        single_job=single_job,
    )


def _may_hold_our_values(path: Path, max_bytes: int) -> bool:
    """Whether the photo's own file holds our values. True if it cannot be read, so that planning reports the error."""
    try:
        return has_our_fields(xmp_packet(read_named(path, max_bytes=max_bytes).data))
    except (PhotoFailed, WriteRefused):
        return True


def _is_logged(database: Database, path: Path, root_paths: RootPaths) -> bool:
    try:
        with database.read() as connection:
            photo_id = find_photo_id(connection, path, root_paths)
    except PhotoNotFound:
        return False
    tags = load_photo_tags(database, [photo_id]).get(photo_id)
    return tags is not None and bool(tags.writes)
