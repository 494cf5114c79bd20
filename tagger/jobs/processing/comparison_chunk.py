"""Compares the photos of one claimed chunk with the taught landmarks, by their stored embeddings. No photo is read.

The job is a backfill of what was taught. Knows nothing of how chunks are claimed (see executor).
"""

from collections.abc import Sequence

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.jobs.processing.claimed_chunk import ChunkEnd, ClaimedChunk, Item, open_items
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.library.catalog.settlement import outcome_of
from tagger.library.teaching.comparison import TaughtCache, compare_images, mark_applied

NO_EMBEDDING = "its image has no embedding of the job's model"
"""The reason of a skipped item."""


def compare_chunk(chunk: ClaimedChunk) -> ChunkEnd:
    """Compare the photos of a chunk, and store their taught tags and outcomes in one transaction.

    What is applied to all images is marked after it: of two chunks that are stored at once, neither sees the other's images in
    its own transaction.

    Raises:
        LeaseLost: another worker took the chunk over.
    """
    taught = TaughtCache(chunk.claim.model_id)
    if chunk.stop.is_set():
        return ChunkEnd.RELEASED
    chunk.check_lease()
    items = chunk.with_retry(lambda: open_items(chunk.database, chunk.claim))
    if not items:
        return ChunkEnd.DONE
    outcomes = chunk.with_retry(lambda: _store(chunk.database, chunk.claim, items, taught))

    def mark() -> None:
        with chunk.database.write() as connection:
            mark_applied(connection, chunk.claim.model_id)

    chunk.with_retry(mark)
    for item, outcome in zip(items, outcomes, strict=True):
        item.result, item.outcome = "", outcome
    chunk.report(items)
    return ChunkEnd.DONE


def _store(database: Database, claim: Claim, items: Sequence[Item], taught: TaughtCache) -> list[ItemOutcome]:
    content_ids = {item.content_id for item in items if item.content_id is not None}
    outcomes = []
    with database.write() as connection:
        settled = compare_images(connection, claim.model_id, content_ids, taught)
        for item in items:
            if item.content_id is None or item.content_id not in settled:
                outcomes.append(ItemOutcome(item.position, Outcome.SKIPPED, NO_EMBEDDING))
            else:
                outcomes.append(ItemOutcome(item.position, outcome_of(settled[item.content_id])))
        store_outcomes(connection, claim, outcomes)
    return outcomes
