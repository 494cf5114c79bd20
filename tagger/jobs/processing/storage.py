"""Stores the results of a chunk, and what else happens in that transaction: hooks of rooms (see composition), and the event of a landmark's first photo.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is in query.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    select,
    true,
    update,
)

from tagger.composition import Event, has_receivers, parts, record_event
from tagger.database.connection import Database
from tagger.database.enums import CLASSIFIED_OUTCOMES, Doubt, Outcome
from tagger.database.statements import insert_page
from tagger.database.tables import (
    contents,
    landmarks,
    photos,
    tags,
    taught_tags,
    verdicts,
)
from tagger.jobs.processing.claimed_chunk import AddedTag, ItemResult, StoredOutcome
from tagger.jobs.processing.stored_photos import classified_contents, lock_photos, store_photos
from tagger.ledger.chunks import Claim, ItemOutcome, replace_outcomes, store_outcomes
from tagger.ledger.items import CLASSIFIED_BEFORE
from tagger.library.catalog.contents import hold_contents, is_taught
from tagger.library.catalog.registration import landmark_ids_of_labels
from tagger.library.positions.tag_odds import update_tags
from tagger.model.backends.protocol import Embeddings as Embedding
from tagger.pipeline.results import (
    AlreadyClassified,
    Classified,
    Failed,
    Result,
    Unchanged,
)

Embeddings = Mapping[int, Embedding | None]
"""The contents that a batch classified, by id, with their embeddings; None: the model gives none."""


class StoreStep(Protocol):
    """What a hook does in one transaction."""

    @property
    def tags(self) -> Mapping[int, Sequence[AddedTag]]:
        """The tags that the hook adds, by content id. An accepted one makes the outcome of its photos `tagged`.

        After `on_stored`, those beside which a tag of the model prevails are not accepted any more.
        """
        ...

    def on_stored(self, connection: Connection, landmark_ids: Collection[int]) -> None:
        """The batch is stored; `landmark_ids` are the landmarks that the model has given it."""
        ...


StoreHook = Callable[[Connection, int, Embeddings], StoreStep]
"""Takes part in the transactions that store the batches of one model, in several threads. It is called with the number of the job, and
with the contents of a batch, which are locked and not changed yet."""


def store_hooks(model_id: int) -> Sequence[StoreHook]:
    """The hooks for a model, in the order in which they act."""
    hooks: list[StoreHook] = [hook(model_id) for hook in parts("store_hook").values()]
    # Last, because it may wait for another transaction that finds the same landmark.
    return [*hooks, LandmarkEvents]


class LandmarkEvents:
    """Records which landmarks have their first photo."""

    tags: Mapping[int, Sequence[AddedTag]] = {}

    def __init__(self, connection: Connection, job_id: int, embeddings: Embeddings) -> None:
        self._job_id = job_id
        self._content_ids = embeddings.keys()
        self._before: set[int] | None = None
        """The accepted landmarks before the tags are replaced. None: nobody receives such events."""
        if has_receivers(connection, Event.LANDMARK_FOUND):
            query = select(tags.c.landmark_id).where(
                tags.c.content_id.in_(self._content_ids), tags.c.accepted == true()
            )
            self._before = set(connection.scalars(query.distinct()))

    def on_stored(self, connection: Connection, landmark_ids: Collection[int]) -> None:
        """Record those of the landmarks that had no photo before this transaction."""
        if self._before is None:
            return
        for landmark_id in sorted(set(landmark_ids) - self._before):
            if not _has_others(connection, landmark_id, self._content_ids):
                _record(connection, landmark_id, self._job_id)


def _has_others(connection: Connection, landmark_id: int, content_ids: Collection[int]) -> bool:
    """Whether contents other than these show the landmark, or a person said that one does."""
    by_model = exists().where(
        tags.c.landmark_id == landmark_id, tags.c.accepted == true(), tags.c.content_id.not_in(content_ids)
    )
    taught = exists().where(taught_tags.c.landmark_id == landmark_id, taught_tags.c.accepted == true())
    by_person = exists().where(verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == "confirmed")
    return bool(connection.scalar(select(by_model | taught | by_person)))


def _record(connection: Connection, landmark_id: int, job_id: int) -> None:
    landmark = connection.execute(
        select(landmarks.c.slug, landmarks.c.name).where(landmarks.c.id == landmark_id)
    ).one()
    data = {"landmark": landmark.slug, "name": landmark.name, "job": job_id}
    record_event(connection, Event.LANDMARK_FOUND, landmark.slug, data)


_IS_CLASSIFIED = (
    *(contents.c[name] == bindparam(name) for name in ("model_id", "top_k", "threshold")),
    contents.c.outcome.is_not(None),
)
"""With parameters from `_options`."""
# Built once: it runs for each photo, and to build it takes twice as long as to run it.
_FIND_CLASSIFIED = select(contents.c.id).where(contents.c.digest == bindparam("digest"), *_IS_CLASSIFIED)


def is_classified(database: Database, claim: Claim, digest: str) -> bool:
    """Whether the claim's model has classified the image before, with the same top-k and threshold."""
    with database.read() as connection:
        return connection.scalar(_FIND_CLASSIFIED, _options(claim) | {"digest": digest}) is not None


