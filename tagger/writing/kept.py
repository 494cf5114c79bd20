"""What is kept of each write: which file it made, and what takes it back. SQL only; files are changed elsewhere.

A row is made before its file is replaced, and found again by the digest of the file, so whatever is interrupted where:
the file itself tells which row is true of it. A copy of a written file, or one that was moved, is found as well.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
    update,
)

from tagger.database import Database
from tagger.ledger.chunks import Claim, check_held
from tagger.metadata.planning import Kept
from tagger.tables import Target, contents, metadata_writes, photos


@dataclass(frozen=True)
class NewWrite:
    """A file about to be replaced: `file` is its name in the photo's folder."""

    photo_id: int
    job_id: int
    picture: str
    target: Target
    file: str
    kept: Kept
    landmarks: tuple[str, ...]


@dataclass(frozen=True)
class FileAfter:
    """The photo's own file after a write, so that no scan takes it for changed."""

    photo_id: int
    size_before: int
    mtime_before_ns: int
    size_bytes: int
    mtime_ns: int


def find_kept(database: Database, photo_id: int | None, written: str) -> Kept | None:
    """What takes back the write that made a file with this digest: the photo's own, else any other file's."""
    query = select(metadata_writes).where(metadata_writes.c.written_digest == written)
    with database.read() as connection:
        rows = connection.execute(query.order_by(metadata_writes.c.id.desc()).limit(100)).all()
    own = [row for row in rows if row.photo_id == photo_id]
    bases = {row.base_digest for row in rows}
    if own:
        return _kept(own[0])
    # Of two originals that became the same file, nobody can say which one a third was.
    return _kept(rows[0]) if len(bases) == 1 else None


def was_begun(database: Database, job_id: int, photo_id: int, written: str) -> bool:
    """Whether this job was about to write this file, and did not come to say that it had."""
    unconfirmed = (
        metadata_writes.c.job_id == job_id,
        metadata_writes.c.photo_id == photo_id,
        metadata_writes.c.written_digest == written,
        metadata_writes.c.confirmed.is_(False),
    )
    with database.read() as connection:
        return connection.scalar(select(metadata_writes.c.id).where(*unconfirmed).limit(1)) is not None


def record_intents(database: Database, claimed: Claim, writes: Sequence[NewWrite]) -> None:
    """Say what is about to be written, before it is.

    Raises:
        LeaseLost: somebody else took the chunk over, and may be writing the same files.
    """
    with database.write() as connection:
        check_held(connection, claimed)
        if writes:
            connection.execute(insert(metadata_writes), [_row(write) for write in writes])


def hand_to_copies(
    connection: Connection, photo_id: int, before: str | None, written: str | None, *, base_bytes: int | None
) -> None:
    """Give copies of a written photo a row of their own, before the one they are found by goes with `confirm`.

    Copies that were scanned since the write have none. Of the photo's size, they are copies of what was written; of
    `base_bytes`, its size where it was taken back, copies of the original. Others somebody has changed, and what is in
    them nobody knows: their rows are not confirmed, and send the next undo to look.
    """
    rows = connection.execute(
        select(metadata_writes).where(
            or_(metadata_writes.c.photo_id == photo_id, _found_by_digest(before)),
            metadata_writes.c.target == Target.EMBED,
            metadata_writes.c.written_digest != (written or ""),
            metadata_writes.c.confirmed,
        )
    ).all()
    for row in {row.written_digest: row for row in rows}.values():
        copies = connection.execute(_copies(photo_id, row, base_bytes)).all()
        values = {name: value for name, value in row._asdict().items() if name != "id"}
        handed = [
            values
            | {"photo_id": copy.id, "file": copy.path.rpartition("/")[2], "confirmed": bool(copy.same_size)}
            for copy in copies
        ]
        if handed:
            connection.execute(insert(metadata_writes), handed)


