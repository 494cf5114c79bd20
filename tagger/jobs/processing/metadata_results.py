"""The result of each photo in a metadata chunk, and the SQL rows that follow from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from tagger.database.enums import Outcome, Target
from tagger.jobs.processing.open_items import OpenItem
from tagger.jobs.processing.undo_log import (
    FileChange,
    WriteRecord,
    add_rows_for_copies,
    complete_write,
    update_file_versions,
)
from tagger.ledger.chunks import ItemOutcome
from tagger.ledger.failures import EDITED
from tagger.metadata.photo_writer import PreparedPhoto, WriteRequest
from tagger.metadata.plans import FilePlan, UndoRecord, digest_file
from tagger.metadata.writable_files import version_before
from tagger.photos.paths import path_text
from tagger.photos.source import open_source


@dataclass(frozen=True)
class PhotoResult:
    """What was done with a photo. `photo` is None if no file was prepared.

    `complete_digests` are the digests of written files whose rows are complete already.
    """

    item: OpenItem
    outcome: Outcome
    text: str
    reason: str | None = None
    photo: PreparedPhoto | None = None
    complete_digests: frozenset[str] = frozenset()

    def item_outcome(self) -> ItemOutcome:
        has_text = self.outcome in {Outcome.REFUSED, Outcome.FAILED} or self.reason == EDITED
        text = self.text if has_text else None
        return ItemOutcome(self.item.position, self.outcome, self.reason, text)


def intended_writes(job_id: int, results: Sequence[PhotoResult]) -> list[WriteRecord]:
    """The writes that are about to replace files."""
    return [
        _write_record(job_id, result.item.photo_id, result.photo.plan.request, file, file.undo_record)
        for result in results
        if result.photo is not None
        for file, _ in result.photo.prepared
        if file.undo_record is not None
    ]


def record_results(connection: Connection, job_id: int, results: Sequence[PhotoResult]) -> None:
    """Make the undo log and the photos' file versions agree with the files as they are now."""
    states = [state for result in results for state in _file_states(job_id, result)]
    for state in states:
        if state.was_written:
            add_rows_for_copies(
                connection,
                state.photo_id,
                state.digest_before,
                state.written_digest,
                base_bytes=state.base_bytes,
            )
    for state in states:
        complete_write(connection, state.photo_id, state.file, state.digest_before, state.write)
    update_file_versions(
        connection, [change for result in results if (change := _file_change(result)) is not None]
    )


@dataclass(frozen=True)
class _FileState:
    """A file of a photo: its digest before, and the write that produced its current content.

    `was_written`: the undo log has an earlier write of the same image. `base_bytes`: the file's size if it no longer
    holds any of our values.
    """

    photo_id: int
    file: str
    digest_before: str | None
    write: WriteRecord | None
    was_written: bool
    base_bytes: int | None

    @property
    def written_digest(self) -> str | None:
        return self.write.undo_record.written_digest if self.write else None


def _file_states(job_id: int, result: PhotoResult) -> Iterator[_FileState]:
    """The state of every file that was replaced, or that needed no change."""
    if result.photo is None:
        return
    plan = result.photo.plan
    replaced = {id(file) for file in result.photo.replaced}
    for file in plan.files:
        record = file.undo_record
        is_current = id(file) in replaced or not file.changes
        is_complete = record is not None and record.written_digest in result.complete_digests
        if not is_current or is_complete:
            continue
        photo_id, before = result.item.photo_id, file.original.data
        yield _FileState(
            photo_id=photo_id,
            file=_file_name(file),
            digest_before=None if before is None else digest_file(before),
            write=None if record is None else _write_record(job_id, photo_id, plan.request, file, record),
            was_written=bool(plan.request.written_targets),
            base_bytes=len(file.data) if record is None and file.data else None,
        )


def _write_record(
    job_id: int, photo_id: int, request: WriteRequest, file: FilePlan, undo_record: UndoRecord
) -> WriteRecord:
    return WriteRecord(
        photo_id=photo_id,
        job_id=job_id,
        image_digest=request.image_digest or "",
        target=file.target,
        file=_file_name(file),
        undo_record=undo_record,
        landmarks=request.slugs,
    )


def _file_change(result: PhotoResult) -> FileChange | None:
    """The new size and time of the photo's own file, if it was replaced."""
    for file in result.photo.replaced if result.photo is not None else ():
        before = version_before(file.original)
        if file.target is Target.EMBED and before is not None:
            after = open_source(str(file.original.path.parent)).version(file.original.path.name)
            if after is not None:
                return FileChange(
                    photo_id=result.item.photo_id,
                    size_before_bytes=before.size_bytes,
                    mtime_before_ns=before.mtime_ns,
                    size_bytes=after.size_bytes,
                    mtime_ns=after.mtime_ns,
                )
    return None


def _file_name(file: FilePlan) -> str:
    return path_text(file.original.path.name)[0]
