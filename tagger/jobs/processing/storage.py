"""Stores the results of a chunk: tags, embeddings, taught tags and outcomes, and the event of a landmark's first photo, in one transaction.

A photo is a file; its content is the image, shared by all copies. Jobs and items are in ledger, searching is in query.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    insert,
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
    jobs,
    landmarks,
    tags,
    taught_tags,
)
from tagger.extensions import Event
from tagger.jobs.processing.claimed_chunk import Item
from tagger.jobs.processing.stored_photos import classified_contents, lock_photos, store_photos
from tagger.ledger.chunks import Claim, ItemOutcome, replace_outcomes, store_outcomes
from tagger.ledger.items import CLASSIFIED_BEFORE
from tagger.library.acceptance import EffectiveTag
from tagger.library.catalog.contents import (
    delete_of_model,
    is_classified_by,
    is_classified_by_all,
    lock_contents_shared,
)
from tagger.library.catalog.models_in_use import ids_in_use
from tagger.library.catalog.registration import landmark_ids_of_labels
from tagger.library.catalog.settlement import begin_change, outcome_of, settle
from tagger.library.positions.tag_odds import weigh_positions
from tagger.library.teaching.comparison import BatchComparison, TaughtCache
from tagger.model.backends.protocol import Embeddings
from tagger.pipeline.requests import (
    AlreadyClassified,
    Classified,
    Failed,
    Result,
    Unchanged,
)


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


# Built once: it runs for each photo, and to build it takes twice as long as to run it.
_FIND_CLASSIFIED = select(contents.c.id).where(
    contents.c.digest == bindparam("digest"),
    contents.c.outcome.is_not(None),
    is_classified_by(
        bindparam("model_id"), ("top_k", bindparam("top_k")), ("threshold", bindparam("threshold"))
    ),
)
"""With parameters from `_options`."""


def lacking_models(database: Database, claim: Claim, digest: str) -> Sequence[int]:
    """The claim's models that have not classified the image, with the same top-k and threshold."""
    with database.read(in_transaction=False) as connection:
        return [
            model_id
            for model_id in claim.thresholds
            if connection.scalar(_FIND_CLASSIFIED, _options(claim, model_id) | {"digest": digest}) is None
        ]


def store_results(
    database: Database, claim: Claim, items: Sequence[Item], taught: Mapping[int, TaughtCache]
) -> list[Item]:
    """Store contents, tags, photos, outcomes and counts of items with a result in one transaction, under the claim's token.

    `taught`: what is taught for the claim's models, by their ids. Returns the items that were stored. An image that was already classified when it was read, but is not
    any more, stays open and is classified again.

    Raises:
        LeaseLost: the chunk was taken over; nothing was stored.
    """
    with database.write() as connection:
        ids = _content_ids(connection, items)
        classified = classified_contents(items, ids)
        comparisons = [
            BatchComparison(connection, taught[model_id], _embeddings(classified, model_id))
            for model_id in sorted(claim.thresholds)
        ]
        events = _LandmarkEvents(connection, claim.name.job_id, classified)
        earlier = _earlier_outcomes(connection, items, ids, claim)
        outcomes = {
            item.position: outcome for item in items if (outcome := _outcome(item, ids, earlier)) is not None
        }
        store_outcomes(connection, claim, list(outcomes.values()))
        lock_photos(connection, items, ids)
        begin_change(connection, classified)
        _store_contents(connection, claim, classified)
        store_photos(connection, claim.name.job_id, items, ids)
        for comparison in comparisons:
            comparison.store(connection)
        weigh_positions(connection, _located(items))
        # The photos are recorded already.
        settled = settle(connection, classified, record=False)
        events.record(connection, settled)
        stored = [item for item in items if item.position in outcomes]
        for item in stored:
            _settle_item(item, outcomes[item.position], settled.get(_content_id(item.result, ids)))
        changed = (item.outcome for item in stored if item.outcome != outcomes[item.position])
        replace_outcomes(connection, claim, list(changed))
        return stored


def _embeddings(classified: Mapping[int, Classified], model_id: int) -> dict[int, Embeddings | None]:
    """The embeddings of the contents that the model has classified now."""
    return {
        content_id: result.results[model_id].embedding
        for content_id, result in classified.items()
        if model_id in result.results
    }


def _located(items: Sequence[Item]) -> set[int]:
    """The ids of classified photos whose files state a position."""
    return {
        item.photo_id
        for item in items
        if isinstance(item.result, Classified)
        if item.result.facts.latitude is not None or any(stated.position for _, stated in item.side_facts)
    }


