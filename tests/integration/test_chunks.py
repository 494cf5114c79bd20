"""Chunks in hand: one holder at a time, results under its token only, nobody waits for ever."""

import threading

import pytest
from ledgers import LedgerOf
from sqlalchemy import select, update
from threads import in_threads

from tagger.database import Database
from tagger.errors import LeaseLost
from tagger.ledger.chunks import (
    ChunkName,
    Claim,
    ItemOutcome,
    busy_elsewhere,
    claim,
    claim_next,
    release,
    renew,
    store_outcomes,
)
from tagger.ledger.dispatch import return_expired
from tagger.ledger.jobs import cancel_job, wait_for_root
from tagger.tables import JobState, Outcome, Runner, chunks, job_items, jobs


@pytest.fixture
def ledger(database: Database) -> LedgerOf:
    return LedgerOf(database)


def take(ledger: LedgerOf, job: int, chunk: int = 0) -> Claim:
    claimed = claim(ledger.database, ChunkName(job, chunk), Runner.WORKERS, "w")
    assert claimed is not None
    return claimed


def test_a_chunk_is_claimed_by_exactly_one_of_many(ledger: LedgerOf) -> None:
    for _ in range(5):
        job = ledger.job(5)
        together = threading.Barrier(8)
        taken: list[Claim] = []

        def compete(
            job: int = job, together: threading.Barrier = together, taken: list[Claim] = taken
        ) -> None:
            together.wait()
            claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
            if claimed is not None:
                taken.append(claimed)

        in_threads([compete] * 8)
        assert len(taken) == 1
        assert taken[0].attempts == 1


def test_local_claims_of_many_threads_share_all_chunks_out(ledger: LedgerOf) -> None:
    job = ledger.job(500, runner=Runner.LOCAL)
    taken: list[ChunkName] = []

    def work() -> None:
        while claimed := claim_next(ledger.database, job, "w"):
            taken.append(claimed.name)
            ledger.store(claimed, Outcome.TAGGED)

    in_threads([work] * 4)
    assert sorted(name.chunk for name in taken) == list(range(7))
    assert ledger.progress(job).state is JobState.FINISHED


def test_workers_leave_a_local_job_alone(ledger: LedgerOf) -> None:
    job = ledger.job(5, runner=Runner.LOCAL)
    assert claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is None


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.PAUSED, JobState.CANCELLED])
def test_nothing_is_claimed_of_a_job_that_stands_still(ledger: LedgerOf, state: JobState) -> None:
    job = ledger.job(5)
    with ledger.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job).values(state=state))
    assert claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is None


def test_an_unknown_chunk_or_job_gives_nothing(ledger: LedgerOf) -> None:
    job = ledger.job(5)
    assert claim(ledger.database, ChunkName(job, 9), Runner.WORKERS, "w") is None
    assert claim(ledger.database, ChunkName(job + 9, 0), Runner.WORKERS, "w") is None


def test_an_expired_lease_is_taken_over_and_the_late_worker_stores_nothing(ledger: LedgerOf) -> None:
    job = ledger.job(20)
    late = take(ledger, job)
    ledger.store(late, Outcome.TAGGED, count=5)
    ledger.expire(job)
    assert return_expired(ledger.database) == 1
    assert ledger.progress(job).running == 0
    next_one = take(ledger, job)
    assert next_one.attempts == 2
    before = rows(ledger, job)
    with pytest.raises(LeaseLost):
        ledger.store(late, Outcome.UNKNOWN, first=5)
    assert rows(ledger, job) == before
    assert renew(ledger.database, [late, next_one]) == [late]
    release(ledger.database, late)
    assert rows(ledger, job)[0][:1] == before[0][:1]
    ledger.store(next_one, Outcome.FAILED, first=5)
    progress = ledger.progress(job)
    assert (progress.tagged, progress.failed, progress.state) == (5, 15, JobState.FINISHED)


def rows(ledger: LedgerOf, job: int) -> list[tuple]:
    with ledger.database.read() as connection:
        chunk_query = select(chunks.c.token, chunks.c.attempts, chunks.c.done, chunks.c.unknown).where(
            chunks.c.job_id == job
        )
        item_query = select(job_items.c.position, job_items.c.outcome).where(job_items.c.job_id == job)
        found = [*connection.execute(chunk_query), *connection.execute(item_query)]
    return [tuple(row) for row in found]


