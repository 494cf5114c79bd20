"""Items of old jobs are removed in pages; what they led to stays."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import JobState, Outcome, Runner
from tagger.database.tables import job_items, jobs
from tagger.ledger import job_control
from tagger.ledger.job_control import count_old_items, remove_old_items
from tagger.ledger.jobs import NewJob, create_job
from tagger.ledger.progress import find_job
from tagger.transfer.integrity import found_problems, job_problems

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
CUTOFF = datetime.now(UTC) - timedelta(days=90)


@pytest.fixture
def ledger(database: Database, monkeypatch: pytest.MonkeyPatch) -> LedgerBuilder:
    monkeypatch.setattr(job_control, "PAGE", 20)
    return LedgerBuilder(database)


def old_job(ledger: LedgerBuilder, count: int) -> int:
    job = ledger.job(count)
    for chunk in range((count + 31) // 32):
        ledger.store(ledger.claim(job, chunk), Outcome.TAGGED)
    with ledger.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(finished_at=LONG_AGO))
    return job


def positions(database: Database, job: int) -> list[int]:
    with database.read() as connection:
        query = select(job_items.c.position).where(job_items.c.job_id == job)
        return list(connection.scalars(query.order_by(job_items.c.position)))


def problems(database: Database) -> list[str]:
    with database.read() as connection:
        return list(found_problems(connection, *job_problems()))


@pytest.mark.postgresql
def test_items_are_removed_in_pages_and_the_counts_stay(ledger: LedgerBuilder, database: Database) -> None:
    old = old_job(ledger, 50)
    recent = ledger.job(5)
    ledger.store(ledger.claim(recent), Outcome.TAGGED)
    before = find_job(database, old)
    assert count_old_items(database, CUTOFF) == (1, 50)
    removed = []
    while count := remove_old_items(database, CUTOFF):
        removed.append(count)
        assert problems(database) == [], "each step leaves a consistent database"
    assert removed == [20, 20, 10]
    assert (positions(database, old), len(positions(database, recent))) == ([], 5)
    assert find_job(database, old) == replace(before, items_removed=50)
    assert count_old_items(database, CUTOFF) == (0, 0)


def test_a_lost_item_is_still_a_problem(ledger: LedgerBuilder, database: Database) -> None:
    old = old_job(ledger, 50)
    remove_old_items(database, CUTOFF)
    with database.write() as connection:
        connection.execute(job_items.delete().where(job_items.c.job_id == old, job_items.c.position == 40))
    assert len(problems(database)) == 2


def test_open_jobs_and_those_they_depend_on_keep_their_items(
    ledger: LedgerBuilder, database: Database
) -> None:
    ledger.job(5)
    parent = old_job(ledger, 5)
    child = NewJob(ledger.model_id, 5, 0.5, Runner.WORKERS, parent_id=parent)
    child_id = create_job(database, child)
    assert remove_old_items(database, CUTOFF) == 0
    with database.write() as connection:
        over = {"state": JobState.FINISHED, "finished_at": datetime.now(UTC)}
        connection.execute(update(jobs).where(jobs.c.id == child_id).values(over))
    assert remove_old_items(database, CUTOFF) == 5


@pytest.mark.postgresql
def test_several_sweepers_remove_each_item_once(ledger: LedgerBuilder, database: Database) -> None:
    for _ in range(6):
        old_job(ledger, 30)

    def remove_all(_: int) -> int:
        total = 0
        for _attempt in range(200):
            count = remove_old_items(database, CUTOFF)
            total += count
            if not count and not count_old_items(database, CUTOFF)[1]:
                break
        return total

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(remove_all, range(4))) == 180
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(job_items)) == 0
