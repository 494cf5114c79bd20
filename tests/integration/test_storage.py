"""Storing results concurrently."""

import threading
from functools import partial

import pytest
from sqlalchemy import func, insert, select, update
from support.ledgers import LedgerBuilder
from support.threads import in_threads

from tagger.database.connection import Database
from tagger.database.tables import contents, photos
from tagger.jobs.processing.claimed_chunk import open_items
from tagger.jobs.processing.storage import store_results
from tagger.ledger.chunks import Claim
from tagger.library.teaching.comparison import TaughtCache
from tagger.metadata.camera import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.pipeline.requests import AlreadyClassified

pytestmark = pytest.mark.postgresql


def test_copies_of_one_failing_picture_stored_at_once_do_not_lock_each_other_out(database: Database) -> None:
    ledger = LedgerBuilder(database)
    classification = {"model_id": ledger.model_id, "top_k": 5, "threshold": 0.5, "outcome": "tagged"}
    with database.write() as connection:
        content = insert(contents).values(digest="1-c", **classification).returning(contents.c.id)
        content_id = connection.execute(content).scalar_one()
    ids = ledger.photos(64)
    for _ in range(10):
        with database.write() as connection:
            failing = {"content_id": content_id, "failure_kind": "corrupt", "failure_text": "x"}
            connection.execute(update(photos).values(**failing, failure_attempts=1))
        job = ledger.job(0, photo_ids=ids)
        barrier = threading.Barrier(2)

        def store(claimed: Claim, barrier: threading.Barrier = barrier) -> None:
            result = AlreadyClassified("1-c", PhotoVersion(1, 1), CameraFacts())
            items = open_items(database, claimed)
            for item in items:
                item.result = result
            barrier.wait()
            # Not the last item, as finishing a chunk locks the job first.
            store_results(database, claimed, items[:-1], {claimed.model_id: TaughtCache(claimed.model_id)})

        one, other = ledger.claim(job, 0), ledger.claim(job, 1)
        in_threads([partial(store, one), partial(store, other)])
        assert ledger.progress(job).skipped == 62
        with database.read() as connection:
            failure_conditions = select(func.count()).where(photos.c.failure_kind.is_not(None))
            assert connection.scalar(failure_conditions) == 0
