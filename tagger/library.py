"""What is known of photos: which are to be looked at, and storing what was found.

A photo is a file; its content is the picture, shared by all copies. Asking is in query, work in the ledger.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, or_, select, update

from tagger.database import Database, Question, insert_missing
from tagger.errors import FailureKind
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.ledger.jobs import SEEN_BEFORE
from tagger.results import Failed, FileState, Known, Looked, Result, Unchanged
from tagger.tables import NO_FAILURE, Outcome, contents, job_items, model_labels, photos, tags


@dataclass(frozen=True)
class OpenItem:
    """A photo of a claimed chunk that is still to be looked at.

    `looked` is the file as the claim's model saw it before, with the same top-k and threshold; None: it did not.
    `deaths`: how often it was alone in the hands of a worker that died.
    """

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    content_id: int | None
    looked: FileState | None
    deaths: int


@dataclass(frozen=True)
class Found:
    """An item and what looking at its photo gave."""

    item: OpenItem
    result: Result


def open_items(database: Database, claimed: Claim) -> list[OpenItem]:
    """The items of a claimed chunk without an outcome, in order. Those whose photo was forgotten are skipped here."""
    query = (
        select(
            job_items.c.position,
            job_items.c.attempts,
            photos.c.id,
            photos.c.root_id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.content_id,
            photos.c.failure_kind,
            photos.c.looked_size_bytes,
            photos.c.looked_mtime_ns,
            contents.c.model_id,
            contents.c.top_k,
            contents.c.threshold,
        )
        .outerjoin(photos, photos.c.id == job_items.c.photo_id)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(
            job_items.c.job_id == claimed.name.job_id,
            job_items.c.position.between(claimed.first, claimed.last),
            job_items.c.outcome.is_(None),
        )
        .order_by(job_items.c.position)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    forgotten = [
        ItemOutcome(row.position, Outcome.SKIPPED, "forgotten meanwhile") for row in rows if row.id is None
    ]
    if forgotten:
        with database.write() as connection:
            store_outcomes(connection, claimed, forgotten)
    return [_open_item(row, claimed) for row in rows if row.id is not None]


def _open_item(row: Any, claimed: Claim) -> OpenItem:
    same = (row.model_id, row.top_k, row.threshold) == (claimed.model_id, claimed.top_k, claimed.threshold)
    seen = same and row.failure_kind is None and row.looked_mtime_ns is not None and not claimed.again
    looked = FileState(row.looked_size_bytes, row.looked_mtime_ns) if seen else None
    return OpenItem(
        row.position, row.id, row.root_id, row.path, row.path_bytes, row.content_id, looked, row.attempts
    )


_KNOWN = Question(
    select(contents.c.id).where(
        contents.c.digest == bindparam("digest"),
        contents.c.model_id == bindparam("model"),
        contents.c.top_k == bindparam("top_k"),
        contents.c.threshold == bindparam("threshold"),
        contents.c.outcome.is_not(None),
    )
)


def is_known(database: Database, claimed: Claim, digest: str) -> bool:
    """Whether the claim's model has looked at this picture before, with the same top-k and threshold."""
    asked = {
        "digest": digest,
        "model": claimed.model_id,
        "top_k": claimed.top_k,
        "threshold": claimed.threshold,
    }
    return database.ask(_KNOWN, asked) is not None


def _looked_by(claimed: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        contents.c.model_id == claimed.model_id,
        contents.c.top_k == claimed.top_k,
        contents.c.threshold == claimed.threshold,
        contents.c.outcome.is_not(None),
    )


def landmark_ids(database: Database, model_id: int) -> tuple[int, ...]:
    """The landmark of each label of a model, by the label's position."""
    query = select(model_labels.c.landmark_id).where(model_labels.c.model_id == model_id)
    with database.read() as connection:
        return tuple(connection.scalars(query.order_by(model_labels.c.position)))