def _content_id(result: Result | str, ids: Mapping[str, int]) -> int:
    """The content of a photo that was classified, now or before; 0: it was not."""
    return ids[result.digest] if isinstance(result, Classified | AlreadyClassified) else 0


def _settle_item(item: Item, outcome: ItemOutcome, tags: Sequence[EffectiveTag] | None) -> None:
    """Set the outcome of an item, which the effective tags of its image decide if that was classified now."""
    if tags is not None and outcome.outcome in CLASSIFIED_OUTCOMES and outcome.outcome != outcome_of(tags):
        outcome = replace(outcome, outcome=outcome_of(tags))
    item.outcome, item.tags = outcome, tags or ()


def _options(claim: Claim, model_id: int) -> dict[str, Any]:
    return {"model_id": model_id, "top_k": claim.top_k, "threshold": claim.thresholds[model_id]}


def _content_ids(connection: Connection, items: Iterable[Item]) -> dict[str, int]:
    """The content ids of the results by digest; missing contents are inserted."""
    # Sorted, so that workers that store copies of the same images lock rows in the same order.
    values = [item.result for item in items]
    new = sorted({v.digest for v in values if isinstance(v, Classified | Failed) and v.digest is not None})
    insert_page(connection, contents, ("digest",), ((digest,) for digest in new), skip_existing=True)
    digests = {*new, *(v.digest for v in values if isinstance(v, AlreadyClassified))}
    return lock_contents_shared(connection, digests)


def _earlier_outcomes(
    connection: Connection, items: Sequence[Item], ids: Mapping[str, int], claim: Claim
) -> dict[int, Outcome]:
    """The outcomes of contents that were known when they were read, and that the claim's models have classified with the same options."""
    digests = {item.result.digest for item in items if isinstance(item.result, AlreadyClassified)}
    known = [ids[digest] for digest in digests if digest in ids]
    query = select(contents.c.id, contents.c.outcome).where(
        among(contents.c.id, known),
        contents.c.outcome.is_not(None),
        is_classified_by_all(claim.thresholds, claim.top_k),
    )
    rows = connection.execute(query) if known else ()
    return {row.id: Outcome(row.outcome) for row in rows}


def _outcome(item: Item, ids: Mapping[str, int], earlier: Mapping[int, Outcome]) -> ItemOutcome | None:
    """None if the item stays open. That of a photo that was classified is the model's, and may change when its image is settled."""
    position, result = item.position, item.result
    match result:
        case Failed():
            return ItemOutcome(position, Outcome.FAILED, result.failure.kind, result.failure.text)
        case Unchanged():
            return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
        case Classified():
            return ItemOutcome(position, _model_outcome(result))
        case AlreadyClassified() if (content_id := ids.get(result.digest, 0)) in earlier:
            if content_id == item.content_id:
                return ItemOutcome(position, Outcome.SKIPPED, CLASSIFIED_BEFORE)
            return ItemOutcome(position, earlier[content_id])
        case _:
            return None


def _model_outcome(result: Classified) -> Outcome:
    is_tagged = any(tag.accepted for each in result.results.values() for tag in each.predictions)
    return Outcome.TAGGED if is_tagged else Outcome.UNKNOWN


def _keep_earlier(connection: Connection, content_ids: Collection[int], model_id: int) -> None:
    """Record the last classifications of contents, which one by this model follows."""
    delete_of_model(connection, classifications, content_ids, model_id)
    connection.execute(_INSERT_EARLIER, {"ids": list(content_ids), "model": model_id})


# Built once: they run for each batch of photos, and to build them takes longer than to run them.
_INSERT_EARLIER = insert(classifications).from_select(
    ("content_id", "model_id", "top_k", "threshold"),
    select(contents.c.id, contents.c.model_id, contents.c.top_k, contents.c.threshold).where(
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
            **_options(claim, model_id),
            "damaged": result.is_damaged,
            "colours": result.colours,
            "outcome": _model_outcome(result),
            "classified_at": now,
        }
        for content_id, result in sorted(classified.items())
    ]
    connection.execute(_UPDATE_CONTENT, rows)


def _store_contents(
    connection: Connection,
    claim: Claim,
    classified: Mapping[int, Classified],
) -> None:
    """Update the classified contents and replace their tags of the models that classified them.

    The results of other models stay. If none of the job's models is in use, those from before the job go: then those of the last model
    count. Later ones are of models that were put in use meanwhile.
    """
    if classified and claim.thresholds.keys().isdisjoint(chain.from_iterable(ids_in_use(connection))):
        recorded_at = select(jobs.c.created_at).where(jobs.c.id == claim.name.job_id).scalar_subquery()
        is_earlier = among(contents.c.id, classified), contents.c.classified_at < recorded_at
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
