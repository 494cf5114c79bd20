"""The photos of a claimed chunk: those without an outcome, and the rows of processed ones."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select, update

from tagger.cameras import camera_of, ensure_cameras
from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.statements import among, current_time, ids_parameter
from tagger.database.tables import NO_FAILURE, contents, job_items, photos
from tagger.errors import FailureKind
from tagger.jobs.enqueue.photo_rows import fact_columns, stored_side_files
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.metadata.stated_facts import SideFacts
from tagger.photos.facts import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.paths import path_from_text
from tagger.photos.side_files import SideFile
from tagger.pipeline.requests import (
    AlreadyClassified,
    Classified,
    Failed,
    Reader,
    Result,
    Unchanged,
)
from tagger.raw_pairs import carry_over, files_of
from tagger.tags.contents import is_classified_by_all, queue_position_updates, record_photos
from tagger.texts.documents import document_of

# The reason of a skipped item whose photo is no longer in the database.
REMOVED = "removed with `tagger forget`"
# The reason of a skipped item: a RAW file that was a photo of its own when the job was recorded.
JOINED = "one photo with the JPEG of the same name"


@dataclass(eq=False)
class Item:
    """A photo of a claimed chunk, open at first, and what comes of it."""

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    content_id: int | None
    # The version that the claim's models classified before with the same top-k and thresholds.
    classified: PhotoVersion | None
    # How often a worker died while it processed this photo alone.
    deaths: int
    size_bytes: int
    # How often it has failed since its last success.
    failure_attempts: int | None
    # Its RAW files, as the columns `path` and `path_bytes`.
    raw_files: tuple[tuple[str, bytes], ...] = ()
    # Those of all its files.
    side_files: tuple[SideFile, ...] = ()
    # What the side files state, once they are read.
    side_facts: SideFacts = field(default=(), init=False, repr=False)
    # Opens the photo in place of the pipeline's own reader: in isolation.
    reader: Reader | None = field(default=None, init=False, repr=False)
    # Set once the photo is classified; None in jobs that classify nothing.
    result: Result | None = field(default=None, init=False, repr=False)
    # The content of the image that was read, set when the result is stored; 0: none is known.
    image_id: int = field(default=0, init=False, repr=False)
    # Set once it is stored.
    outcome: ItemOutcome = field(init=False, repr=False)

    @property
    def file(self) -> str:
        """The path, in the root, of the file to read."""
        return path_from_text(self.path, self.path_bytes)


def open_items(database: Database, claim: Claim) -> list[Item]:
    """The items of a chunk without an outcome, in order. Those of forgotten photos are stored as skipped."""
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
            photos.c.failure_attempts,
            photos.c.primary_id,
            photos.c.classified_size_bytes,
            photos.c.classified_mtime_ns,
            photos.c.side_files,
            is_classified_by_all(claim.thresholds, claim.top_k).label("is_classified"),
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
        photo_ids = [row.id for row in rows if row.id is not None]
        raw_files = raw_files_of(connection, photo_ids)
    skipped = [
        ItemOutcome(row.position, Outcome.SKIPPED, REMOVED if row.id is None else JOINED)
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
) -> Mapping[int, Sequence[Row[Any]]]:
    """The rows of the RAW files of photos, with `path`, `path_bytes` and `side_files`, by photo id."""
    columns = (photos.c.primary_id, photos.c.path, photos.c.path_bytes, photos.c.side_files)
    files: dict[int, list[Any]] = {}
    for row in connection.execute(
        select(*columns).where(files_of(photo_ids)).order_by(photos.c.path)
    ):
        files.setdefault(row.primary_id, []).append(row)
    return files


def _open_item(row: Any, claim: Claim, raw_files: Sequence[Row[Any]]) -> Item:
    has_result = row.failure_kind is None and row.classified_mtime_ns is not None
    classified = None
    if row.is_classified and has_result and not claim.reprocess:
        classified = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    return document_of(
        Item,
        row,
        photo_id=row.id,
        classified=classified,
        deaths=row.attempts,
        raw_files=tuple((file.path, file.path_bytes) for file in raw_files),
        side_files=tuple(
            chain.from_iterable(stored_side_files(each.side_files) for each in (row, *raw_files))
        ),
    )


_FILE_FAILURES = (
    FailureKind.GONE,
    FailureKind.UNREADABLE,
    FailureKind.UNREACHABLE,
    FailureKind.SETTLING,
    FailureKind.EMPTY,
    FailureKind.TOO_LARGE,
)
# A readable copy disproves failures of the content, but not those of a file that is gone or
# unreadable.
_HAS_CONTENT_FAILURE = and_(
    photos.c.failure_kind.is_not(None), photos.c.failure_kind.not_in(_FILE_FAILURES)
)


def lock_photos(connection: Connection, items: Sequence[Item]) -> list[Item]:
    """Lock all photos that are about to change in one order: other chunks may change the same copies.

    Returns the items whose photos were forgotten since they were claimed.
    """
    own = among(photos.c.id, [item.photo_id for item in items])
    copies = and_(among(photos.c.content_id, _readable_ids(items)), _HAS_CONTENT_FAILURE)
    query = select(photos.c.id).where(or_(own, copies)).order_by(photos.c.id)
    stored = set(connection.scalars(query.with_for_update(key_share=True)))
    return [item for item in items if item.photo_id not in stored]


def classified_contents(items: Sequence[Item]) -> dict[int, Classified]:
    """The results of photos that were classified, by content id."""
    return {item.image_id: item.result for item in items if isinstance(item.result, Classified)}


def photos_taken_over(connection: Connection, items: Sequence[Item]) -> list[tuple[Item, int]]:
    """Photos that are read first, and had the image of a RAW file or its JPEG, each with that image.

    A photo whose model was removed has an own image, which is not classified any more.
    """
    read = {item.photo_id: item for item, _ in _read(items)}
    taken_over = photos.c.classified_mtime_ns.is_(None), contents.c.outcome.is_not(None)
    query = select(photos.c.id, photos.c.content_id).join(
        contents, contents.c.id == photos.c.content_id
    )
    query = query.where(among(photos.c.id, read), *taken_over).order_by(photos.c.id)
    rows = connection.execute(query).all() if read else ()
    return [
        (read[row.id], row.content_id) for row in rows if row.content_id != read[row.id].image_id
    ]


def store_photos(
    connection: Connection,
    job_id: int,
    items: Sequence[Item],
    taken_over: Sequence[tuple[Item, int]],
) -> None:
    """Store what the results say of their photos. The images are stored already.

    `taken_over`: of `photos_taken_over`, whose verdicts are kept.
    """
    facts = _facts(connection, items)
    for item, image_id in taken_over:
        carry_over(connection, item.photo_id, image_id, item.image_id)

    # Record changed evidence of positions: new tags, for all copies of an image, and new facts of photos.
    classified = classified_contents(items)
    queue_position_updates(connection, classified)
    changed = []
    if facts:
        columns = next(iter(facts.values())).keys()
        query = select(photos.c.id, *(photos.c[name] for name in columns)).where(
            among(photos.c.id, facts)
        )
        for row in connection.execute(query).mappings():
            values = facts[row["id"]]
            is_recorded = row["content_id"] is None and values["content_id"] in classified
            if not is_recorded and any(row[name] != values[name] for name in columns):
                changed.append(row["id"])
    record_photos(connection, changed)

    # Link photos to their contents, and clear failures of the contents, in all copies.
    rows: list[dict[str, Any]] = []
    for item in sorted(items, key=lambda item: item.photo_id):
        result = item.result
        if isinstance(result, Classified | AlreadyClassified) and item.image_id:
            size_bytes, mtime_ns = result.version.size_bytes, result.version.mtime_ns
            version = {"size_bytes": size_bytes, "mtime_ns": mtime_ns}
            of_result = {"classified_size_bytes": size_bytes, "classified_mtime_ns": mtime_ns}
            rows.append({"photo": item.photo_id, **facts[item.photo_id], **version, **of_result})
    if rows:
        connection.execute(_UPDATE_CLASSIFIED, rows)
        connection.execute(_CLEAR_FAILURES, {"ids": _readable_ids(items)})
    _store_failures(connection, job_id, items, facts)


# Built once: they run for each batch of photos, and to build them takes longer than to run them.
# A RAW file that was joined with its JPEG since it was claimed has no image of its own.
_UPDATE_PHOTO = update(photos).where(
    photos.c.id == bindparam("photo"), photos.c.primary_id.is_(None)
)
_UPDATE_CLASSIFIED = _UPDATE_PHOTO.values(gone_since=None, **NO_FAILURE)
_CLEAR_FAILURES = (
    update(photos)
    .where(among(photos.c.content_id, ids_parameter("ids")), _HAS_CONTENT_FAILURE)
    .values(NO_FAILURE)
)


def _readable_ids(items: Sequence[Item]) -> list[int]:
    """The ids of contents that were decoded, now or before."""
    readable = (item for item in items if isinstance(item.result, Classified | AlreadyClassified))
    return sorted({item.image_id for item in readable if item.image_id})


def _read(items: Sequence[Item]) -> Iterator[tuple[Item, CameraFacts]]:
    """The items whose photo was read, each with the facts in its file."""
    for item in items:
        facts = (
            None if item.result is None or isinstance(item.result, Unchanged) else item.result.facts
        )
        if item.image_id and facts is not None:
            yield item, facts


def _facts(connection: Connection, items: Sequence[Item]) -> dict[int, dict[str, Any]]:
    """The columns of photos that were read, by photo id: their content and their facts."""
    found = {
        item.photo_id: (
            item.image_id,
            fact_columns(facts, item.side_facts, item.path),
            camera_of(facts, item.root_id, item.path),
        )
        for item, facts in _read(items)
    }
    camera_ids = ensure_cameras(connection, {camera for _, _, camera in found.values()})
    return {
        photo_id: {"content_id": image_id, "camera_id": camera_ids[camera], **facts}
        for photo_id, (image_id, facts, camera) in found.items()
    }


def _store_failures(
    connection: Connection,
    job_id: int,
    items: Sequence[Item],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    """Store failures on photos, and facts that can be read; a changed image loses its tags."""
    failed = [(item, item.result.failure) for item in items if isinstance(item.result, Failed)]
    if not failed:
        return
    now = current_time(connection)
    for item, failure in failed:
        pause = failure.kind.retry_pause((item.failure_attempts or 0) + 1)
        values: dict[str, Any] = {
            "failure_kind": failure.kind,
            "failure_text": failure.text,
            "failure_job_id": job_id,
            "failure_attempts": func.coalesce(photos.c.failure_attempts, 0) + 1,
            "retry_at": None if pause is None else now + pause,
        }
        if failure.kind is FailureKind.GONE:
            values["gone_since"] = now
        if item.image_id:
            values |= {
                "content_id": item.image_id,
                "classified_size_bytes": None,
                "classified_mtime_ns": None,
                **facts.get(item.photo_id, {}),
            }
        connection.execute(_UPDATE_PHOTO.values(values), {"photo": item.photo_id})