def store_results(
    database: Database,
    claim: Claim,
    results: Sequence[ItemResult],
    hooks: Sequence[StoreHook] = (),
) -> list[StoredOutcome]:
    """Store contents, tags, photos, outcomes and counts in one transaction, under the claim's token.

    `hooks`: those of the claim's model, which take part in the transaction. Returns what was stored. An image that was already classified when it was read, but is not any more, stays open and is
    classified again.

    Raises:
        LeaseLost: the chunk was taken over; nothing was stored.
    """
    with database.write() as connection:
        ids = _content_ids(connection, results)
        classified = classified_contents(results, ids)
        embeddings = {content_id: result.embedding for content_id, result in classified.items()}
        steps = [hook(connection, claim.name.job_id, embeddings) for hook in hooks]
        earlier = _earlier_outcomes(connection, ids, claim)
        outcomes = [
            (each, outcome)
            for each in results
            if (outcome := _outcome(each, ids, earlier, steps)) is not None
        ]
        store_outcomes(connection, claim, [outcome for _, outcome in outcomes])
        lock_photos(connection, results, ids)
        landmark_ids = _store_contents(connection, claim, classified)
        store_photos(connection, claim.name.job_id, results, ids)
        for step in steps:
            step.on_stored(connection, landmark_ids)
        stored = [
            StoredOutcome(each.item, outcome, each.result, _added(each.result, ids, steps))
            for each, outcome in outcomes
        ]
        return _weigh_gps(connection, claim, stored)


def _weigh_gps(connection: Connection, claim: Claim, stored: Sequence[StoredOutcome]) -> list[StoredOutcome]:
    """Let the GPS of classified photos decide about their tags; returns the outcomes as they are then."""
    located = {
        each.item.photo_id
        for each in stored
        if isinstance(each.result, Classified) and each.result.facts.latitude is not None
    }
    if not located:
        return list(stored)
    update_tags(connection, located)
    images = select(photos.c.content_id).where(photos.c.id.in_(located))
    of_items = photos.c.id.in_([each.item.photo_id for each in stored]) & photos.c.content_id.in_(images)
    columns = photos.c.id, contents.c.outcome, is_taught(contents.c.id).label("is_taught")
    query = select(*columns).join(contents, contents.c.id == photos.c.content_id).where(of_items)
    outcomes = {row.id: _stored_outcome(row) for row in connection.execute(query)}
    weighed = [_with_outcome(each, outcomes.get(each.item.photo_id)) for each in stored]
    changed = (new.outcome for old, new in zip(stored, weighed, strict=True) if new is not old)
    replace_outcomes(connection, claim, list(changed))
    return weighed


def _with_outcome(stored: StoredOutcome, outcome: Outcome | None) -> StoredOutcome:
    """The same object if the outcome is the same, or that of an item that was not classified."""
    if outcome in (None, stored.outcome.outcome) or stored.outcome.outcome not in CLASSIFIED_OUTCOMES:
        return stored
    return replace(stored, outcome=replace(stored.outcome, outcome=outcome))


def _options(claim: Claim) -> dict[str, Any]:
    return {"model_id": claim.model_id, "top_k": claim.top_k, "threshold": claim.threshold}


