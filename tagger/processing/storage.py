"""SQL of tagging: reads the open items of a chunk and stores their results.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is in query.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from tagger.catalog.cameras import Camera, camera_of, ensure_cameras, fact_columns
from tagger.catalog.landmarks import landmark_ids_of_labels
from tagger.catalog.position_changes import record_contents, record_photos
from tagger.catalog.raw_pairs import carry_over, files_of
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.statements import PreparedQuery, insert_missing
from tagger.database.tables import (
    NO_FAILURE,
    contents,
    job_items,
    photos,
    tags,
    taught_tags,
)
from tagger.errors import FailureKind
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.ledger.items import CLASSIFIED_BEFORE
from tagger.metadata.camera import CameraFacts
from tagger.photos import path_from_text
from tagger.photos.files import PhotoVersion
from tagger.pipeline.results import (
    AlreadyClassified,
    Classified,
    Failed,
    MetadataOutcome,
    Result,
    Unchanged,
)
from tagger.places.taught_tags import TaughtCache, TaughtTag
from tagger.processing.comparison import compare, store_compared

FORGOTTEN = "removed with `tagger forget`"
"""The reason of a skipped item whose photo is no longer in the database."""
JOINED = "one photo with the JPEG of the same name"
"""The reason of a skipped item: a RAW file that was a photo of its own when the job was recorded."""


@dataclass(frozen=True)
class OpenItem:
    """A photo of a claimed chunk that has no outcome yet.

    `classified`: the version that the claim's model classified before with the same top-k and threshold, if any.
    `deaths`: how often a worker died while it classified this photo alone. `raw_files`: the RAW files of the photo, as the columns
    `path` and `path_bytes`. `failure`: why the photo's own file cannot be classified; the first of the RAW files is read instead.
    """

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    content_id: int | None
    classified: PhotoVersion | None
    deaths: int
    size_bytes: int
    raw_files: tuple[tuple[str, bytes], ...] = ()
    failure: Failed | None = None

    @property
    def file(self) -> str:
        """The path, in the root, of the file to read."""
        return path_from_text(*(self.raw_files[0] if self.failure else (self.path, self.path_bytes)))

    def fallback(self, failure: Failed) -> "OpenItem | None":
        """The item with the next file to read, after the failure of this one; None: there is no other."""
        if self.failure is None:
            return replace(self, classified=None, failure=failure) if self.raw_files else None
        return replace(self, raw_files=self.raw_files[1:]) if len(self.raw_files) > 1 else None


@dataclass(frozen=True)
class ItemResult:
    """An item and the pipeline's result for its photo."""

    item: OpenItem
    result: Result


@dataclass(frozen=True)
class StoredOutcome:
    """A photo whose outcome was just stored, the result it follows from, and the taught landmarks it probably shows."""

    item: OpenItem
    outcome: ItemOutcome
    result: Result | MetadataOutcome
    taught: Sequence[TaughtTag] = ()


