"""What a metadata job would change, file by file, and undo in files that the undo log does not know.

A preview changes nothing. In unknown files, the XMP names the values that are ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Target
from tagger.database.tables import photos
from tagger.errors import PhotoFailed, PhotoNotFound
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.processing.open_items import raw_files_of
from tagger.jobs.processing.photo_tags import load_photo_tags
from tagger.jobs.processing.undo_log import delete_orphaned, find_undo_record
from tagger.library.catalog.roots import RootPaths, list_roots
from tagger.library.query.details import find_photo_id
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.files.sidecars import is_sidecar_name
from tagger.metadata.inspection import TAGGER_RECORD, differences, photo_fields, xmp_fields, xmp_packet
from tagger.metadata.photo_writer import (
    PhotoPlan,
    WriteRequest,
    describe_result,
    plan_photo,
    prepare_photo,
)
from tagger.metadata.plans import FilePlan, FindUndoRecord, UndoRecord, digest_file, plan_sidecar
from tagger.metadata.tag_fields import TagFields
from tagger.metadata.xmp import has_our_fields
from tagger.photos.objects import is_object
from tagger.photos.paths import ObjectPath, path_text
from tagger.photos.source import read_named
from tagger.settings import Settings


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
            yield _preview(database, photo_id, replace(request, raw_files=files))


def undo_record_finder(database: Database, photo_id: int | None) -> FindUndoRecord:
    """Make a function that finds the undo record of a file by its digest."""

    def find(written_digest: str) -> UndoRecord | None:
        return find_undo_record(database, photo_id, written_digest)

    return find


def preview_unlogged_undo(
    database: Database, settings: Settings, paths: Iterable[Path]
) -> Iterator[MetadataPreview]:
    """Preview an undo in each of these files that no job would process. Folders are left to jobs."""
    for path in paths:
        if _is_file(path) and not _is_logged(database, path, settings.roots):
            try:
                plan = _plan_undo(path, undo_record_finder(database, None), settings.max_bytes)
                yield MetadataPreview(path, plan)
            except (WriteRefused, WriteFailed) as problem:
                yield MetadataPreview(path, None, problem)


def undo_unlogged(database: Database, preview: MetadataPreview) -> str:
    """Carry out a previewed undo; return the result in words."""
    if preview.plan is None:
        return f"unchanged: {preview.problem}"
    try:
        photo = prepare_photo(preview.plan)
        photo.replace_files()
    except (WriteRefused, WriteFailed) as problem:
        return f"unchanged: {problem}"
    for file in photo.replaced:
        if file.original.data is not None:
            name = path_text(file.original.path.name)[0]
            delete_orphaned(database, name, digest_file(file.original.data))
    if photo.replaced:
        with database.write() as connection:
            record_action(connection, AuditAction.METADATA_UNDO, preview.path)
    return describe_result(photo)


def _preview(database: Database, photo_id: int, request: WriteRequest) -> MetadataPreview:
    try:
        return MetadataPreview(request.path, plan_photo(request, undo_record_finder(database, photo_id)))
    except (WriteRefused, WriteFailed) as problem:
        return MetadataPreview(request.path, None, problem)


def _is_file(path: Path) -> bool:
    return is_object(path) if isinstance(path, ObjectPath) else path.is_file()


def _plan_undo(path: Path, find_undo_record: FindUndoRecord, max_bytes: int) -> PhotoPlan:
    """Plan the undo of a photo, or of a sidecar alone, whose photo may be gone."""
    if is_sidecar_name(path.name):
        request = _undo_request(path, frozenset({Target.SIDECAR}), max_bytes)
        return PhotoPlan(request, (plan_sidecar(path, request.tag_fields, find_undo_record),))
    targets = frozenset(Target) if _may_hold_our_values(path, max_bytes) else frozenset({Target.SIDECAR})
    return plan_photo(_undo_request(path, targets, max_bytes), find_undo_record)


def _undo_request(path: Path, targets: frozenset[Target], max_bytes: int) -> WriteRequest:
    return WriteRequest(path, path.parent, None, TagFields(), None, targets, max_bytes, embeds_objects=True)


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
    return tags is not None and bool(tags.written_targets)