def store_found(
    database: Database, claimed: Claim, found: Sequence[Found], landmarks: Sequence[int]
) -> list[tuple[Found, ItemOutcome]]:
    """Store a batch: contents, tags, photos, outcomes, counts, in one transaction under the claim's token.

    Returns what was stored: a picture that was known when it was read and is not any more stays open, to be looked
    at again.

    Raises:
        LeaseLost: the chunk was taken over; nothing was stored.
    """
    with database.write() as connection:
        ids = _content_ids(connection, found)
        before = _outcomes_of(connection, ids, claimed)
        stored = [(each, end) for each in found if (end := _outcome(each, ids, before)) is not None]
        store_outcomes(connection, claimed, [end for _, end in stored])
        _lock_photos(connection, found, ids)
        _store_looked(connection, claimed, found, ids, landmarks)
        _store_photos(connection, found, ids)
        _store_failures(connection, claimed, found, ids)
    return stored


def _content_ids(connection: Connection, found: Iterable[Found]) -> dict[str, int]:
    """The ids of the pictures found, by digest; rows for new ones are made."""
    # Sorted, so that two workers that store copies of the same pictures lock rows in one order.
    results = [each.result for each in found]
    new = sorted({r.digest for r in results if isinstance(r, Looked | Failed) and r.digest is not None})
    insert_missing(connection, contents, [{"digest": digest} for digest in new])
    wanted = {*new, *(r.digest for r in results if isinstance(r, Known))}
    # Held until the end, so that nobody forgets them meanwhile.
    query = (
        select(contents.c.digest, contents.c.id)
        .where(contents.c.digest.in_(wanted))
        .order_by(contents.c.id)
        .with_for_update(read=True, key_share=True)
    )
    return {row.digest: row.id for row in connection.execute(query)} if wanted else {}


def _outcomes_of(connection: Connection, ids: Mapping[str, int], claimed: Claim) -> dict[int, Outcome]:
    """What the claim's model said before of these contents, with the same top-k and threshold."""
    query = select(contents.c.id, contents.c.outcome).where(
        contents.c.id.in_(ids.values()), *_looked_by(claimed)
    )
    return {row.id: Outcome(row.outcome) for row in connection.execute(query)} if ids else {}


def _outcome(found: Found, ids: Mapping[str, int], before: Mapping[int, Outcome]) -> ItemOutcome | None:
    position, result = found.item.position, found.result
    match result:
        case Failed():
            return ItemOutcome(position, Outcome.FAILED, result.failure.kind, result.failure.text)
        case Unchanged():
            return ItemOutcome(position, Outcome.SKIPPED, SEEN_BEFORE)
        case Looked():
            return ItemOutcome(position, _looked_outcome(result))
        case Known():
            content = ids.get(result.digest)
            if content is None or content not in before:
                return None
            if content == found.item.content_id:
                return ItemOutcome(position, Outcome.SKIPPED, SEEN_BEFORE)
            return ItemOutcome(position, before[content])


def _looked_outcome(result: Looked) -> Outcome:
    return (
        Outcome.TAGGED if any(prediction.accepted for prediction in result.predictions) else Outcome.UNKNOWN
    )


def _lock_photos(connection: Connection, found: Sequence[Found], ids: Mapping[str, int]) -> None:
    """Lock all photos that are about to change, in one order: copies in other chunks may change each other's."""
    if connection.dialect.name == "postgresql":
        own = photos.c.id.in_([each.item.photo_id for each in found])
        changing = or_(own, and_(photos.c.content_id.in_(_shown(found, ids)), _FAILS_BY_CONTENT))
        connection.execute(
            select(photos.c.id).where(changing).order_by(photos.c.id).with_for_update(key_share=True)
        )


def _shown(found: Sequence[Found], ids: Mapping[str, int]) -> list[int]:
    """The contents that can be looked at after all."""
    digests = {each.result.digest for each in found if isinstance(each.result, Looked | Known)}
    return sorted(ids[digest] for digest in digests if digest in ids)