def open_items(database: Database, claim: Claim) -> list[OpenItem]:
    """Return the claimed chunk's items without an outcome, in order. Items of forgotten photos are skipped and stored as such."""
    query = (
        select(
            job_items.c.position,
            job_items.c.attempts,
            photos.c.id,
            photos.c.root_id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.size_bytes,
            photos.c.content_id,
            photos.c.failure_kind,
            photos.c.primary_id,
            photos.c.classified_size_bytes,
            photos.c.classified_mtime_ns,
            contents.c.model_id,
            contents.c.top_k,
            contents.c.threshold,
        )
        .outerjoin(photos, photos.c.id == job_items.c.photo_id)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(
            job_items.c.job_id == claim.name.job_id,
            job_items.c.position.between(claim.first, claim.last),
            job_items.c.outcome.is_(None),
        )
        .order_by(job_items.c.position)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
        raw_files = raw_files_of(connection, [row.id for row in rows if row.id is not None])
    skipped = [
        ItemOutcome(row.position, Outcome.SKIPPED, FORGOTTEN if row.id is None else JOINED)
        for row in rows
        if row.id is None or row.primary_id is not None
    ]
    if skipped:
        with database.write() as connection:
            store_outcomes(connection, claim, skipped)
    return [
        _open_item(row, claim, raw_files.get(row.id, ()))
        for row in rows
        if row.id is not None and row.primary_id is None
    ]


def raw_files_of(
    connection: Connection, photo_ids: Collection[int]
) -> Mapping[int, tuple[tuple[str, bytes], ...]]:
    """The RAW files of photos, as the columns `path` and `path_bytes`, by photo id."""
    query = select(photos.c.primary_id, photos.c.path, photos.c.path_bytes).where(files_of(photo_ids))
    files: dict[int, tuple[tuple[str, bytes], ...]] = {}
    for row in connection.execute(query.order_by(photos.c.path)):
        files[row.primary_id] = (*files.get(row.primary_id, ()), (row.path, row.path_bytes))
    return files


def is_classified(database: Database, claim: Claim, digest: str) -> bool:
    """Whether the claim's model has classified the image before, with the same top-k and threshold."""
    params = {
        "digest": digest,
        "model": claim.model_id,
        "top_k": claim.top_k,
        "threshold": claim.threshold,
    }
    return database.fetch_first(_CLASSIFIED, params) is not None


def store_results(
    database: Database,
    claim: Claim,
    results: Sequence[ItemResult],
    taught: TaughtCache,
) -> list[StoredOutcome]:
    """Store contents, tags, embeddings, photos, outcomes and counts in one transaction, under the claim's token.

    Returns what was stored. An image that was already classified when it was read, but is not any more, stays open and is
    classified again.

    Raises:
        LeaseLost: the chunk was taken over; nothing was stored.
    """
    with database.write() as connection:
        ids = _content_ids(connection, results)
        compared = compare(connection, _classified(results, ids), taught)
        earlier = _earlier_outcomes(connection, ids, claim)
        stored = [
            StoredOutcome(each.item, outcome, each.result, _taught(each.result, ids, compared.tags))
            for each in results
            if (outcome := _outcome(each, ids, earlier, compared.tags)) is not None
        ]
        store_outcomes(connection, claim, [each.outcome for each in stored])
        _lock_photos(connection, results, ids)
        _store_contents(connection, claim, results, ids)
        store_compared(connection, claim.model_id, compared)
        facts = _facts(connection, results, ids)
        _carry_over(connection, facts)
        _record_changes(connection, results, ids, facts)
        _store_photos(connection, results, ids, facts)
        _store_failures(connection, claim, results, ids, facts)
    return stored


def _open_item(row: Any, claim: Claim, raw_files: tuple[tuple[str, bytes], ...]) -> OpenItem:
    is_same = (row.model_id, row.top_k, row.threshold) == (claim.model_id, claim.top_k, claim.threshold)
    has_result = row.failure_kind is None and row.classified_mtime_ns is not None
    classified = None
    if is_same and has_result and not claim.reprocess:
        classified = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    return OpenItem(
        position=row.position,
        photo_id=row.id,
        root_id=row.root_id,
        path=row.path,
        path_bytes=row.path_bytes,
        content_id=row.content_id,
        classified=classified,
        deaths=row.attempts,
        size_bytes=row.size_bytes,
        raw_files=raw_files,
    )


_CLASSIFIED = PreparedQuery(
    select(contents.c.id).where(
        contents.c.digest == bindparam("digest"),
        contents.c.model_id == bindparam("model"),
        contents.c.top_k == bindparam("top_k"),
        contents.c.threshold == bindparam("threshold"),
        contents.c.outcome.is_not(None),
    )
)


def _classified_by(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (
        contents.c.model_id == claim.model_id,
        contents.c.top_k == claim.top_k,
        contents.c.threshold == claim.threshold,
        contents.c.outcome.is_not(None),
    )


def _content_ids(connection: Connection, results: Iterable[ItemResult]) -> dict[str, int]:
    """The content ids of the results by digest; missing contents are inserted."""
    # Sorted, so that workers that store copies of the same images lock rows in the same order.
    values = [each.result for each in results]
    new = sorted({v.digest for v in values if isinstance(v, Classified | Failed) and v.digest is not None})
    insert_missing(connection, contents, [{"digest": digest} for digest in new])
    digests = {*new, *(v.digest for v in values if isinstance(v, AlreadyClassified))}
    # Locked until the transaction ends, so that no content is deleted before the commit.
    query = (
        select(contents.c.digest, contents.c.id)
        .where(contents.c.digest.in_(digests))
        .order_by(contents.c.id)
        .with_for_update(read=True, key_share=True)
    )
    return {row.digest: row.id for row in connection.execute(query)} if digests else {}


def _earlier_outcomes(connection: Connection, ids: Mapping[str, int], claim: Claim) -> dict[int, Outcome]:
    """The outcomes of contents that the claim's model has classified before, with the same top-k and threshold."""
    is_taught = exists().where(taught_tags.c.content_id == contents.c.id, taught_tags.c.accepted == true())
    query = select(contents.c.id, contents.c.outcome, is_taught.label("is_taught")).where(
        contents.c.id.in_(ids.values()), *_classified_by(claim)
    )
    rows = connection.execute(query) if ids else ()
    return {row.id: Outcome.TAGGED if row.is_taught else Outcome(row.outcome) for row in rows}


def _outcome(
    each: ItemResult,
    ids: Mapping[str, int],
    earlier: Mapping[int, Outcome],
    taught: Mapping[int, Sequence[TaughtTag]],
) -> ItemOutcome | None:
    """None if the item stays open."""
    position, result = each.item.position, each.result
    match result:
        case Failed():
            return ItemOutcome(position, Outcome.FAILED, result.failure.kind, result.failure.text)
        case Unchanged():
            return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
        case Classified():
            is_taught = any(tag.accepted for tag in _taught(result, ids, taught))
            return ItemOutcome(position, Outcome.TAGGED if is_taught else _model_outcome(result))
        case AlreadyClassified():
            content_id = ids.get(result.digest)
            if content_id is None or content_id not in earlier:
                return None
            if content_id == each.item.content_id:
                return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
            return ItemOutcome(position, earlier[content_id])


def _taught(
    result: Result, ids: Mapping[str, int], taught: Mapping[int, Sequence[TaughtTag]]
) -> Sequence[TaughtTag]:
    """The taught tags of a photo that was classified."""
    return taught[ids[result.digest]] if isinstance(result, Classified) else ()


def _model_outcome(result: Classified) -> Outcome:
    is_tagged = any(prediction.accepted for prediction in result.predictions)
    return Outcome.TAGGED if is_tagged else Outcome.UNKNOWN


def _lock_photos(connection: Connection, results: Sequence[ItemResult], ids: Mapping[str, int]) -> None:
    """Lock all photos that are about to change in one order: other chunks may change the same copies."""
    if connection.dialect.name == "postgresql":
        own = photos.c.id.in_([each.item.photo_id for each in results])
        copies = and_(photos.c.content_id.in_(_readable_ids(results, ids)), _HAS_CONTENT_FAILURE)
        query = select(photos.c.id).where(or_(own, copies)).order_by(photos.c.id)
        connection.execute(query.with_for_update(key_share=True))


def _readable_ids(results: Sequence[ItemResult], ids: Mapping[str, int]) -> list[int]:
    """The ids of contents that were decoded, now or before."""
    digests = {
        each.result.digest for each in results if isinstance(each.result, Classified | AlreadyClassified)
    }
    return sorted(ids[digest] for digest in digests if digest in ids)


def _classified(results: Sequence[ItemResult], ids: Mapping[str, int]) -> dict[int, Classified]:
    """The results of photos that were classified, by content id."""
    return {ids[each.result.digest]: each.result for each in results if isinstance(each.result, Classified)}


def _store_contents(
    connection: Connection,
    claim: Claim,
    results: Sequence[ItemResult],
    ids: Mapping[str, int],
) -> None:
    """Update the classified contents and replace all their tags."""
    classified = _classified(results, ids)
    if not classified:
        return
    now = datetime.now(UTC)
    rows = [
        {
            "content": content_id,
            "width": result.width,
            "height": result.height,
            "model_id": claim.model_id,
            "top_k": claim.top_k,
            "threshold": claim.threshold,
            "outcome": _model_outcome(result),
            "classified_at": now,
        }
        for content_id, result in sorted(classified.items())
    ]
    columns: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "content"}
    connection.execute(update(contents).where(contents.c.id == bindparam("content")).values(columns), rows)
    connection.execute(delete(tags).where(tags.c.content_id.in_(classified)))
    # Read after the first change of tags, for which merges of landmarks wait from now on.
    landmark_ids = landmark_ids_of_labels(connection, claim.model_id)
    tag_rows = [
        {
            "content_id": content_id,
            "rank": prediction.rank,
            "landmark_id": landmark_ids[prediction.position],
            "score": prediction.score,
            "accepted": prediction.accepted,
            "model_id": claim.model_id,
        }
        for content_id, result in classified.items()
        for prediction in result.predictions
    ]
    if tag_rows:
        connection.execute(insert(tags), tag_rows)


def _facts(
    connection: Connection, results: Sequence[ItemResult], ids: Mapping[str, int]
) -> dict[int, dict[str, Any]]:
    """The columns of photos that were read, by photo id: their content, and what their EXIF says."""
    found = {
        each.item.photo_id: (each.result.digest, each.result.facts, _camera(each.item, each.result.facts))
        for each in results
        if not isinstance(each.result, Unchanged)
        and each.result.digest is not None
        and each.result.facts is not None
    }
    camera_ids = ensure_cameras(connection, {camera for _, _, camera in found.values()})
    return {
        photo_id: {"content_id": ids[digest], "camera_id": camera_ids[camera], **fact_columns(facts)}
        for photo_id, (digest, facts, camera) in found.items()
        if digest in ids
    }


def _camera(item: OpenItem, facts: CameraFacts) -> Camera:
    return camera_of(facts, item.root_id, item.path)


def _carry_over(connection: Connection, facts: Mapping[int, Mapping[str, Any]]) -> None:
    """Keep the verdicts on photos whose own file is read first, and whose image so far is that of a RAW file or its JPEG."""
    taken_over = photos.c.content_id.is_not(None) & photos.c.classified_mtime_ns.is_(None)
    query = select(photos.c.id, photos.c.content_id).where(photos.c.id.in_(facts), taken_over)
    for row in connection.execute(query).all() if facts else ():
        image_id = facts[row.id]["content_id"]
        if row.content_id != image_id:
            carry_over(connection, row.id, row.content_id, image_id)


def _record_changes(
    connection: Connection,
    results: Sequence[ItemResult],
    ids: Mapping[str, int],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Record changed evidence of positions: new tags, for all copies of an image, and new facts of photos."""
    classified = _classified(results, ids)
    record_contents(connection, classified)
    if not facts:
        return
    columns = next(iter(facts.values())).keys()
    query = select(photos.c.id, *(photos.c[name] for name in columns)).where(photos.c.id.in_(facts))
    changed = []
    for row in connection.execute(query).mappings():
        values = facts[row["id"]]
        is_recorded = row["content_id"] is None and values["content_id"] in classified
        if not is_recorded and any(row[name] != values[name] for name in columns):
            changed.append(row["id"])
    record_photos(connection, changed)


def _store_photos(
    connection: Connection,
    results: Sequence[ItemResult],
    ids: Mapping[str, int],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Link photos to their contents and clear failures of the contents, in all copies."""
    own_files: list[dict[str, Any]] = []
    raw_files: list[dict[str, Any]] = []
    for each in sorted(results, key=lambda each: each.item.photo_id):
        result = each.result
        if isinstance(result, Classified | AlreadyClassified) and result.digest in ids:
            values = {"photo": each.item.photo_id, **facts[each.item.photo_id]}
            if each.item.failure is None:
                own_files.append(values | _version_columns(result.version))
            else:
                raw_files.append(values)
    # A RAW file that was joined with its JPEG since it was claimed has no image of its own.
    is_photo = (photos.c.id == bindparam("photo"), photos.c.primary_id.is_(None))
    stored = update(photos).where(*is_photo).values(gone_since=None, **NO_FAILURE)
    if own_files:
        connection.execute(stored.values(_bound_columns(own_files[0])), own_files)
    if raw_files:
        # The photo's own file is read again when it changes.
        current = {"classified_size_bytes": photos.c.size_bytes, "classified_mtime_ns": photos.c.mtime_ns}
        connection.execute(stored.values(_bound_columns(raw_files[0]) | current), raw_files)
    copies = photos.c.content_id.in_(_readable_ids(results, ids))
    connection.execute(update(photos).where(copies, _HAS_CONTENT_FAILURE).values(NO_FAILURE))


def _version_columns(version: PhotoVersion) -> dict[str, int]:
    return {
        "size_bytes": version.size_bytes,
        "mtime_ns": version.mtime_ns,
        "classified_size_bytes": version.size_bytes,
        "classified_mtime_ns": version.mtime_ns,
    }


def _bound_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of these values as parameters, all but the id of the photo."""
    return {name: bindparam(name) for name in values if name != "photo"}


_FILE_FAILURES = (
    FailureKind.GONE,
    FailureKind.UNREADABLE,
    FailureKind.SETTLING,
    FailureKind.EMPTY,
    FailureKind.TOO_LARGE,
)
_HAS_CONTENT_FAILURE = and_(photos.c.failure_kind.is_not(None), photos.c.failure_kind.not_in(_FILE_FAILURES))
"""A readable copy disproves failures of the content, but not those of a file that is gone or unreadable."""


def _store_failures(
    connection: Connection,
    claim: Claim,
    results: Sequence[ItemResult],
    ids: Mapping[str, int],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Store failures on their photos and mark missing files as gone. A changed image loses the tags of the previous one.

    What the EXIF of a photo says is stored even if its image cannot be decoded.
    """
    statement = update(photos).where(photos.c.id == bindparam("photo"), photos.c.primary_id.is_(None))
    for each in results:
        if not isinstance(each.result, Failed):
            continue
        failure = each.result.failure
        values: dict[str, Any] = {
            "failure_kind": failure.kind,
            "failure_text": failure.text,
            "failure_job_id": claim.name.job_id,
            "failure_attempts": func.coalesce(photos.c.failure_attempts, 0) + 1,
        }
        if failure.kind is FailureKind.GONE:
            values["gone_since"] = datetime.now(UTC)
        if each.result.digest is not None:
            values |= {
                "content_id": ids[each.result.digest],
                "classified_size_bytes": None,
                "classified_mtime_ns": None,
                **facts.get(each.item.photo_id, {}),
            }
        connection.execute(statement.values(values), {"photo": each.item.photo_id})
