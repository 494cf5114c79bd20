"""Storing what was found, while others store too."""

import threading

from ledgers import LedgerOf
from sqlalchemy import func, insert, select, update
from threads import in_threads

from tagger.database import Database
from tagger.ledger.chunks import ChunkName, claim
from tagger.library import Found, open_items, store_found
from tagger.metadata.camera import CameraFacts
from tagger.results import FileState, Known
from tagger.tables import Runner, contents, photos


def test_copies_of_one_failing_picture_stored_at_once_do_not_lock_each_other_out(database: Database) -> None:
    ledger = LedgerOf(database)
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
            claimed = claim(database, ChunkName(job, number), Runner.WORKERS, "w")
            assert claimed is not None
            known = Known("1-c", FileState(1, 1), CameraFacts())
            found = [Found(item, known) for item in open_items(database, claimed)]
            together.wait()
            store_found(database, claimed, found[:-1], ())  # the end of a chunk would lock the job first

        in_threads([lambda: store(0), lambda: store(1)])
        assert ledger.progress(job).skipped == 62
        with database.read() as connection:
            failing_now = select(func.count()).where(photos.c.failure_kind.is_not(None))
            assert connection.scalar(failing_now) == 0
