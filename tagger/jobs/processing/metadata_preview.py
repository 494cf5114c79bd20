"""What a write or an undo would change, file by file. Nothing is changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import select

from tagger.database.connection import Database
from tagger.database.enums import Target
from tagger.database.tables import photos
from tagger.jobs.enqueue.metadata_options import MetadataOptions
from tagger.jobs.processing.open_items import raw_files_of
from tagger.jobs.processing.photo_tags import load_photo_tags
from tagger.jobs.processing.undo_log import find_undo_record
from tagger.library.catalog.roots import list_roots
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.inspection import TAGGER_RECORD, differences, photo_fields, xmp_fields
from tagger.metadata.photo_writer import PhotoPlan, WriteRequest, plan_photo
from tagger.metadata.plans import FilePlan, FindUndoRecord, UndoRecord
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


def _preview(database: Database, photo_id: int, request: WriteRequest) -> MetadataPreview:
    try:
        return MetadataPreview(request.path, plan_photo(request, undo_record_finder(database, photo_id)))
    except (WriteRefused, WriteFailed) as problem:
        return MetadataPreview(request.path, None, problem)
