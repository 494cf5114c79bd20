"""Stores the results of a chunk in one transaction: tags, embeddings, taught tags, outcomes and events.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is
in query.

The transactions of workers take their locks in this order, so that no two wait for each other:

1. images, by id, against deletion (`_find_images`)
2. what is taught for each model, by its id, against changes (`_compare`)
3. the chunk, then its items by position (`store_outcomes`)
4. photos, by id (`lock_photos`)
5. images, by id, with what belongs to them (`_store_contents`), then the models in use (`settle`)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    insert,
    or_,
    select,
    true,
    update,
)

from tagger.database.connection import Database
from tagger.database.enums import CLASSIFIED_OUTCOMES, Outcome
from tagger.database.events import has_receivers, record_event
from tagger.database.statements import among, ids_parameter, insert_page
from tagger.database.tables import (
    classifications,
    contents,
    effective_tags,
    embeddings,
    job_items,
    jobs,
    landmarks,
    tags,
    taught_tags,
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
from tagger.tags.contents import (
    delete_of_model,
    delete_unused,
    is_classified_by_all,
    lock_contents_shared,
)
from tagger.tags.models_in_use import ids_in_use
from tagger.tags.rule import EffectiveTag
from tagger.tags.settlement import begin_change, outcome_of, settle
from tagger.teaching.comparison import BatchComparison, TaughtCache


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
        comparisons = _compare(connection, claim, classified, taught)
        events = _LandmarkEvents(connection, claim.name.job_id, classified)
        stored = _with_outcomes(connection, claim, items)
        counted = store_outcomes(connection, claim, [item.outcome for item in stored])
        forgotten = lock_photos(connection, items)
        taken_over = photos_taken_over(connection, items)
        # All at once, so that workers lock images in one order.
        begin_change(connection, {*classified, *(item.image_id for item, _ in taken_over)})
        _store_contents(connection, claim, classified)
        store_photos(connection, claim.name.job_id, items, taken_over)
        for comparison in comparisons:
            comparison.store(connection)
        weigh_positions(connection, _located(items))
        settled = settle(connection, classified, record=False)  # the photos are recorded already
        events.record(connection, settled)
        changed = _last_outcomes(stored, settled, forgotten)
        # If the reply to a commit was lost, the batch is stored again, and none of it counts.
        replace_outcomes(connection, claim, [each for each in changed if each[1].position in counted])
        if replaced := _replaced(items):
            follow_images(connection, among(job_items.c.photo_id, replaced))
        delete_unused(connection, {item.image_id for item in forgotten})
        return stored


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
) -> list[BatchComparison]:
    """Compare the embeddings of the contents that each model has classified now with what it was taught."""
    comparisons = []
    for model_id in sorted(claim.thresholds):
        results = {key: each.results.get(model_id) for key, each in classified.items()}
        found = {key: result.embedding for key, result in results.items() if result is not None}
        comparisons.append(BatchComparison(connection, taught[model_id], found))
    return comparisons


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
            return ItemOutcome(position, _model_outcome(result))
        case AlreadyClassified() if earlier is not None:
            if item.image_id == item.content_id:
                return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
            return ItemOutcome(position, earlier)
        case _:
            return None


def _model_outcome(result: Classified) -> Outcome:
    is_tagged = any(tag.accepted for each in result.results.values() for tag in each.predictions)
    return Outcome.TAGGED if is_tagged else Outcome.UNKNOWN


def _store_contents(connection: Connection, claim: Claim, classified: Mapping[int, Classified]) -> None:
    """Update the classified contents and replace their tags of the models that classified them.

    The results of other models stay. If none of the job's models is in use, those from before the job go.
    """
    if classified and claim.thresholds.keys().isdisjoint(chain.from_iterable(ids_in_use(connection))):
        recorded_at = select(jobs.c.created_at).where(jobs.c.id == claim.name.job_id).scalar_subquery()
        at = contents.c.classified_at  # null: before 2.1, by a model that was not the last one
        is_earlier = among(contents.c.id, classified), or_(at.is_(None), at < recorded_at)
        earlier = connection.scalars(select(contents.c.id).where(*is_earlier)).all()
        for table in (classifications, embeddings, taught_tags, tags):
            connection.execute(delete(table).where(among(table.c.content_id, earlier)))
        connection.execute(update(contents).where(among(contents.c.id, earlier)).values(model_id=None))
    # The first of the models is the last one that is stored.
    for model_id in reversed(list(claim.thresholds)):
        own = {key: result for key, result in classified.items() if model_id in result.results}
        if own:
            _keep_earlier(connection, own, model_id)
            _update_contents(connection, claim, model_id, own)
            _store_tags(connection, model_id, claim.thresholds[model_id], own)


def _keep_earlier(connection: Connection, content_ids: Collection[int], model_id: int) -> None:
    """Record the last classifications of contents, which one by this model follows."""
    delete_of_model(connection, classifications, content_ids, model_id)
    connection.execute(_INSERT_EARLIER, {"ids": list(content_ids), "model": model_id})


# Built once: they run for each batch of photos, and to build them takes longer than to run them.
_EARLIER = ("model_id", "top_k", "threshold", "classified_at")
_INSERT_EARLIER = insert(classifications).from_select(
    ("content_id", *_EARLIER),
    select(contents.c.id, *(contents.c[name] for name in _EARLIER)).where(
        among(contents.c.id, ids_parameter("ids")), contents.c.model_id != bindparam("model")
    ),
)
_UPDATE_CONTENT = update(contents).where(contents.c.id == bindparam("content"))


def _update_contents(
    connection: Connection, claim: Claim, model_id: int, classified: Mapping[int, Classified]
) -> None:
    now = datetime.now(UTC)
    rows = [
        {
            "content": content_id,
            "width": result.width,
            "height": result.height,
            "model_id": model_id,
            "top_k": claim.top_k,
            "threshold": claim.thresholds[model_id],
            "damaged": result.is_damaged,
            "colours": result.colours,
            "outcome": _model_outcome(result),
            "classified_at": now,
        }
        for content_id, result in sorted(classified.items())
    ]
    connection.execute(_UPDATE_CONTENT, rows)


def _store_tags(
    connection: Connection, model_id: int, threshold: float, classified: Mapping[int, Classified]
) -> None:
    delete_of_model(connection, tags, classified, model_id)
    # Read after the first change of tags, for which merges of landmarks wait from now on.
    found = {each.position for result in classified.values() for each in result.results[model_id].predictions}
    landmark_ids = landmark_ids_of_labels(connection, model_id, found)
    tag_rows = [
        (
            content_id,
            prediction.rank,
            landmark_ids[prediction.position],
            prediction.score,
            prediction.score >= threshold,
            model_id,
        )
        for content_id, result in classified.items()
        for prediction in result.results[model_id].predictions
    ]
    names = ("content_id", "rank", "landmark_id", "score", "enough", "model_id")
    insert_page(connection, tags, names, tag_rows)


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
        self._before: set[int] | None = None
        """The landmarks of these contents before they change. None: nobody receives such events."""
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
