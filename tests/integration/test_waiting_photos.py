"""How much waits for workers, as an autoscaler reads it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import Outcome, Runner
from tagger.database.tables import jobs
from tagger.jobs.enqueue.job_json import waiting_photos
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import pause
from tagger.ledger.progress import list_jobs


@pytest.mark.postgresql
def test_photos_of_jobs_that_workers_may_process_wait(database: Database) -> None:
    ledger = LedgerBuilder(database)
    assert waiting_photos(list_jobs(database), datetime.now(UTC)) == (0, None)
    ledger.job(5, runner=Runner.LOCAL)
    first, second = ledger.job(200), ledger.job(100)
    with database.write() as connection:
        made_at = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(jobs).where(jobs.c.id == first).values(created_at=made_at))
    waiting, oldest_s = waiting_photos(list_jobs(database), datetime.now(UTC))
    assert waiting == 300
    assert oldest_s == pytest.approx(3600, abs=300)

    claim = claim_next_chunk(database, first, Runner.WORKERS, "w")
    assert claim is not None
    claimed = claim.last - claim.first + 1
    assert waiting_photos(list_jobs(database), datetime.now(UTC))[0] == 300 - claimed
    ledger.store(claim, Outcome.TAGGED)
    pause(database, first)
    waiting, oldest_s = waiting_photos(list_jobs(database), datetime.now(UTC))
    assert waiting == 100
    assert oldest_s is not None
    assert oldest_s < 3000
    pause(database, second)
    assert waiting_photos(list_jobs(database), datetime.now(UTC)) == (0, None)
