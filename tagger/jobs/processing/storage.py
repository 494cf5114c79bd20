"""Stores the results of a chunk in one transaction: what was read, what models say, what counts of it.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is
in query.

The transactions of workers take their locks in this order, so that no two wait for each other:

1. images, by id, against deletion (`_find_images`)
2. what is taught for each model, by its id, against changes (`_compare`)
3. the chunk (`renew_lease`)
4. photos, by id (`lock_photos`)
5. images, by id, with what belongs to them (`lock_contents`), then the models in use (`settle`)
6. items, by position (`store_outcomes`)
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    select,
    true,
)

from tagger.database.connection import Database, has_receivers, record_event
from tagger.database.enums import Outcome
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
from tagger.ledger.chunks import Claim, ItemOutcome, renew_lease, store_outcomes
from tagger.ledger.items import CLASSIFIED_BEFORE
from tagger.ledger.jobs import follow_images
from tagger.pipeline.requests import AlreadyClassified, Classified, Failed
from tagger.positions.tag_odds import weigh_images
from tagger.registry.registration import landmark_ids_of_labels
from tagger.tags.causes import ComparedBatch, hold_landmarks, store_classifications, store_things
from tagger.tags.contents import (
    delete_unused,
    is_classified_by_all,
    lock_contents,
    lock_contents_shared,
)
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
        renew_lease(connection, claim)
        forgotten = lock_photos(connection, items)
        taken_over = photos_taken_over(connection, items)
        # All at once, so that workers lock images in one order.
        lock_contents(connection, {*classified, *(item.image_id for item, _ in taken_over)})
        is_announced = has_receivers(connection, Event.LANDMARK_FOUND)
        known_landmarks: set[int] = set()
        if is_announced:
            before = _landmarks(among(effective_tags.c.content_id, classified))
            known_landmarks.update(connection.scalars(before))

        # Store what was read, and what the models say of it.
        store_photos(connection, claim.name.job_id, items, taken_over)
        things = things_of_labels(connection, claim.thresholds)
        store_things(connection, claim, classified, things)
        of_landmarks = claim.thresholds.keys() - things.keys()
        if of_landmarks:
            hold_landmarks(connection)
            landmark_ids = {
                model_id: landmark_ids_of_labels(
                    connection, model_id, _labels(classified, model_id)
                )
                for model_id in of_landmarks
            }
            own_claim = claim.of_models(of_landmarks)
            store_classifications(connection, own_claim, classified, landmark_ids, compared)

        # Weigh it with the photos' own positions. What others say follows when more of them are stored.
        weigh_images(connection, classified, own_alone=True)

        # Settle what counts. The photos are recorded already.
        settled = settle(connection, classified, record=False)
        if is_announced:
            _record_new_landmarks(connection, claim.name.job_id, settled, known_landmarks)

        stored = _set_outcomes(connection, claim, items, forgotten, settled)
        store_outcomes(connection, claim, [item.outcome for item in stored])
        # Photos that have another image than in earlier jobs.
        replaced = {
            item.photo_id
            for item in items
            if item.image_id and item.content_id not in (None, item.image_id)
        }
        if replaced:
            follow_images(connection, among(job_items.c.photo_id, replaced))
        delete_unused(connection, {item.image_id for item in forgotten})
        return stored


def _find_images(connection: Connection, items: Sequence[Item]) -> None:
    """Set the image of each item that was read. New images are inserted."""
    digests = {item.position: getattr(item.result, "digest", None) for item in items}
    is_new = {item.position: isinstance(item.result, Classified | Failed) for item in items}
    # Sorted, so that workers that store copies of the same images lock rows in the same order.
    new = sorted({digest for position, digest in digests.items() if digest and is_new[position]})
    insert_page(
        connection, contents, ("digest",), ((digest,) for digest in new), skip_existing=True
    )
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


def _labels(classified: Mapping[int, Classified], model_id: int) -> set[int]:
    """The predicted labels of a model, by their positions in its scores."""
    results = (each.results[model_id] for each in classified.values() if model_id in each.results)
    return {prediction.position for result in results for prediction in result.predictions}


def _set_outcomes(
    connection: Connection,
    claim: Claim,
    items: Sequence[Item],
    forgotten: Collection[Item],
    settled: EffectiveTags,
) -> list[Item]:
    """Set the outcomes of items and the effective tags of their images. Returns those that get an outcome."""
    # Images that were known when they were read, and that the claim's models have classified alike.
    known = {item.image_id for item in items if isinstance(item.result, AlreadyClassified)}
    query = select(contents.c.id, contents.c.outcome).where(
        among(contents.c.id, known),
        contents.c.outcome.is_not(None),
        is_classified_by_all(claim.thresholds, claim.top_k),
    )
    earlier = {row.id: Outcome(row.outcome) for row in connection.execute(query)} if known else {}
    stored = []
    for item in items:
        position, result = item.position, item.result
        outcome = ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
        match result:
            case _ if item in forgotten:
                outcome = ItemOutcome(position, Outcome.SKIPPED, REMOVED)
            case Failed():
                outcome = ItemOutcome(
                    position, Outcome.FAILED, result.failure.kind, result.failure.text
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
    """Record the landmarks that have their first photo. `known`: those of these images before."""
    shown = {tag.landmark_id for tags in settled.values() for tag in tags if tag.is_accepted}
    is_other = ~among(effective_tags.c.content_id, settled)
    for landmark_id in sorted(shown.difference(known)):
        others = _landmarks(effective_tags.c.landmark_id == landmark_id, is_other)
        if connection.execute(others.limit(1)).first() is None:
            query = select(landmarks.c.slug, landmarks.c.name).where(landmarks.c.id == landmark_id)
            landmark = connection.execute(query).one()
            data = {"landmark": landmark.slug, "name": landmark.name, "job": job_id}
            record_event(connection, Event.LANDMARK_FOUND, landmark.slug, data)


def _landmarks(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return select(effective_tags.c.landmark_id).where(
        effective_tags.c.accepted == true(), *conditions
    )
