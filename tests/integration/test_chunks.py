"""Claims of chunks: one at a time, results stored under its token only, expired ones released."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from support.clocks import clock_ahead
from support.ledgers import LedgerBuilder, claim_one

from tagger.database import JobState, Outcome, Runner
from tagger.database.statements import lock_timeout
from tagger.database.tables import chunks, job_items, jobs
from tagger.errors import LeaseLost
from tagger.jobs.processing.metadata_writing import record_intents
from tagger.ledger import finish_job, suspend_for_root
from tagger.ledger.chunks import (
    Claim,
    ItemOutcome,
    claim_next_chunk,
    release_chunk,
    renew_lease,
    renew_leases,
    store_outcomes,
)
from tagger.ledger.job_control import cancel, count_open_chunks, find_job, pause, recover_stale_jobs, resume
from tagger.ledger.workers import ExpiredLeases, release_expired

pytestmark = pytest.mark.postgresql


def test_a_worker_stores_nothing_after_its_expired_lease_was_claimed(ledger):
    job = ledger.job(20)
    first = ledger.claim(job)
    ledger.store(first, Outcome.TAGGED, count=5)
    ledger.expire(job)
    assert len(release_expired(ledger.database)) == 1
    assert ledger.progress(job).running == 0
    second = ledger.claim(job)
    assert second.attempts == 2
    before = rows(ledger, job)
    with pytest.raises(LeaseLost):
        ledger.store(first, Outcome.UNKNOWN, first=5)
    assert rows(ledger, job) == before
    assert renew_leases(ledger.database, [first, second]) == [first]
    release_chunk(ledger.database, first)
    assert rows(ledger, job)[0][:1] == before[0][:1]
    ledger.store(second, Outcome.FAILED, first=5)
    progress = ledger.progress(job)
    assert (progress.tagged, progress.failed, progress.state) == (5, 15, JobState.FINISHED)


def test_an_expired_chunk_that_nobody_claimed_is_taken_back_by_its_worker(ledger):
    job = ledger.job(20)
    claim = ledger.claim(job)
    for take_back in (
        lambda: ledger.store(claim, Outcome.TAGGED, count=5),
        lambda: renew_leases(ledger.database, [claim]),
        lambda: record_intents(ledger.database, claim, []),
    ):
        ledger.expire(job)
        assert len(release_expired(ledger.database)) == 1
        assert ledger.progress(job).running == 0
        take_back()
        assert claim_next_chunk(ledger.database, claim.job_id, "w") is None
    ledger.store(claim, Outcome.TAGGED)
    assert ledger.progress(job).state is JobState.FINISHED


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_machine_that_is_gone_with_its_locks_holds_up_no_other_chunk(ledger):
    job = ledger.job(40)
    claims = [ledger.claim(job, chunk) for chunk in (0, 1)]
    ledger.expire(job)
    with ledger.database.write() as connection:
        renew_lease(connection, claims[0])
        assert len(release_expired(ledger.database)) == 1


def test_leases_end_by_the_clock_of_the_database_and_local_ones_are_kept(ledger):
    job = ledger.job(5)
    for apart in (timedelta(minutes=8), timedelta(minutes=-8)):
        with clock_ahead(apart):
            claim = ledger.claim(job)
        assert len(release_expired(ledger.database)) == 0
        release_chunk(ledger.database, claim)
    job = ledger.job(40, runner=Runner.LOCAL)
    first = claim_one(ledger.database, job)
    ledger.expire(job)
    second = claim_one(ledger.database, job)
    assert second.chunk != first.chunk
    assert claim_next_chunk(ledger.database, job, "w") is None
    ledger.store(first, Outcome.TAGGED)


def test_who_runs_a_local_job_releases_the_expired_chunks_of_this_job_alone(ledger):
    own, other = (ledger.job(20, runner=Runner.LOCAL) for _ in range(2))
    for job, worker in ((own, "stopped"), (other, "elsewhere")):
        assert claim_next_chunk(ledger.database, job, worker)
        ledger.expire(job)
    assert count_open_chunks(ledger.database, own) == 1
    leases = ExpiredLeases(ledger.database, own)
    assert leases.release() == ["stopped"]
    assert leases.release() == []
    assert claim_next_chunk(ledger.database, own, "w")
    assert claim_next_chunk(ledger.database, other, "w") is None


def test_after_a_pause_holders_have_time_to_renew_their_leases(ledger, monkeypatch):
    """As after an outage of the database, Ctrl-Z, or the sleep of a laptop."""
    monkeypatch.setattr("tagger.ledger.workers.LEASE_S", 0.6)
    monkeypatch.setattr("tagger.ledger.workers.RENEW_S", 0.2)
    job = ledger.job(20)
    ledger.claim(job)
    leases = ExpiredLeases(ledger.database)
    assert leases.release() == []
    ledger.expire(job)
    time.sleep(0.5)
    assert leases.release() == []
    time.sleep(0.25)
    assert len(leases.release()) == 1


def rows(ledger: LedgerBuilder, job: int) -> list[tuple]:
    with ledger.database.read() as connection:
        chunk_query = select(chunks.c.token, chunks.c.attempts, chunks.c.done, chunks.c.unknown).where(
            chunks.c.job_id == job
        )
        item_query = select(job_items.c.position, job_items.c.outcome).where(job_items.c.job_id == job)
        result = [*connection.execute(chunk_query), *connection.execute(item_query)]
    return [tuple(row) for row in result]


def test_outcomes_stored_twice_count_once(ledger):
    job = ledger.job(20)
    claim = ledger.claim(job)
    ledger.store(claim, Outcome.TAGGED, count=8)
    ledger.store(claim, Outcome.UNKNOWN, count=10)
    with ledger.database.write() as connection:
        store_outcomes(connection, claim, [ItemOutcome(15, Outcome.FAILED, "corrupt", "bad")] * 2)
        store_outcomes(connection, claim, [])
    progress = ledger.progress(job)
    assert (progress.tagged, progress.unknown, progress.failed) == (8, 2, 1)
    ledger.store(claim, Outcome.SKIPPED)
    assert ledger.progress(job).state is JobState.FINISHED


@pytest.mark.postgresql
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
def test_stores_of_one_job_do_not_wait_for_each_other(ledger):
    job = ledger.job(40)
    first, second = ledger.claim(job), ledger.claim(job, 1)
    with ledger.database.write() as connection:
        store_outcomes(connection, first, _all_tagged(first))
        with ledger.database.write() as other, lock_timeout(other, 1.0):
            store_outcomes(other, second, _all_tagged(second))
        finish_job(ledger.database, job)
        assert find_job(ledger.database, job).state is JobState.RUNNING
    finish_job(ledger.database, job)
    ledger.settle(job)
    assert ledger.progress(job).state is JobState.FINISHED


def test_jobs_whose_worker_died_after_the_last_outcome_are_finished_also_after_a_pause(ledger):
    job, open_job, scanning = ledger.job(5), ledger.job(5), ledger.scanning()
    claim = ledger.claim(job)
    with ledger.database.write() as connection:
        store_outcomes(connection, claim, _all_tagged(claim))
    assert ledger.progress(job).state is JobState.RUNNING
    recover_stale_jobs(ledger.database)
    ledger.settle(job)
    states = [ledger.progress(each).state for each in (job, open_job, scanning)]
    assert states == [JobState.FINISHED, JobState.QUEUED, JobState.SCANNING]
    job = ledger.job(5)
    claim = ledger.claim(job)
    pause(ledger.database, job)
    with ledger.database.write() as connection:
        store_outcomes(connection, claim, _all_tagged(claim))
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is JobState.PAUSED
    resume(ledger.database, job)
    ledger.settle(job)
    assert ledger.progress(job).state is JobState.FINISHED


@pytest.mark.parametrize(
    ("options", "state"), [({}, JobState.FINISHED), ({"write": "embed"}, JobState.CANCELLED)]
)
def test_a_local_job_whose_process_died_after_the_last_outcome_is_finished_unless_it_would_write(
    ledger, options, state
):
    job = ledger.job(5, runner=Runner.LOCAL)
    claim = claim_one(ledger.database, job)
    with ledger.database.write() as connection:
        store_outcomes(connection, claim, _all_tagged(claim))
        connection.execute(update(jobs).where(jobs.c.id == job).values(options=options))
    ledger.owner_died(job)
    recover_stale_jobs(ledger.database)
    assert ledger.progress(job).state is state


def _all_tagged(claim: Claim) -> list[ItemOutcome]:
    return [ItemOutcome(position, Outcome.TAGGED) for position in range(claim.first, claim.last + 1)]


def test_renewal_returns_lost_claims_and_not_those_of_suspended_jobs(ledger):
    active, cancelled, done = (ledger.claim(ledger.job(5)) for _ in range(3))
    cancel(ledger.database, cancelled.job_id)
    ledger.store(done, Outcome.TAGGED)
    ledger.expire(active.job_id)
    assert renew_leases(ledger.database, [active, cancelled, done]) == [cancelled, done]
    assert len(release_expired(ledger.database)) == 0
    job = ledger.job(64)
    claim = ledger.claim(job)
    suspend_for_root(ledger.database, job, "share")
    assert renew_leases(ledger.database, [claim]) == []
    ledger.store(claim, Outcome.TAGGED)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.queued) == (JobState.WAITING, 32, 32)
    assert "share" in (progress.note or "")