def _copies(photo_id: int, row: Row[Any], base_bytes: int | None) -> Select[Any]:
    own = metadata_writes.alias("own")
    has_one = exists().where(own.c.photo_id == photos.c.id, own.c.written_digest == row.written_digest)
    size = select(photos.c.size_bytes).where(photos.c.id == photo_id).scalar_subquery()
    changed = false() if base_bytes is None else photos.c.size_bytes != base_bytes
    return (
        select(photos.c.id, photos.c.path, (photos.c.size_bytes == size).label("same_size"))
        .join(contents, contents.c.id == photos.c.content_id)
        .where(contents.c.digest == row.picture, photos.c.id != photo_id, photos.c.gone_since.is_(None))
        .where(or_(photos.c.size_bytes == size, changed), ~has_one)
        .order_by(photos.c.id)
    )


def _found_by_digest(before: str | None) -> ColumnElement[bool]:
    """What was kept for a photo that is gone or forgotten, and is found by the file's digest alone."""
    gone = exists().where(photos.c.id == metadata_writes.c.photo_id, photos.c.gone_since.is_not(None))
    orphaned = or_(metadata_writes.c.photo_id.is_(None), gone)
    return and_(metadata_writes.c.written_digest == (before or ""), orphaned)


def _is_of(file: str) -> ColumnElement[bool]:
    """Of rows found by a digest: sidecars of different photos may be equal, so their names have to be, too."""
    return or_(metadata_writes.c.target == Target.EMBED, metadata_writes.c.file == file)


def confirm(
    connection: Connection, photo_id: int, file: str, before: str | None, now: NewWrite | None
) -> None:
    """Note that a file of a photo is as `now` says, and had the digest `before`: what is kept of other states is history.

    `now` None: there is no file, or nothing of ours is left in it. What was kept for a photo that is gone or forgotten,
    and was found by its digest when this one turned out to be the same file, is history too.
    """
    of_file = and_(metadata_writes.c.photo_id == photo_id, metadata_writes.c.file == file)
    written = now.kept.written if now else ""
    true_one = connection.scalar(
        select(func.max(metadata_writes.c.id)).where(of_file, metadata_writes.c.written_digest == written)
    )
    others = and_(of_file, metadata_writes.c.id != (true_one or 0))
    for history in (others, and_(_found_by_digest(before), _is_of(file))):
        connection.execute(delete(metadata_writes).where(history))
    if true_one is not None:
        connection.execute(
            update(metadata_writes).where(metadata_writes.c.id == true_one).values(confirmed=True)
        )
    elif now is not None:  # written from another database, or this one was restored from an older copy
        connection.execute(insert(metadata_writes), [_row(now) | {"confirmed": True}])


def _row(write: NewWrite) -> dict[str, Any]:
    return {
        "photo_id": write.photo_id,
        "job_id": write.job_id,
        "picture": write.picture,
        "target": write.target,
        "file": write.file,
        "written_digest": write.kept.written,
        "base_digest": write.kept.base,
        "undo": write.kept.undo,
        "landmarks": list(write.landmarks),
        "written_at": datetime.now(UTC),
        "confirmed": False,
    }


def forget_orphaned(database: Database, file: str, written: str) -> None:
    """A file of this name and digest was taken back that belongs to no photo in the database."""
    orphaned = (metadata_writes.c.photo_id.is_(None), _is_of(file))
    with database.write() as connection:
        connection.execute(
            delete(metadata_writes).where(metadata_writes.c.written_digest == written, *orphaned)
        )


def note_files(connection: Connection, after: Iterable[FileAfter]) -> None:
    """The files have other sizes now, and still show what was looked at."""
    as_before = (
        photos.c.id == bindparam("photo"),
        photos.c.looked_size_bytes == bindparam("size_before"),
        photos.c.looked_mtime_ns == bindparam("mtime_before"),
    )
    now: dict[str, Any] = {
        "size_bytes": bindparam("size"),
        "mtime_ns": bindparam("mtime"),
        "looked_size_bytes": bindparam("size"),
        "looked_mtime_ns": bindparam("mtime"),
    }
    rows = [
        {
            "photo": each.photo_id,
            "size_before": each.size_before,
            "mtime_before": each.mtime_before_ns,
            "size": each.size_bytes,
            "mtime": each.mtime_ns,
        }
        for each in sorted(after, key=lambda each: each.photo_id)
    ]
    if rows:
        connection.execute(update(photos).where(*as_before).values(now), rows)


def _kept(row: Row[Any]) -> Kept:
    return Kept(row.written_digest, row.base_digest, row.undo)