def test_a_lease_that_expired_unnoticed_can_be_taken_without_a_sweeper(ledger: LedgerOf) -> None:
    job = ledger.job(5)
    late = take(ledger, job)
    ledger.expire(job)
    take(ledger, job)
    with pytest.raises(LeaseLost):
        ledger.store(late, Outcome.TAGGED)


def test_giving_back_is_not_a_failed_attempt(ledger: LedgerOf) -> None:
    job = ledger.job(20)
    claimed = take(ledger, job)
    ledger.store(claimed, Outcome.TAGGED, count=4)
    release(ledger.database, claimed)
    progress = ledger.progress(job)
    assert (progress.tagged, progress.queued, progress.running) == (4, 16, 0)
    assert take(ledger, job).attempts == 1


def test_outcomes_stored_twice_count_once(ledger: LedgerOf) -> None:
    job = ledger.job(20)
    claimed = take(ledger, job)
    ledger.store(claimed, Outcome.TAGGED, count=8)
    ledger.store(claimed, Outcome.UNKNOWN, count=10)
    with ledger.database.write() as connection:
        store_outcomes(connection, claimed, [ItemOutcome(15, Outcome.FAILED, "corrupt", "bad")] * 2)
        store_outcomes(connection, claimed, [])
    progress = ledger.progress(job)
    assert (progress.tagged, progress.unknown, progress.failed) == (8, 2, 1)
    ledger.store(claimed, Outcome.SKIPPED)
    assert ledger.progress(job).state is JobState.FINISHED


def test_renewing_tells_what_was_lost(ledger: LedgerOf) -> None:
    kept, cancelled, done = (take(ledger, ledger.job(5)) for _ in range(3))
    with ledger.database.write() as connection:
        cancel_job(connection, cancelled.name.job_id, "by request")
    ledger.store(done, Outcome.TAGGED)
    ledger.expire(kept.name.job_id)
    assert renew(ledger.database, [kept, cancelled, done]) == [cancelled, done]
    assert return_expired(ledger.database) == 0


def test_what_is_in_hand_goes_on_when_another_worker_finds_a_root_away(ledger: LedgerOf) -> None:
    job = ledger.job(64)
    claimed = take(ledger, job)
    wait_for_root(ledger.database, job, "share")
    assert renew(ledger.database, [claimed]) == []
    ledger.store(claimed, Outcome.TAGGED)
    progress = ledger.progress(job)
    assert (progress.state, progress.tagged, progress.queued) == (JobState.WAITING, 32, 32)
    assert "share" in (progress.note or "")


def test_only_the_later_of_two_claims_waits_for_the_same_photos(ledger: LedgerOf) -> None:
    shared = ledger.photos(10)
    one, two = ledger.job(0, photo_ids=shared[:6]), ledger.job(0, photo_ids=shared[3:])
    later_job_first = take(ledger, two)
    later = take(ledger, one)
    assert busy_elsewhere(ledger.database, later_job_first) == set()
    assert busy_elsewhere(ledger.database, later) & set(shared[:6]) == set(shared[3:6])
    ledger.store(later_job_first, Outcome.TAGGED, count=1)
    assert busy_elsewhere(ledger.database, later) & set(shared[:6]) == set(shared[4:6])
    ledger.expire(two)
    assert busy_elsewhere(ledger.database, later) == set()


def test_claims_of_one_instant_never_wait_for_each_other(ledger: LedgerOf) -> None:
    shared = ledger.photos(4)
    held = [take(ledger, ledger.job(0, photo_ids=shared)) for _ in range(3)]
    with ledger.database.write() as connection:
        connection.execute(update(chunks).values(claimed_at=1000.0))
    at_once = [Claim(**{**vars(claimed), "claimed_at": 1000.0}) for claimed in held]
    waiting = [bool(busy_elsewhere(ledger.database, claimed)) for claimed in at_once]
    assert waiting == [False, True, True]


def test_nobody_waits_for_a_job_of_another_model(ledger: LedgerOf) -> None:
    shared = ledger.photos(4)
    take(ledger, ledger.job(0, photo_ids=shared))
    mine = take(ledger, ledger.job(0, photo_ids=shared))
    assert busy_elsewhere(ledger.database, Claim(**{**vars(mine), "model_id": 999})) == set()
