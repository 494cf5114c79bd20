"""Storing results, also concurrently."""

import threading

from sqlalchemy import func, insert, select, update
from support.ledgers import LedgerBuilder
from support.threads import in_threads

from tagger.database.connection import Database
from tagger.database.tables import Runner, contents, photos
from tagger.ledger.chunks import ChunkName, claim_chunk
from tagger.metadata.camera import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.pipeline.results import AlreadyClassified
from tagger.processing.storage import ItemResult, open_items, store_results


def test_copies_of_one_failing_picture_stored_at_once_do_not_lock_each_other_out(database: Database) -> None:
    ledger = LedgerBuilder(database)
    looked = {"model_id": ledger.model_id, "top_k": 5, "threshold": 0.5, "outcome": "tagged"}
    with database.write() as connection:
        content = insert(contents).values(digest="1-c", **looked).returning(contents.c.id)
        content_id = connection.execute(content).scalar_one()
    ids = ledger.photos(64)
    for _ in range(10):
        with database.write() as connection:
            failing = {"content_id": content_id, "failure_kind": "corrupt", "failure_text": "x"}
            connection.execute(update(photos).values(**failing, failure_attempts=1))
        job = ledger.job(0, photo_ids=ids)
        together = threading.Barrier(2)

        def store(number: int, job: int = job, together: threading.Barrier = together) -> None:
            claimed = claim_chunk(database, ChunkName(job, number), Runner.WORKERS, "w")
            assert claimed is not None
            known = AlreadyClassified("1-c", PhotoVersion(1, 1), CameraFacts())
            found = [ItemResult(item, known) for item in open_items(database, claimed)]
            together.wait()
            store_results(database, claimed, found[:-1], ())  # the end of a chunk would lock the job first

        in_threads([lambda: store(0), lambda: store(1)])
        assert ledger.progress(job).skipped == 62
        with database.read() as connection:
            failure_conditions = select(func.count()).where(photos.c.failure_kind.is_not(None))
            assert connection.scalar(failure_conditions) == 0