def _store_looked(
    connection: Connection,
    claimed: Claim,
    found: Sequence[Found],
    ids: Mapping[str, int],
    landmarks: Sequence[int],
) -> None:
    """Replace what is known of the pictures that were looked at, their tags whole."""
    looked = {ids[each.result.digest]: each.result for each in found if isinstance(each.result, Looked)}
    if not looked:
        return
    now = datetime.now(UTC)
    rows = [
        {
            "content": content,
            "width": result.width,
            "height": result.height,
            "model_id": claimed.model_id,
            "top_k": claimed.top_k,
            "threshold": claimed.threshold,
            "outcome": _looked_outcome(result),
            "looked_at": now,
        }
        for content, result in sorted(looked.items())
    ]
    columns: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "content"}
    connection.execute(update(contents).where(contents.c.id == bindparam("content")).values(columns), rows)
    connection.execute(delete(tags).where(tags.c.content_id.in_(looked)))
    tag_rows = [
        {
            "content_id": content,
            "rank": prediction.rank,
            "landmark_id": landmarks[prediction.position],
            "score": prediction.score,
            "accepted": prediction.accepted,
            "model_id": claimed.model_id,
        }
        for content, result in looked.items()
        for prediction in result.predictions
    ]
    if tag_rows:
        connection.execute(insert(tags), tag_rows)


def _store_photos(connection: Connection, found: Sequence[Found], ids: Mapping[str, int]) -> None:
    """Tie photos to their content, and take back what was said against this content of other photos too."""
    rows = [
        {
            "photo": each.item.photo_id,
            "content_id": ids[each.result.digest],
            "size_bytes": each.result.file.size_bytes,
            "mtime_ns": each.result.file.mtime_ns,
            "looked_size_bytes": each.result.file.size_bytes,
            "looked_mtime_ns": each.result.file.mtime_ns,
            "taken_at": each.result.facts.taken_at,
            "latitude": each.result.facts.latitude,
            "longitude": each.result.facts.longitude,
        }
        for each in sorted(found, key=lambda each: each.item.photo_id)
        if isinstance(each.result, Looked | Known) and each.result.digest in ids
    ]
    if not rows:
        return
    columns: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "photo"}
    statement = update(photos).where(photos.c.id == bindparam("photo")).values(columns)
    connection.execute(statement.values(gone_since=None, **NO_FAILURE), rows)
    shared = photos.c.content_id.in_(_shown(found, ids))
    connection.execute(update(photos).where(shared, _FAILS_BY_CONTENT).values(NO_FAILURE))


_OF_THE_FILE = (FailureKind.GONE, FailureKind.UNREADABLE, FailureKind.EMPTY, FailureKind.TOO_LARGE)
_FAILS_BY_CONTENT = and_(photos.c.failure_kind.is_not(None), photos.c.failure_kind.not_in(_OF_THE_FILE))
"""Another copy that can be looked at says nothing about a file that is gone or cannot be read."""


def _store_failures(
    connection: Connection, claimed: Claim, found: Sequence[Found], ids: Mapping[str, int]
) -> None:
    """Note on the photos that they fail now, and that a file is gone; a changed picture no longer has the old one's tags."""
    statement = update(photos).where(photos.c.id == bindparam("photo"))
    for each in found:
        if not isinstance(each.result, Failed):
            continue
        failure = each.result.failure
        values: dict[str, Any] = {
            "failure_kind": failure.kind,
            "failure_text": failure.text,
            "failure_job_id": claimed.name.job_id,
            "failure_attempts": func.coalesce(photos.c.failure_attempts, 0) + 1,
        }
        if failure.kind is FailureKind.GONE:
            values["gone_since"] = datetime.now(UTC)
        if each.result.digest is not None:
            values |= {
                "content_id": ids[each.result.digest],
                "looked_size_bytes": None,
                "looked_mtime_ns": None,
            }
        connection.execute(statement.values(values), {"photo": each.item.photo_id})
