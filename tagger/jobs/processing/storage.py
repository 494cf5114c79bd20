"""Stores the results of a chunk in one transaction: tags, embeddings, taught tags, outcomes and events.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is
in query.

The transactions of workers take their locks in this order, so that no two wait for each other:

1. images, by id, against deletion (`_find_images`)
2. what is taught for each model, by its id, against changes (`_compare`)
3. the chunk, then its items by position (`store_outcomes`)
4. photos, by id (`lock_photos`)
5. images, by id, with what belongs to them (`store_classifications`), then the models in use (`settle`)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    select,
    true,
)

from tagger.database.connection import Database
from tagger.database.enums import CLASSIFIED_OUTCOMES, Outcome
from tagger.database.events import has_receivers, record_event
from tagger.database.statements import among, insert_page
from tagger.database.tables import (
    contents,
    effective_tags,
    job_items,
    landmarks,
)
from tagger.extensions import Event
from tagger.jobs.processing.chunk_items import (
    REMOVED,
    Item,
    classified_contents,
    lock_photos,
    photos_taken_over,
    store_photos,
)
from tagger.ledger.chunks import Claim, ItemOutcome, replace_outcomes, store_outcomes
from tagger.ledger.items import CLASSIFIED_BEFORE
from tagger.ledger.outcomes import follow_images
from tagger.pipeline.requests import AlreadyClassified, Classified, Failed, Unchanged
from tagger.positions.tag_odds import weigh_positions
from tagger.registry.registration import landmark_ids_of_labels
from tagger.tags.causes import ComparedBatch, hold_landmarks, store_classifications, store_things
from tagger.tags.contents import delete_unused, is_classified_by_all, lock_contents, lock_contents_shared
from tagger.tags.rule import EffectiveTag
from tagger.tags.settlement import EffectiveTags, outcome_of, settle
from tagger.teaching.comparison import TaughtCache, compare_batch
from tagger.things import things_of_labels


def store_results(
    database: Database, claim: Claim, items: Sequence[Item], taught: Mapping[int, TaughtCache]
) -> list[Item]:
    """Store items with a result, and what follows, in one transaction under the claim's token.

    `taught`: what is taught for the claim's models. Returns the stored items. One whose image was classified
    when it was read, but is not any more, stays open.

    Raises:
        LeaseLost: the chunk was taken over; nothing was stored.
    """
    with database.write() as connection:
        _find_images(connection, items)
        classified = classified_contents(items)
        compared = _compare(connection, claim, classified, taught)
        events = _LandmarkEvents(connection, claim.name.job_id, classified)
        stored = _with_outcomes(connection, claim, items)
        counted = store_outcomes(connection, claim, [item.outcome for item in stored])
        forgotten = lock_photos(connection, items)
        taken_over = photos_taken_over(connection, items)
        # All at once, so that workers lock images in one order.
        lock_contents(connection, {*classified, *(item.image_id for item, _ in taken_over)})
        store_photos(connection, claim.name.job_id, items, taken_over)
        settled = _store_classified(connection, claim, classified, compared)
        settled |= weigh_positions(connection, _located(items))
        events.record(connection, settled)
        changed = _last_outcomes(stored, settled, forgotten)
        # If the reply to a commit was lost, the batch is stored again, and none of it counts.
        replace_outcomes(connection, claim, [each for each in changed if each[1].position in counted])
        if replaced := _replaced(items):
            follow_images(connection, among(job_items.c.photo_id, replaced))
        delete_unused(connection, {item.image_id for item in forgotten})
        return stored


def _store_classified(
    connection: Connection,
    claim: Claim,
    classified: Mapping[int, Classified],
    compared: Mapping[int, ComparedBatch],
) -> EffectiveTags:
    """Store what the claim's models say of images. Returns the landmarks that follow, by content id."""
    things = things_of_labels(connection, claim.thresholds)
    store_things(connection, claim, classified, things)
    of_landmarks = claim.thresholds.keys() - things.keys()
    if not of_landmarks:
        return settle(connection, classified, record=False)
    landmark_ids = _landmark_ids(connection, classified)
    return store_classifications(
        connection, claim.of_models(of_landmarks), classified, landmark_ids, compared
    )


def _find_images(connection: Connection, items: Sequence[Item]) -> None:
    """Set the image of each item that was read. New images are inserted."""
    digests = {item.position: getattr(item.result, "digest", None) for item in items}
    is_new = {item.position: isinstance(item.result, Classified | Failed) for item in items}
    # Sorted, so that workers that store copies of the same images lock rows in the same order.
    new = sorted({digest for position, digest in digests.items() if digest and is_new[position]})
    insert_page(connection, contents, ("digest",), ((digest,) for digest in new), skip_existing=True)
    ids = lock_contents_shared(connection, {digest for digest in digests.values() if digest})
    for item in items:
        item.image_id = ids.get(digests[item.position] or "", 0)


def _compare(
    connection: Connection,
    claim: Claim,
    classified: Mapping[int, Classified],
    taught: Mapping[int, TaughtCache],
) -> Mapping[int, ComparedBatch]:
    """Compare the embeddings of the contents that each model has classified now with what it was taught."""
    compared = {}
    for model_id in sorted(claim.thresholds):
        results = {key: each.results.get(model_id) for key, each in classified.items()}
        found = {key: result.embedding for key, result in results.items() if result is not None}
        compared[model_id] = compare_batch(connection, taught[model_id], found)
    return compared


