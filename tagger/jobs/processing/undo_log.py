"""The results of a metadata chunk, and the undo log: one row for each file that was written.

A row is inserted before its file is replaced, and found again by the file's digest, also of copies and of
files that were moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

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

from tagger.database import Outcome, Target, failure_outcome
from tagger.database.connection import Database
from tagger.database.statements import current_time
from tagger.database.tables import contents, job_items, metadata_writes, photos
from tagger.ledger.chunks import Claim, ItemOutcome, renew_lease
from tagger.metadata.photo_writer import PhotoWriteRequest, PreparedPhoto
from tagger.metadata.plans import FilePlan, UndoRecord, digest_file
from tagger.photos.paths import path_text
from tagger.photos.source import open_source

if TYPE_CHECKING:
    from tagger.jobs.processing.storage import Item

_SAME_DIGEST_ROWS = 100
# The condition for the rows of a photo's file.
_IS_FILE = (
    metadata_writes.c.photo_id == bindparam("photo"),
    metadata_writes.c.file == bindparam("name"),
)


# A row of `metadata_writes`: a written file, by its name, with the digest of the tagged image.
WriteRow = Mapping[str, Any]


def find_undo_record(
    database: Database, photo_id: int, written_digest: str
) -> UndoRecord | None:
    """Find the record of the write that produced a file: the photo's own, else any other's."""
    query = select(metadata_writes).where(
        metadata_writes.c.written_digest == written_digest
    )
    newest = query.order_by(metadata_writes.c.id.desc()).limit(_SAME_DIGEST_ROWS)
    with database.read() as connection:
        own = connection.execute(
            newest.where(metadata_writes.c.photo_id == photo_id)
        ).first()
        rows = [own] if own is not None else connection.execute(newest).all()
    bases = {row.base_digest for row in rows}
    # If two different originals became the same file, the original of a third one is unknown.
    if len(bases) != 1:
        return None
    return UndoRecord(rows[0].written_digest, rows[0].base_digest, rows[0].undo)


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


def _dated(connection: Connection, writes: Sequence[WriteRow]) -> list[WriteRow]:
    now = current_time(connection)
    return [{**write, "written_at": now} for write in writes]


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
        _write_row(claimed.name.job_id, photo_id, request, file, file.undo_record)
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


def record_results(
    connection: Connection, job_id: int, results: Sequence[PhotoResult]
) -> None:
    """Make the undo log and the photos' file versions agree with the files as they are now."""
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
    write: WriteRow | None
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
) -> WriteRow:
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
