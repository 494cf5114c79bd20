"""The photos of a claimed chunk, and how their results are stored in one transaction.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is
in query.

The transactions of workers take their locks in this order, so that no two wait for each other:

1. images, by id, against deletion (`_find_images`)
2. what is taught for each model, by its id, against changes (`compare_batch`)
3. the chunk (`renew_lease`)
4. photos, by id (`_lock_photos`)
5. images, by id, with what belongs to them (`lock_contents`), then the models in use (`settle`)
6. items, by position (`store_outcomes`)
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    update,
)

from tagger.cameras import camera_of, ensure_cameras
from tagger.database import Outcome, failure_outcome
from tagger.database.connection import Database, has_receivers, record_event
from tagger.database.statements import IDS, among, current_time, insert_page
from tagger.database.tables import (
    NO_FAILURE,
    contents,
    effective_tags,
    job_items,
    landmarks,
    photos,
)
from tagger.errors import FailureKind
from tagger.extensions import Event
from tagger.jobs.enqueue.photo_rows import fact_columns, stored_side_files
from tagger.ledger import follow_images
from tagger.ledger.chunks import Claim, ItemOutcome, renew_lease, store_outcomes
from tagger.ledger.items import CLASSIFIED_BEFORE
from tagger.metadata.stated_facts import SideFacts
from tagger.photos import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.paths import path_from_text
from tagger.photos.side_files import SideFile
from tagger.pipeline import (
    AlreadyClassified,
    Classified,
    Failed,
    Reader,
    Result,
    Unchanged,
)
from tagger.positions.tag_odds import weigh_images
from tagger.raw_pairs import carry_over, raw_files_of
from tagger.registry.registration import landmark_ids_of_labels
from tagger.tags import (
    delete_unused,
    is_classified_by_all,
    lock_contents,
    lock_contents_shared,
    queue_position_updates,
    record_photos,
)
from tagger.tags.causes import hold_landmarks, store_classifications, store_things
from tagger.tags.settlement import EffectiveTags, outcome_of, settle
from tagger.teaching.comparison import TaughtCache, compare_batch
from tagger.texts import document_of
from tagger.things import things_of_labels

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
            job_items.c.job_id == claim.job_id,
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
        ItemOutcome(
            row.position, Outcome.SKIPPED, REMOVED if row.id is None else JOINED
        )
        for row in rows
        if row.id is None or row.primary_id is not None
    ]
    if skipped:
        with database.write() as connection:
            store_outcomes(connection, claim, skipped)
    items = []
    for row in rows:
        if row.id is None or row.primary_id is not None:
            continue
        has_result = row.failure_kind is None and row.classified_mtime_ns is not None
        classified = None
        if row.is_classified and has_result and not claim.reprocess:
            classified = PhotoVersion(
                row.classified_size_bytes, row.classified_mtime_ns
            )
        own_raw_files = raw_files.get(row.id, ())
        side_files = (
            stored_side_files(file.side_files) for file in (row, *own_raw_files)
        )
        item = document_of(
            Item,
            row,
            photo_id=row.id,
            classified=classified,
            deaths=row.attempts,
            raw_files=tuple((file.path, file.path_bytes) for file in own_raw_files),
            side_files=tuple(chain.from_iterable(side_files)),
        )
        items.append(item)
    return items


def store_results(
    database: Database,
    claim: Claim,
    items: Sequence[Item],
    taught: Mapping[int, TaughtCache],
) -> list[Item]:
    """Store items with a result, and what follows, in one transaction under the claim's token.

    `taught`: what is taught for the claim's models. Returns the stored items. One whose image was classified
    when it was read, but is not any more, stays open.

    Raises:
        LeaseLost: the chunk was taken over; nothing was stored.
    """
    with database.write() as connection:
        _find_images(connection, items)
        classified = {
            item.image_id: item.result
            for item in items
            if isinstance(item.result, Classified)
        }
        # What the models show of it is compared with what each of them was taught.
        compared = {}
        for model_id in sorted(claim.thresholds):
            new_embeddings = {
                content_id: result.results[model_id].embedding
                for content_id, result in classified.items()
                if model_id in result.results
            }
            compared[model_id] = compare_batch(
                connection, taught[model_id], new_embeddings
            )
        renew_lease(connection, claim)
        forgotten = _lock_photos(connection, items)
        taken_over = _photos_taken_over(connection, items)
        # All at once, so that workers lock images in one order.
        lock_contents(
            connection, {*classified, *(item.image_id for item, _ in taken_over)}
        )
        is_announced = has_receivers(connection, Event.LANDMARK_FOUND)
        known_landmarks: set[int] = set()
        if is_announced:
            before = _landmarks(among(effective_tags.c.content_id, classified))
            known_landmarks.update(connection.scalars(before))

        # Store what was read, and what the models say of it.
        _store_photos(connection, claim.job_id, items, classified, taken_over)
        things = things_of_labels(connection, claim.thresholds)
        store_things(connection, claim, classified, things)
        of_landmarks = claim.thresholds.keys() - things.keys()
        if of_landmarks:
            hold_landmarks(connection)
            landmark_ids = {}
            for model_id in of_landmarks:
                of_model = (each.results.get(model_id) for each in classified.values())
                predictions = (
                    result.predictions for result in of_model if result is not None
                )
                labels = {each.position for each in chain.from_iterable(predictions)}
                landmark_ids[model_id] = landmark_ids_of_labels(
                    connection, model_id, labels
                )
            store_classifications(connection, claim, classified, landmark_ids, compared)

        # Weigh it with the photos' own positions. What others say follows when more of them are stored.
        weigh_images(connection, classified, own_alone=True)

        # Settle what counts. The photos are recorded already.
        settled = settle(connection, classified, record=False)
        if is_announced:
            _record_new_landmarks(connection, claim.job_id, settled, known_landmarks)

        stored = _set_outcomes(connection, claim, items, forgotten, settled)
        store_outcomes(connection, claim, [item.outcome for item in stored])
        # Photos have other outcomes than in earlier jobs, or other images.
        image_ids = {item.image_id for item in items if item.image_id}
        follow_images(connection, among(photos.c.content_id, image_ids))
        if forgotten:
            delete_unused(connection, {item.image_id for item in forgotten})
        return stored


def _find_images(connection: Connection, items: Sequence[Item]) -> None:
    # Set the image of each item that was read. New images are inserted.
    digests = {item.position: getattr(item.result, "digest", None) for item in items}
    is_new = {
        item.position: isinstance(item.result, Classified | Failed) for item in items
    }
    # Sorted, so that workers that store copies of the same images lock rows in the same order.
    new = sorted(
        {digest for position, digest in digests.items() if digest and is_new[position]}
    )
    insert_page(
        connection,
        contents,
        ("digest",),
        ((digest,) for digest in new),
        skip_existing=True,
    )
    ids = lock_contents_shared(
        connection, {digest for digest in digests.values() if digest}
    )
    for item in items:
        item.image_id = ids.get(digests[item.position] or "", 0)


def _set_outcomes(
    connection: Connection,
    claim: Claim,
    items: Sequence[Item],
    forgotten: Collection[Item],
    settled: EffectiveTags,
) -> list[Item]:
    # Set the outcomes of items and the effective tags of their images. Returns those that get an outcome.
    # Images that were known when they were read, and that the claim's models have classified alike.
    known = {
        item.image_id for item in items if isinstance(item.result, AlreadyClassified)
    }
    earlier: dict[int, Outcome] = {}
    if known:
        query = select(contents.c.id, contents.c.outcome).where(
            among(contents.c.id, known),
            contents.c.outcome.is_not(None),
            is_classified_by_all(claim.thresholds, claim.top_k),
        )
        earlier = {row.id: Outcome(row.outcome) for row in connection.execute(query)}
    stored = []
    for item in items:
        position, result = item.position, item.result
        outcome = ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
        match result:
            case _ if item in forgotten:
                outcome = ItemOutcome(position, Outcome.SKIPPED, REMOVED)
            case Failed():
                failure = result.failure
                kind_of_outcome = failure_outcome(failure.kind)
                outcome = ItemOutcome(
                    position, kind_of_outcome, failure.kind, failure.text
                )
            case Classified():
                outcome = ItemOutcome(position, outcome_of(settled[item.image_id]))
            case AlreadyClassified() if item.image_id not in earlier:
                continue
            case AlreadyClassified() if item.image_id != item.content_id:
                outcome = ItemOutcome(position, earlier[item.image_id])
        item.outcome = outcome
        stored.append(item)
    return stored


def _record_new_landmarks(
    connection: Connection, job_id: int, settled: EffectiveTags, known: Collection[int]
) -> None:
    # Record the landmarks that have their first photo. `known`: those of these images before.
    shown = {
        tag.landmark_id for tags in settled.values() for tag in tags if tag.is_accepted
    }
    is_other = ~among(effective_tags.c.content_id, settled)
    for landmark_id in sorted(shown.difference(known)):
        others = _landmarks(effective_tags.c.landmark_id == landmark_id, is_other)
        if connection.execute(others.limit(1)).first() is None:
            query = select(landmarks.c.slug, landmarks.c.name).where(
                landmarks.c.id == landmark_id
            )
            landmark = connection.execute(query).one()
            data = {"landmark": landmark.slug, "name": landmark.name, "job": job_id}
            record_event(connection, Event.LANDMARK_FOUND, landmark.slug, data)


def _landmarks(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return select(effective_tags.c.landmark_id).where(
        effective_tags.c.accepted == true(), *conditions
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


def _lock_photos(connection: Connection, items: Sequence[Item]) -> list[Item]:
    # Lock all photos that are about to change in one order: other chunks may change the same copies.
    #
    # Returns the items whose photos were forgotten since they were claimed.
    own = among(photos.c.id, [item.photo_id for item in items])
    copies = and_(
        among(photos.c.content_id, _readable_ids(items)), _HAS_CONTENT_FAILURE
    )
    query = select(photos.c.id).where(or_(own, copies)).order_by(photos.c.id)
    stored = set(connection.scalars(query.with_for_update(key_share=True)))
    return [item for item in items if item.photo_id not in stored]


def _photos_taken_over(
    connection: Connection, items: Sequence[Item]
) -> list[tuple[Item, int]]:
    # Photos that are read first, and had the image of a RAW file or its JPEG, each with that image.
    #
    # A photo whose model was removed has an own image, which is not classified any more.
    read = {item.photo_id: item for item, _ in _read(items)}
    taken_over = photos.c.classified_mtime_ns.is_(None), contents.c.outcome.is_not(None)
    query = select(photos.c.id, photos.c.content_id).join(
        contents, contents.c.id == photos.c.content_id
    )
    query = query.where(among(photos.c.id, read), *taken_over).order_by(photos.c.id)
    rows = connection.execute(query).all() if read else ()
    return [
        (read[row.id], row.content_id)
        for row in rows
        if row.content_id != read[row.id].image_id
    ]


def _store_photos(
    connection: Connection,
    job_id: int,
    items: Sequence[Item],
    classified: Collection[int],
    taken_over: Sequence[tuple[Item, int]],
) -> None:
    # Store what the results say of their photos. The images are stored already.
    #
    # `classified`: images that are new or have new tags. `taken_over`: of `_photos_taken_over`, whose
    # verdicts are kept.
    # The columns of photos that were read: their image, their camera, and their facts.
    facts_read = {item.photo_id: (item, read) for item, read in _read(items)}
    cameras = {
        photo_id: camera_of(read, item.root_id, item.path)
        for photo_id, (item, read) in facts_read.items()
    }
    camera_ids = ensure_cameras(connection, set(cameras.values()))
    facts: dict[int, dict[str, Any]] = {}
    for photo_id, (item, read) in facts_read.items():
        ids = {"content_id": item.image_id, "camera_id": camera_ids[cameras[photo_id]]}
        facts[photo_id] = ids | fact_columns(read, item.side_facts, item.path)

    for item, image_id in taken_over:
        carry_over(connection, item.photo_id, image_id, item.image_id)

    # Record changed evidence of positions: new tags, for all copies of an image, and new facts of photos.
    queue_position_updates(connection, classified)
    changed = []
    if facts:
        columns = next(iter(facts.values())).keys()
        query = select(
            photos.c.id,
            *(photos.c[name] for name in columns),
        ).where(among(photos.c.id, facts))
        for row in connection.execute(query).mappings():
            values = facts[row["id"]]
            is_recorded = (
                row["content_id"] is None and values["content_id"] in classified
            )
            if not is_recorded and any(row[name] != values[name] for name in columns):
                changed.append(row["id"])
    record_photos(connection, changed)

    # Link photos to their contents, and clear failures of the contents, in all copies.
    rows: list[dict[str, Any]] = []
    for item in sorted(items, key=lambda item: item.photo_id):
        result = item.result
        if isinstance(result, Classified | AlreadyClassified) and item.image_id:
            version = result.version
            new_row = {
                "photo": item.photo_id,
                **facts[item.photo_id],
                "size_bytes": version.size_bytes,
                "mtime_ns": version.mtime_ns,
                "classified_size_bytes": version.size_bytes,
                "classified_mtime_ns": version.mtime_ns,
            }
            rows.append(new_row)
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
    .where(among(photos.c.content_id, IDS), _HAS_CONTENT_FAILURE)
    .values(NO_FAILURE)
)


def _readable_ids(items: Sequence[Item]) -> list[int]:
    # The ids of contents that were decoded, now or before.
    readable = (
        item
        for item in items
        if isinstance(item.result, Classified | AlreadyClassified)
    )
    return sorted({item.image_id for item in readable if item.image_id})


def _read(items: Sequence[Item]) -> Iterator[tuple[Item, CameraFacts]]:
    # The items whose photo was read, each with the facts in its file.
    for item in items:
        facts = (
            None
            if item.result is None or isinstance(item.result, Unchanged)
            else item.result.facts
        )
        if item.image_id and facts is not None:
            yield item, facts


def _store_failures(
    connection: Connection,
    job_id: int,
    items: Sequence[Item],
    facts: Mapping[int, Mapping[str, Any]],
) -> None:
    # Store failures on photos, and facts that can be read; a changed image loses its tags.
    failed = [
        (item, item.result.failure) for item in items if isinstance(item.result, Failed)
    ]
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
