"""The rows of processed photos: which image each shows, what its EXIF says, and why it could not be read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from tagger.catalog.cameras import camera_of, ensure_cameras
from tagger.catalog.raw_pairs import carry_over
from tagger.database.statements import among, ids_parameter
from tagger.database.tables import NO_FAILURE, photos
from tagger.errors import FailureKind
from tagger.jobs.enqueue.photo_facts import fact_columns
from tagger.jobs.processing.chunk_items import Item
from tagger.pipeline.requests import AlreadyClassified, Classified, Failed
from tagger.tags.contents import queue_position_updates, record_photos

_FILE_FAILURES = (
    FailureKind.GONE,
    FailureKind.UNREADABLE,
    FailureKind.SETTLING,
    FailureKind.EMPTY,
    FailureKind.TOO_LARGE,
)
_HAS_CONTENT_FAILURE = and_(photos.c.failure_kind.is_not(None), photos.c.failure_kind.not_in(_FILE_FAILURES))
"""A readable copy disproves failures of the content, but not those of a file that is gone or unreadable."""


def lock_photos(connection: Connection, items: Sequence[Item]) -> None:
    """Lock all photos that are about to change in one order: other chunks may change the same copies."""
    if connection.dialect.name == "postgresql":
        own = among(photos.c.id, [item.photo_id for item in items])
        copies = and_(among(photos.c.content_id, _readable_ids(items)), _HAS_CONTENT_FAILURE)
        query = select(photos.c.id).where(or_(own, copies)).order_by(photos.c.id)
        connection.execute(query.with_for_update(key_share=True))


def classified_contents(items: Sequence[Item]) -> dict[int, Classified]:
    """The results of photos that were classified, by content id."""
    return {item.image_id: item.result for item in items if isinstance(item.result, Classified)}


def store_photos(connection: Connection, job_id: int, items: Sequence[Item]) -> None:
    """Store what the results say of their photos. The images are stored already."""
    facts = _facts(connection, items)
    _carry_over(connection, facts)
    _record_changes(connection, items, facts)
    _store_classified(connection, items, facts)
    _store_failures(connection, job_id, items, facts)


def _readable_ids(items: Sequence[Item]) -> list[int]:
    """The ids of contents that were decoded, now or before."""
    readable = (item for item in items if isinstance(item.result, Classified | AlreadyClassified))
    return sorted({item.image_id for item in readable if item.image_id})


def _facts(connection: Connection, items: Sequence[Item]) -> dict[int, dict[str, Any]]:
    """The columns of photos that were read, by photo id: their content, and what they and the files beside them say."""
    found = {
        item.photo_id: (
            item.image_id,
            fact_columns(item.result.facts, item.side_facts, item.path),
            camera_of(item.result.facts, item.root_id, item.path),
        )
        for item in items
        if isinstance(item.result, Classified | AlreadyClassified | Failed)
        and item.image_id
        and item.result.facts is not None
    }
    camera_ids = ensure_cameras(connection, {camera for _, _, camera in found.values()})
    return {
        photo_id: {"content_id": image_id, "camera_id": camera_ids[camera], **facts}
        for photo_id, (image_id, facts, camera) in found.items()
    }


def _carry_over(connection: Connection, facts: Mapping[int, Mapping[str, Any]]) -> None:
    """Keep the verdicts on photos whose own file is read first, and whose image so far is that of a RAW file or its JPEG."""
    taken_over = photos.c.content_id.is_not(None) & photos.c.classified_mtime_ns.is_(None)
    query = select(photos.c.id, photos.c.content_id).where(among(photos.c.id, facts), taken_over)
    for row in connection.execute(query).all() if facts else ():
        image_id = facts[row.id]["content_id"]
        if row.content_id != image_id:
            carry_over(connection, row.id, row.content_id, image_id)


def _record_changes(
    connection: Connection,
    items: Sequence[Item],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Record changed evidence of positions: new tags, for all copies of an image, and new facts of photos."""
    classified = classified_contents(items)
    queue_position_updates(connection, classified)
    if not facts:
        return
    columns = next(iter(facts.values())).keys()
    query = select(photos.c.id, *(photos.c[name] for name in columns)).where(among(photos.c.id, facts))
    changed = []
    for row in connection.execute(query).mappings():
        values = facts[row["id"]]
        is_recorded = row["content_id"] is None and values["content_id"] in classified
        if not is_recorded and any(row[name] != values[name] for name in columns):
            changed.append(row["id"])
    record_photos(connection, changed)


def _store_classified(
    connection: Connection,
    items: Sequence[Item],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Link photos to their contents and clear failures of the contents, in all copies."""
    rows: list[dict[str, Any]] = []
    for item in sorted(items, key=lambda item: item.photo_id):
        result = item.result
        if isinstance(result, Classified | AlreadyClassified) and item.image_id:
            size_bytes, mtime_ns = result.version.size_bytes, result.version.mtime_ns
            version = {"size_bytes": size_bytes, "mtime_ns": mtime_ns}
            classified = {"classified_size_bytes": size_bytes, "classified_mtime_ns": mtime_ns}
            photo = {"photo": item.photo_id, **facts[item.photo_id]}
            rows.append(photo | version | classified)
    if rows:
        connection.execute(_UPDATE_CLASSIFIED, rows)
        connection.execute(_CLEAR_FAILURES, {"ids": _readable_ids(items)})


# Built once: they run for each batch of photos, and to build them takes longer than to run them.
# A RAW file that was joined with its JPEG since it was claimed has no image of its own.
_UPDATE_PHOTO = update(photos).where(photos.c.id == bindparam("photo"), photos.c.primary_id.is_(None))
_UPDATE_CLASSIFIED = _UPDATE_PHOTO.values(gone_since=None, **NO_FAILURE)
_CLEAR_FAILURES = (
    update(photos)
    .where(among(photos.c.content_id, ids_parameter("ids")), _HAS_CONTENT_FAILURE)
    .values(NO_FAILURE)
)


def _store_failures(
    connection: Connection,
    job_id: int,
    items: Sequence[Item],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Store failures on their photos and mark missing files as gone. A changed image loses the tags of the previous one.

    What the EXIF of a photo says is stored even if its image cannot be decoded.
    """
    for item in items:
        if not isinstance(item.result, Failed):
            continue
        failure = item.result.failure
        values: dict[str, Any] = {
            "failure_kind": failure.kind,
            "failure_text": failure.text,
            "failure_job_id": job_id,
            "failure_attempts": func.coalesce(photos.c.failure_attempts, 0) + 1,
        }
        if failure.kind is FailureKind.GONE:
            values["gone_since"] = datetime.now(UTC)
        if item.image_id:
            values |= {
                "content_id": item.image_id,
                "classified_size_bytes": None,
                "classified_mtime_ns": None,
                **facts.get(item.photo_id, {}),
            }
        connection.execute(_UPDATE_PHOTO.values(values), {"photo": item.photo_id})
