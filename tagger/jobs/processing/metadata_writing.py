"""Writes metadata to the photos of a chunk, or undoes writes: prepare, record, replace, store.

The undo log has a row for each file that was written. It is inserted before the file is replaced, and found
again by the file's digest, also of copies and of files that were moved. After an interruption, the files
themselves show which writes were done. Temporary files of processes that died are removed; those of running
ones are locked.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Outcome, Target, failure_outcome
from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.database.tables import contents, job_items, metadata_writes, photos
from tagger.errors import FailureKind, LeaseLost, PhotoFailure
from tagger.jobs.enqueue.submission import UNDO_JOB, MetadataOptions
from tagger.jobs.processing.chunk_runner import ChunkRunner, PhotoProcessor
from tagger.jobs.processing.metadata_preview import (
    PhotoTags,
    find_undo_record,
    load_photo_tags,
)
from tagger.jobs.processing.storage import Item
from tagger.ledger.chunks import Claim, ItemOutcome, renew_lease, store_outcomes
from tagger.ledger.items import EDITED
from tagger.metadata import RefusalKind, WriteFailed, WriteRefused
from tagger.metadata.photo_files import remove_leftovers
from tagger.metadata.photo_writer import (
    PhotoWriteRequest,
    PreparedPhoto,
    describe_result,
    plan_and_prepare,
)
from tagger.metadata.plans import FilePlan, UndoRecord, digest_file
from tagger.photos.paths import path_text
from tagger.photos.source import open_source
from tagger.roots import Root

log = logging.getLogger(__name__)

# Preparing a file is mostly waiting for the disk or the network.
THREADS = 4
# How long a photo is tried that another process is writing: one that hangs ends earlier, unless
# settings say otherwise.
BUSY_S = 360.0
# The pauses between tries.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0

_INTERNAL_ERROR = (
    "An unexpected error occurred in its metadata; the file is unchanged. Please report it, "
    "with the worker's log."
)


def _refusal_text(refused: WriteRefused) -> str:
    if refused.kind is not RefusalKind.BUSY:
        return refused.text
    return (
        f"{refused.text} It was tried for {BUSY_S / 60:.0f} minutes. If `tagger status` shows a worker that "
        "does not answer, end its process, and run the command of this job again."
    )


@dataclass(frozen=True)
class PhotoResult:
    """What was done with a photo. `photo` is None if no file was prepared.

    `writes` are the rows of the undo log as they were before. Its files were read after `planned_at`, by the
    database's clock, which all processes share.
    """

    item: Item
    outcome: Outcome
    text: str
    reason: str | None = None
    photo: PreparedPhoto | None = None
    writes: Sequence[Row[Any]] = ()
    planned_at: datetime | None = None

    def item_outcome(self) -> ItemOutcome:
        text = None if self.outcome is Outcome.SKIPPED else self.text
        outcome = self.outcome
        if outcome is Outcome.FAILED and self.reason is not None:
            outcome = failure_outcome(self.reason)
        return ItemOutcome(self.item.position, outcome, self.reason, text)


class MetadataWriter(PhotoProcessor):
    # Photos whose new files are ready at the same time: two transactions for all of them.
    batch_size = 32

    def __init__(self, chunk: ChunkRunner) -> None:
        super().__init__(chunk)
        self._claim = chunk.claim
        # None in a job that undoes writes.
        self._options = MetadataOptions.from_job_options(chunk.claim.options)
        self._undo_job: int | None = chunk.claim.options.get(UNDO_JOB)
        # Since when another process has been writing a photo, and when it is tried again, by position.
        self._busy_since: dict[int, float] = {}
        self._next_tries: dict[int, float] = {}
        # Folders without temporary files of processes that died.
        self._cleaned: set[Path] = set()
        # Photos whose temporary files may exist; threads append to it.
        self._prepared: list[PreparedPhoto] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="writer")

    def process(self, items: Sequence[Item], roots: Mapping[int, Root]) -> None:
        now = time.monotonic()
        items = [
            item for item in items if self._next_tries.get(item.position, now) <= now
        ]
        if not items:
            return
        self._remove_leftovers(items, roots)
        photo_ids = [item.photo_id for item in items]
        tags = self.chunk.with_retry(
            lambda: load_photo_tags(self.chunk.database, photo_ids)
        )
        futures = [
            self._pool.submit(
                self._prepare, item, roots[item.root_id], tags.get(item.photo_id)
            )
            for item in items
        ]
        prepared = [
            result for future in futures if (result := future.result()) is not None
        ]
        self.chunk.check_lease()
        # Drop files that are lost only because their disk is away: their items stay open.
        suspects = [
            result.item
            for result in prepared
            if result.outcome is Outcome.FAILED
            or (result.photo is not None and result.photo.plan.lost)
        ]
        available = self.chunk.keep_available(suspects, roots)
        prepared = [
            result
            for result in prepared
            if result.item not in suspects or result.item in available
        ]
        # Record the intended writes: if this process dies, the files show which of them were done.
        if any(result.photo and result.photo.prepared for result in prepared):
            self.chunk.with_retry(
                lambda: record_intents(self.chunk.database, self._claim, prepared)
            )
        results = [
            result
            for result in map(self._replace_files, prepared)
            if result is not None
        ]
        self._discard_prepared()
        self._store(results)

    def fail_alone(self, item: Item, failure: PhotoFailure) -> None:
        self._store([PhotoResult(item, Outcome.FAILED, failure.text, failure.kind)])

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._discard_prepared()

    def _remove_leftovers(
        self, items: Sequence[Item], roots: Mapping[int, Root]
    ) -> None:
        for item in items:
            root = roots[item.root_id]
            folder = root.path_of(item.path, item.path_bytes).parent
            if root.source.is_writable and folder not in self._cleaned:
                self._cleaned.add(folder)
                # The folder's photos report the same error.
                with suppress(WriteRefused, WriteFailed):
                    remove_leftovers(folder, root.folder)

    def _discard_prepared(self) -> None:
        while self._prepared:
            self._prepared.pop().discard()

    def _prepare(
        self, item: Item, root: Root, tags: PhotoTags | None
    ) -> PhotoResult | None:
        # Prepare a photo's files; None if the process has to stop, or the photo is busy.
        if self.chunk.stop.is_set():
            return None
        if tags is None or (self._options is not None and tags.image_digest is None):
            text = "no model has classified it yet"
            return PhotoResult(item, Outcome.SKIPPED, text, text)
        request = tags.write_request(
            root.path_of(item.path, item.path_bytes),
            root.folder,
            self._options,
            max_bytes=self.chunk.settings.max_bytes,
            undo_job=self._undo_job,
            raw_files=(root.path_of(*file) for file in item.raw_files),
        )
        return self._prepare_files(item, request, tags.writes)

    def _prepare_files(
        self, item: Item, request: PhotoWriteRequest, writes: Sequence[Row[Any]]
    ) -> PhotoResult | None:
        chunk = self.chunk

        def find_record(written_digest: str) -> UndoRecord | None:
            return chunk.with_retry(
                lambda: find_undo_record(chunk.database, item.photo_id, written_digest)
            )

        planned_at = chunk.read(current_time)
        try:
            photo = plan_and_prepare(request, find_record)
            self._prepared.append(photo)
        except WriteRefused as refused:
            if refused.kind is RefusalKind.BUSY and self._may_retry(item):
                return None
            return PhotoResult(
                item, Outcome.REFUSED, _refusal_text(refused), refused.kind
            )
        except WriteFailed as failed:
            return PhotoResult(item, Outcome.FAILED, failed.text, failed.kind)
        except (SQLAlchemyError, LeaseLost):
            raise
        except Exception:
            # An unexpected error fails this photo alone.
            log.exception(
                "writing a photo's metadata failed", extra={"photo": item.photo_id}
            )
            return PhotoResult(
                item, Outcome.FAILED, _INTERNAL_ERROR, FailureKind.INTERNAL
            )
        finally:
            chunk.on_progress()
        reason = photo.plan.refusal_kind
        return PhotoResult(item, photo.outcome, "", reason, photo, writes, planned_at)

    def _may_retry(self, item: Item) -> bool:
        # Let a photo that another process writes be tried again after a pause, unless it took too long.
        now = time.monotonic()
        waited_s = now - self._busy_since.setdefault(item.position, now)
        if waited_s >= BUSY_S:
            return False
        # A pause as long as all before together: they double.
        pause_s = min(max(FIRST_PAUSE_S, waited_s), LONGEST_PAUSE_S)
        self._next_tries[item.position] = now + pause_s
        return True

    def _replace_files(self, result: PhotoResult) -> PhotoResult | None:
        # Replace a photo's files. None: its item stays open, as the process stops, or the photo is busy.
        photo = result.photo
        if self.chunk.stop.is_set():
            return None
        if photo is None:
            return result
        try:
            photo.replace_files()
        except WriteRefused as refused:
            if refused.kind is RefusalKind.BUSY and self._may_retry(result.item):
                return None
            text = _refusal_text(refused)
            return replace(
                result, outcome=Outcome.REFUSED, text=text, reason=refused.kind
            )
        except WriteFailed as failed:
            return replace(
                result, outcome=Outcome.FAILED, text=failed.text, reason=failed.kind
            )
        finally:
            self.chunk.on_progress()
        outcome, text = result.outcome, describe_result(photo)
        if self._was_written_before(result, photo):
            outcome = Outcome.WRITTEN
            text = (
                text
                if self._options is not None
                else "by an earlier attempt of this job"
            )
        reason = EDITED if photo.edited else result.reason
        return replace(result, outcome=outcome, text=text, reason=reason)

    def _was_written_before(self, result: PhotoResult, photo: PreparedPhoto) -> bool:
        # Whether this job changed the file in an earlier try, or a claim that died before its outcome.
        was_busy = result.item.position in self._busy_since
        is_first = self._claim.attempts < 2 and not was_busy
        if result.outcome is not Outcome.UNCHANGED or is_first:
            return False
        if self._options is None:
            return bool(photo.plan.request.written_targets)
        intended = (self._claim.job_id, result.item.photo_id, False)
        digests = {
            write.written_digest
            for write in result.writes
            if (write.job_id, write.photo_id, write.complete) == intended
        }
        records = (file.undo_record for file in photo.plan.files)
        return any(
            record is not None and record.written_digest in digests
            for record in records
        )

    def _store(self, results: Sequence[PhotoResult]) -> None:
        # Store the outcomes and update the undo log, in one transaction under the claim's token.
        for result in results:
            result.item.outcome = result.item_outcome()
        items = [result.item for result in results]

        def store() -> None:
            with self.chunk.database.write() as connection:
                store_outcomes(
                    connection, self._claim, [item.outcome for item in items]
                )
                _record_results(connection, self._claim.job_id, results)

        self.chunk.with_retry(store)
        self.chunk.report(items)


# The condition for the rows of a photo's file.
_IS_FILE = (
    metadata_writes.c.photo_id == bindparam("photo"),
    metadata_writes.c.file == bindparam("name"),
)


def record_intents(
    database: Database, claimed: Claim, results: Sequence[PhotoResult]
) -> None:
    """Record writes before they are done, and from which files all our values are about to be removed.

    Raises:
        LeaseLost: another worker took the chunk over and may be writing the same files.
    """
    files = [
        (result.item.photo_id, result.photo.plan.request, file)
        for result in results
        if result.photo is not None
        for file, _ in result.photo.prepared
    ]
    writes = [
        _write_row(claimed.job_id, photo_id, request, file, file.undo_record)
        for photo_id, request, file in files
        if file.undo_record is not None
    ]
    removals = [
        {"photo": photo_id, "name": _file_name(file)}
        for photo_id, _, file in files
        if file.undo_record is None
    ]
    with database.write() as connection:
        renew_lease(connection, claimed)
        if writes:
            connection.execute(insert(metadata_writes), _dated(connection, writes))
        if removals:
            incomplete = update(metadata_writes).where(*_IS_FILE).values(complete=False)
            connection.execute(incomplete, removals)


def _record_results(
    connection: Connection, job_id: int, results: Sequence[PhotoResult]
) -> None:
    # Make the undo log and the photos' file versions agree with the files as they are now.
    states = [state for result in results for state in _file_states(job_id, result)]
    for state in states:
        if state.was_written:
            _add_rows_for_copies(connection, state)
    for state in states:
        _complete_write(connection, state)

    # Separate the rows of lost files from their photos: the files may be found by their digests.
    lost = [
        {"photo": result.item.photo_id, "name": path_text(path.name)[0]}
        for result in results
        if result.photo is not None
        for path in result.photo.plan.lost
    ]
    if lost:
        is_row = *_IS_FILE, metadata_writes.c.complete
        separated = (
            update(metadata_writes).where(*is_row).values(photo_id=None, complete=False)
        )
        connection.execute(separated, lost)

    # Store the files' new sizes and times, so that no scan takes the photos for changed.
    changes = [
        change for result in results if (change := _file_change(result)) is not None
    ]
    is_classified_version = (
        photos.c.id == bindparam("photo"),
        photos.c.classified_size_bytes == bindparam("size_before"),
        photos.c.classified_mtime_ns == bindparam("mtime_before"),
    )
    values: dict[str, Any] = {
        "size_bytes": bindparam("size"),
        "mtime_ns": bindparam("mtime"),
        "classified_size_bytes": bindparam("size"),
        "classified_mtime_ns": bindparam("mtime"),
    }
    if changes:
        updated = update(photos).where(*is_classified_version).values(values)
        connection.execute(updated, sorted(changes, key=itemgetter("photo")))


@dataclass(frozen=True)
class _FileState:
    # A file of a photo: its digest before, and the write of its content; None: it has none of our values.
    # `was_written`: the undo log has an earlier write of the image.
    # `base_bytes`: the size without our values.
    photo_id: int
    job_id: int
    planned_at: datetime | None
    file: str
    digest_before: str | None
    write: Mapping[str, Any] | None
    was_written: bool
    base_bytes: int | None

    @property
    def written_digest(self) -> str:
        return self.write["written_digest"] if self.write else ""


def _file_states(job_id: int, result: PhotoResult) -> Iterator[_FileState]:
    # The state of every file that was replaced, or that needed no change.
    if result.photo is None:
        return
    plan = result.photo.plan
    replaced = {id(file) for file in result.photo.replaced}
    complete = {write.written_digest for write in result.writes if write.is_complete}
    for file in plan.files:
        record = file.undo_record
        is_current = id(file) in replaced or not file.changes
        is_complete = record is not None and record.written_digest in complete
        if not is_current or is_complete:
            continue
        photo_id, before = result.item.photo_id, file.original.data
        yield _FileState(
            photo_id=photo_id,
            job_id=job_id,
            planned_at=result.planned_at,
            file=_file_name(file),
            digest_before=None if before is None else digest_file(before),
            write=None
            if record is None
            else _write_row(job_id, photo_id, plan.request, file, record),
            was_written=bool(plan.request.written_targets),
            base_bytes=len(file.data) if record is None and file.data else None,
        )


def _write_row(
    job_id: int,
    photo_id: int,
    request: PhotoWriteRequest,
    file: FilePlan,
    undo_record: UndoRecord,
) -> dict[str, Any]:
    # The row of a write that is not complete, without its time.
    return {
        "photo_id": photo_id,
        "job_id": job_id,
        "image_digest": request.image_digest or "",
        "target": file.target,
        "file": _file_name(file),
        "written_digest": undo_record.written_digest,
        "base_digest": undo_record.base_digest,
        "undo": undo_record.inverse,
        "landmarks": [landmark.slug for landmark in request.tag_fields.landmarks],
        "complete": False,
    }


def _file_change(result: PhotoResult) -> Mapping[str, int] | None:
    # Size and time of the photo's own file before and after, if it was replaced.
    for file in result.photo.replaced if result.photo is not None else ():
        before = file.original.version
        if file.target is Target.EMBED and before is not None:
            after = open_source(str(file.original.path.parent)).version(
                file.original.path.name
            )
            if after is not None:
                return {
                    "photo": result.item.photo_id,
                    "size_before": before.size_bytes,
                    "mtime_before": before.mtime_ns,
                    "size": after.size_bytes,
                    "mtime": after.mtime_ns,
                }
    return None


def _file_name(file: FilePlan) -> str:
    return path_text(file.original.path.name)[0]


def _add_rows_for_copies(connection: Connection, state: _FileState) -> None:
    # Give copies of a written photo rows of their own, before `_complete_write` deletes theirs.
    #
    # A copy with `base_bytes` is one of the original, any other with the photo's size one of the written file
    # if the photo was. The rest was changed: its row stays incomplete, so the next undo examines it.
    rows = connection.execute(
        select(metadata_writes).where(
            or_(
                metadata_writes.c.photo_id == state.photo_id,
                _orphaned_with_digest(state.digest_before),
            ),
            metadata_writes.c.target == Target.EMBED,
            metadata_writes.c.written_digest != state.written_digest,
            # Before a removal, the photo's rows were made incomplete: see `record_intents`.
            or_(metadata_writes.c.complete, true() if state.write is None else false()),
        )
    ).all()
    for row in {row.written_digest: row for row in rows}.values():
        copies = connection.execute(_copies(state, row)).all()
        # Otherwise, the photo's size says nothing of it.
        was_this = row.written_digest == state.digest_before
        values = {name: value for name, value in row._asdict().items() if name != "id"}
        new_rows = [
            values
            | {
                "photo_id": copy.id,
                "file": copy.path.rpartition("/")[2],
                "complete": was_this and bool(copy.same_size),
            }
            for copy in copies
        ]
        if new_rows:
            connection.execute(insert(metadata_writes), new_rows)


def _complete_write(connection: Connection, state: _FileState) -> None:
    # Record that a file is now as its write says. Rows of other states are deleted.
    #
    # If another job has written the file since it was planned, its row and the earlier ones stay: one of
    # them is that of the file. Rows of photos that are gone or forgotten are deleted as well, if they were
    # found by this file's digest.
    of_file = and_(
        metadata_writes.c.photo_id == state.photo_id,
        metadata_writes.c.file == state.file,
    )
    later = (
        metadata_writes.c.written_at > state.planned_at,
        metadata_writes.c.job_id != state.job_id,
    )
    if (
        connection.scalar(select(metadata_writes.c.id).where(of_file, *later).limit(1))
        is not None
    ):
        return
    current_id = connection.scalar(
        select(func.max(metadata_writes.c.id)).where(
            of_file, metadata_writes.c.written_digest == state.written_digest
        )
    )
    other_states = and_(of_file, metadata_writes.c.id != (current_id or 0))
    # Sidecars of different photos may be equal, so theirs must match in name, too.
    is_named_so = or_(
        metadata_writes.c.target == Target.EMBED, metadata_writes.c.file == state.file
    )
    orphaned = and_(_orphaned_with_digest(state.digest_before), is_named_so)
    for obsolete in (other_states, orphaned):
        connection.execute(delete(metadata_writes).where(obsolete))
    if current_id is not None:
        completed = (
            update(metadata_writes)
            .where(metadata_writes.c.id == current_id)
            .values(complete=True)
        )
        connection.execute(completed)
    elif (
        state.write is not None
    ):  # written with another database, or with a newer copy of this one
        connection.execute(
            insert(metadata_writes),
            _dated(connection, [{**state.write, "complete": True}]),
        )


def _dated(
    connection: Connection, writes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    now = current_time(connection)
    return [{**write, "written_at": now} for write in writes]


def _copies(state: _FileState, row: Row[Any]) -> Select[Any]:
    # Copies of a photo that may be written files and have no row. What the job has examined has its own.
    own = metadata_writes.alias("own")
    is_examined = exists().where(
        job_items.c.job_id == state.job_id,
        job_items.c.photo_id == photos.c.id,
        job_items.c.outcome.in_((Outcome.WRITTEN, Outcome.UNCHANGED)),
    )
    has_row = exists().where(
        own.c.photo_id == photos.c.id, own.c.written_digest == row.written_digest
    )
    size = (
        select(photos.c.size_bytes)
        .where(photos.c.id == state.photo_id)
        .scalar_subquery()
    )
    has_size = photos.c.size_bytes == size
    is_written = (
        has_size
        if state.base_bytes is None
        else photos.c.size_bytes != state.base_bytes
    )
    return (
        select(photos.c.id, photos.c.path, has_size.label("same_size"))
        .join(contents, contents.c.id == photos.c.content_id)
        .where(contents.c.digest == row.image_digest, photos.c.id != state.photo_id)
        .where(photos.c.gone_since.is_(None), is_written, ~has_row, ~is_examined)
        .order_by(photos.c.id)
    )


def _orphaned_with_digest(digest: str | None) -> ColumnElement[bool]:
    # Rows of photos that are gone or forgotten, which are found by the file's digest alone.
    gone = exists().where(
        photos.c.id == metadata_writes.c.photo_id, photos.c.gone_since.is_not(None)
    )
    orphaned = or_(metadata_writes.c.photo_id.is_(None), gone)
    return and_(metadata_writes.c.written_digest == (digest or ""), orphaned)
