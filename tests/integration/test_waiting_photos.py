"""How much waits for workers, as an autoscaler reads it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import Outcome, Runner
from tagger.database.tables import jobs
from tagger.jobs.enqueue.documents import waiting_document
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import pause
from tagger.ledger.progress import list_jobs


@pytest.mark.postgresql
def test_photos_of_jobs_that_workers_may_process_wait(database: Database) -> None:
    ledger = LedgerBuilder(database)
    assert waiting_document(list_jobs(database), datetime.now(UTC)) == {
        "waiting_photos": 0,
        "oldest_waiting_s": None,
    }
    ledger.job(5, runner=Runner.LOCAL)
    first, second = ledger.job(200), ledger.job(100)
    with database.write() as connection:
        made_at = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(jobs).where(jobs.c.id == first).values(created_at=made_at))
    waiting = waiting_document(list_jobs(database), datetime.now(UTC))
    assert waiting["waiting_photos"] == 300
    assert waiting["oldest_waiting_s"] == pytest.approx(3600, abs=300)

    claim = claim_next_chunk(database, first, Runner.WORKERS, "w")
    assert claim is not None
    claimed = claim.last - claim.first + 1
    assert waiting_document(list_jobs(database), datetime.now(UTC))["waiting_photos"] == 300 - claimed
    ledger.store(claim, Outcome.TAGGED)
    pause(database, first)
    waiting = waiting_document(list_jobs(database), datetime.now(UTC))
    assert waiting["waiting_photos"] == 100
    assert waiting["oldest_waiting_s"] < 3000
    pause(database, second)
    assert waiting_document(list_jobs(database), datetime.now(UTC)) == {
        "waiting_photos": 0,
        "oldest_waiting_s": None,
    }