def _content_ids(connection: Connection, results: Iterable[ItemResult]) -> dict[str, int]:
    """The content ids of the results by digest; missing contents are inserted."""
    # Sorted, so that workers that store copies of the same images lock rows in the same order.
    values = [each.result for each in results]
    new = sorted({v.digest for v in values if isinstance(v, Classified | Failed) and v.digest is not None})
    insert_page(connection, contents, ("digest",), ((digest,) for digest in new), skip_existing=True)
    digests = {*new, *(v.digest for v in values if isinstance(v, AlreadyClassified))}
    return hold_contents(connection, digests)


def _earlier_outcomes(connection: Connection, ids: Mapping[str, int], claim: Claim) -> dict[int, Outcome]:
    """The outcomes of contents that the claim's model has classified before, with the same top-k and threshold."""
    query = select(contents.c.id, contents.c.outcome, is_taught(contents.c.id).label("is_taught")).where(
        contents.c.id.in_(ids.values()), *_IS_CLASSIFIED
    )
    rows = connection.execute(query, _options(claim)) if ids else ()
    return {row.id: _stored_outcome(row) for row in rows}


def _stored_outcome(row: Row[Any]) -> Outcome:
    """The outcome of the photos of a content, from its columns `outcome` and `is_taught`."""
    return Outcome.TAGGED if row.is_taught else Outcome(row.outcome)


def _outcome(
    each: ItemResult,
    ids: Mapping[str, int],
    earlier: Mapping[int, Outcome],
    steps: Sequence[StoreStep],
) -> ItemOutcome | None:
    """None if the item stays open."""
    position, result = each.item.position, each.result
    match result:
        case Failed():
            return ItemOutcome(position, Outcome.FAILED, result.failure.kind, result.failure.text)
        case Unchanged():
            return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
        case Classified():
            is_added = any(tag.accepted for tag in _added(result, ids, steps))
            return ItemOutcome(position, Outcome.TAGGED if is_added else _model_outcome(result))
        case AlreadyClassified():
            content_id = ids.get(result.digest)
            if content_id is None or content_id not in earlier:
                return None
            if content_id == each.item.content_id:
                return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
            return ItemOutcome(position, earlier[content_id])


def _added(result: Result, ids: Mapping[str, int], steps: Sequence[StoreStep]) -> Sequence[AddedTag]:
    """The tags that hooks add to a photo that was classified."""
    if not isinstance(result, Classified):
        return ()
    return [tag for step in steps for tag in step.tags.get(ids[result.digest], ())]


def _model_outcome(result: Classified) -> Outcome:
    is_tagged = any(prediction.accepted for prediction in result.predictions)
    return Outcome.TAGGED if is_tagged else Outcome.UNKNOWN


def _update_contents(connection: Connection, claim: Claim, classified: Mapping[int, Classified]) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "content": content_id,
            "width": result.width,
            "height": result.height,
            **_options(claim),
            "damaged": result.is_damaged,
            "colours": result.colours,
            "outcome": _model_outcome(result),
            "classified_at": now,
        }
        for content_id, result in sorted(classified.items())
    ]
    columns: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "content"}
    connection.execute(update(contents).where(contents.c.id == bindparam("content")).values(columns), rows)


def _store_contents(
    connection: Connection,
    claim: Claim,
    classified: Mapping[int, Classified],
) -> set[int]:
    """Update the classified contents and replace all their tags. Returns the accepted landmarks."""
    if not classified:
        return set()
    _update_contents(connection, claim, classified)
    connection.execute(delete(tags).where(tags.c.content_id.in_(classified)))
    # Read after the first change of tags, for which merges of landmarks wait from now on.
    landmark_ids = landmark_ids_of_labels(connection, claim.model_id)
    tag_rows = [
        (
            content_id,
            prediction.rank,
            landmark_ids[prediction.position],
            prediction.score,
            prediction.accepted,
            Doubt.DAMAGED if result.is_damaged and prediction.score >= claim.threshold else None,
            claim.model_id,
        )
        for content_id, result in classified.items()
        for prediction in result.predictions
    ]
    names = ("content_id", "rank", "landmark_id", "score", "accepted", "doubtful", "model_id")
    insert_page(connection, tags, names, tag_rows)
    return {int(row[2]) for row in tag_rows if row[4]}