def _landmark_ids(
    connection: Connection, classified: Mapping[int, Classified]
) -> Mapping[int, Mapping[int, int]]:
    """The landmark ids of the predicted labels of each model, by their positions in its scores."""
    found: dict[int, set[int]] = {}
    for result in classified.values():
        for model_id, each in result.results.items():
            found.setdefault(model_id, set()).update(label.position for label in each.predictions)
    hold_landmarks(connection)
    return {key: landmark_ids_of_labels(connection, key, positions) for key, positions in found.items()}


def _with_outcomes(connection: Connection, claim: Claim, items: Sequence[Item]) -> list[Item]:
    """The items that get an outcome, with it. It may change when their images are settled."""
    earlier = _earlier_outcomes(connection, claim, items)
    stored = []
    for item in items:
        if (outcome := _outcome(item, earlier.get(item.image_id))) is not None:
            item.outcome = outcome
            stored.append(item)
    return stored


def _earlier_outcomes(connection: Connection, claim: Claim, items: Sequence[Item]) -> dict[int, Outcome]:
    """The outcomes of known contents that the claim's models have classified with the same options."""
    known = {item.image_id for item in items if isinstance(item.result, AlreadyClassified)}
    query = select(contents.c.id, contents.c.outcome).where(
        among(contents.c.id, known),
        contents.c.outcome.is_not(None),
        is_classified_by_all(claim.thresholds, claim.top_k),
    )
    rows = connection.execute(query) if known else ()
    return {row.id: Outcome(row.outcome) for row in rows}


def _outcome(item: Item, earlier: Outcome | None) -> ItemOutcome | None:
    """None if the item stays open. `earlier`: that of an image that was classified before."""
    position, result = item.position, item.result
    match result:
        case Failed():
            return ItemOutcome(position, Outcome.FAILED, result.failure.kind, result.failure.text)
        case Unchanged():
            return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
        case Classified():
            return ItemOutcome(position, Outcome.TAGGED if result.is_tagged else Outcome.UNKNOWN)
        case AlreadyClassified() if earlier is not None:
            if item.image_id == item.content_id:
                return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
            return ItemOutcome(position, earlier)
        case _:
            return None


def _replaced(items: Sequence[Item]) -> set[int]:
    """The ids of photos that have another image than in earlier jobs."""
    return {item.photo_id for item in items if item.image_id and item.content_id not in (None, item.image_id)}


def _located(items: Sequence[Item]) -> set[int]:
    """The ids of classified photos whose files state a position."""
    return {
        item.photo_id
        for item in items
        if isinstance(item.result, Classified)
        if item.result.facts.latitude is not None
        or any(stated.latitude is not None for _, stated in item.side_facts)
    }


def _last_outcomes(
    stored: Sequence[Item], settled: Mapping[int, Sequence[EffectiveTag]], forgotten: Collection[Item]
) -> Sequence[tuple[Outcome, ItemOutcome]]:
    """Set effective tags of items that were classified now. Returns changed outcomes, each after its old."""
    changed = []
    for item in stored:
        before = item.outcome
        if item in forgotten:
            item.outcome = ItemOutcome(item.position, Outcome.SKIPPED, REMOVED)
        elif item.image_id in settled and before.outcome in CLASSIFIED_OUTCOMES:
            item.tags = settled[item.image_id]
            item.outcome = replace(before, outcome=outcome_of(item.tags))
        if item.outcome != before:
            changed.append((before.outcome, item.outcome))
    return changed


class _LandmarkEvents:
    """Records which landmarks have their first photo."""

    def __init__(self, connection: Connection, job_id: int, content_ids: Collection[int]) -> None:
        self._job_id = job_id
        self._content_ids = content_ids
        # The landmarks of these contents before they change. None: nobody receives such events.
        self._before: set[int] | None = None
        if has_receivers(connection, Event.LANDMARK_FOUND):
            self._before = set(
                connection.scalars(_landmarks(among(effective_tags.c.content_id, content_ids)))
            )

    def record(self, connection: Connection, settled: Mapping[int, Sequence[EffectiveTag]]) -> None:
        """Record those landmarks that had no photo before this transaction."""
        if self._before is None:
            return
        found = {tag.landmark_id for tags in settled.values() for tag in tags if tag.is_accepted}
        is_other = effective_tags.c.content_id.not_in(self._content_ids)
        for landmark_id in sorted(found - self._before):
            others = _landmarks(effective_tags.c.landmark_id == landmark_id, is_other)
            if connection.execute(others.limit(1)).first() is None:
                _record_first(connection, landmark_id, self._job_id)


def _landmarks(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return select(effective_tags.c.landmark_id).where(effective_tags.c.accepted == true(), *conditions)


def _record_first(connection: Connection, landmark_id: int, job_id: int) -> None:
    landmark = connection.execute(
        select(landmarks.c.slug, landmarks.c.name).where(landmarks.c.id == landmark_id)
    ).one()
    data = {"landmark": landmark.slug, "name": landmark.name, "job": job_id}
    record_event(connection, Event.LANDMARK_FOUND, landmark.slug, data)
