"""Which chunk a worker claims next, how many wake-ups the chunks that wait need, and how many photos wait."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update
from support.ledgers import LedgerBuilder, claim_one
from support.threads import in_threads

from tagger.database import JobState, Note, NoteCode, Outcome, Priority, Runner
from tagger.database.statements import db_now
from tagger.database.tables import jobs, roots, workers
from tagger.jobs.enqueue.job_json import waiting_photos
from tagger.ledger import job_control, suspend_for_root, workers as workers_module
from tagger.ledger.chunks import Claim, release_chunk
from tagger.ledger.job_control import list_jobs, pause
from tagger.ledger.workers import (
    FEWEST_PLACES,
    ChunkClaimer,
    chunks_at_once,
    list_suspended_jobs,
    list_workers,
    record_heartbeat,
    release_expired,
    resume_suspended_jobs,
    waiting_chunks,
)


def claimer(ledger: LedgerBuilder) -> ChunkClaimer:
    return ChunkClaimer(ledger.database, "w")


def names(claims: Iterable[Claim | None]) -> list[tuple[int, int] | None]:
    return [(claim.job_id, claim.chunk) if claim else None for claim in claims]


@pytest.mark.postgresql
def test_jobs_of_a_priority_take_turns_and_workers_keep_to_theirs(ledger):
    first, second = ledger.job(70), ledger.job(40)
    source = claimer(ledger)
    claims = [source.claim([Priority.BULK]) for _ in range(5)]
    assert names(claims) == [(first, 0), (second, 0), (first, 1), (second, 1), (first, 2)]
    ledger.job(5)
    interactive = ledger.job(5, priority=Priority.INTERACTIVE)
    source = claimer(ledger)
    claims = [source.claim([Priority.INTERACTIVE]) for _ in range(2)]
    assert names(claims) == [(interactive, 0), None]


@pytest.mark.postgresql
def test_every_fourth_chunk_may_be_a_bulk_one(ledger):
    bulk, source = ledger.job(70), claimer(ledger)
    assert names([source.claim(Priority)]) == [(bulk, 0)]
    interactive = ledger.job(300, priority=Priority.INTERACTIVE)
    jobs_of_claims = [claim.job_id for _ in range(7) if (claim := source.claim(Priority))]
    assert jobs_of_claims == [interactive] * 3 + [bulk] + [interactive] * 2 + [bulk]


@pytest.mark.postgresql
def test_a_chunk_waits_again_after_it_was_released_or_its_lease_expired(ledger):
    job = ledger.job(5)
    release_chunk(ledger.database, ledger.claim(job))
    assert waiting_chunks(ledger.database)[Priority.BULK] == 1
    ledger.claim(job)
    ledger.expire(job)
    assert waiting_chunks(ledger.database)[Priority.BULK] == 0
    release_expired(ledger.database)
    assert waiting_chunks(ledger.database)[Priority.BULK] == 1


@pytest.mark.postgresql
def test_chunks_of_local_suspended_paused_and_finished_jobs_are_not_claimed(ledger):
    ledger.job(5, runner=Runner.LOCAL)
    suspend_for_root(ledger.database, ledger.job(5), "share")
    job_control.pause(ledger.database, ledger.job(5))
    ledger.store(ledger.claim(ledger.job(5)), Outcome.TAGGED)
    assert claimer(ledger).claim([Priority.BULK]) is None
    assert waiting_chunks(ledger.database) == {Priority.BULK: 0, Priority.INTERACTIVE: 0}


@pytest.mark.postgresql
def test_workers_that_claim_at_once_get_every_chunk_once(ledger):
    for _ in range(3):
        ledger.job(300)
    claims: list[Claim] = []

    def work() -> None:
        source = claimer(ledger)
        while claim := source.claim([Priority.BULK]):
            claims.append(claim)

    in_threads([work] * 6)
    assert len({(claim.job_id, claim.chunk) for claim in claims}) == len(claims) == 3 * 5


def test_a_job_that_failed_here_gives_way_to_others_for_a_while(ledger, monkeypatch):
    failed, other = ledger.job(70), ledger.job(40)
    source = claimer(ledger)
    claims = [source.claim([Priority.BULK])]
    source.defer(failed)
    claims += [source.claim([Priority.BULK]) for _ in range(3)]
    assert names(claims) == [(failed, 0), (other, 0), (other, 1), None]
    monkeypatch.setattr(workers_module, "RETRY_S", 0.0)
    source.defer(failed)
    assert names([source.claim([Priority.BULK])]) == [(failed, 1)]


def test_as_many_chunks_wait_as_active_workers_have_places_for(ledger):
    ledger.job(8000)
    assert waiting_chunks(ledger.database)[Priority.BULK] == FEWEST_PLACES
    with ledger.database.write() as connection:
        rows = [
            {"name": f"w{number}", "device": "cpu", "started_at": datetime.now(UTC), "heartbeat_at": 0.0}
            for number in range(9)
        ]
        connection.execute(insert(workers), rows)
        connection.execute(update(workers).where(workers.c.name != "w3").values(heartbeat_at=db_now()))
        before_clock_was_set = {"heartbeat_at": db_now() + 86400.0}
        connection.execute(update(workers).where(workers.c.name == "w4").values(before_clock_was_set))
    assert waiting_chunks(ledger.database)[Priority.BULK] == 7 * chunks_at_once("cpu")
    assert {each.name for each in list_workers(ledger.database)} == {
        f"w{number}" for number in (0, 1, 2, 5, 6, 7, 8)
    }


def test_the_processes_of_a_worker_are_listed_as_one(ledger):
    names = ("tagger-7.1@rack", "tagger-7.2@rack", "tagger-7.10@rack", "tagger-7@rack2", "tagger-70.1@rack")
    for rate, name in enumerate(names, 1):
        waits = Note(NoteCode.STARTING) if name in {"tagger-7.2@rack", "tagger-70.1@rack"} else None
        record_heartbeat(ledger.database, name, "cpu", waits, float(rate))
    found = [
        (each.name, each.processes, each.photos_per_second, each.is_starting)
        for each in list_workers(ledger.database)
    ]
    assert sorted(found) == [
        ("tagger-70@rack", 1, 5.0, True),
        ("tagger-7@rack", 3, 6.0, False),
        ("tagger-7@rack2", 1, 4.0, False),
    ]


def test_a_suspended_job_lists_its_roots_and_is_resumed(ledger):
    with ledger.database.write() as connection:
        row = {"name": "share", "location": "/share", "location_bytes": b""}
        share = connection.execute(insert(roots).values(row).returning(roots.c.id)).scalar_one()
    job = ledger.job(0, photo_ids=[*ledger.photos(32), *ledger.photos(40, root_id=share)])
    claim = ledger.claim(job)
    suspend_for_root(ledger.database, job, "share")
    assert {job: set(root_ids) for job, (_, root_ids) in list_suspended_jobs(ledger.database).items()} == {
        job: {ledger.root_id, share}
    }
    ledger.store(claim, Outcome.TAGGED)
    assert {job: root_ids for job, (_, root_ids) in list_suspended_jobs(ledger.database).items()} == {
        job: [share]
    }
    resume_suspended_jobs(ledger.database, [job])
    progress = ledger.progress(job)
    assert (progress.state, progress.note) == (JobState.QUEUED, None)
    assert waiting_chunks(ledger.database)[Priority.BULK] == 2
    assert list_suspended_jobs(ledger.database) == {}


def test_photos_of_jobs_that_workers_may_process_wait(ledger, database):
    assert waiting_photos(list_jobs(database), datetime.now(UTC)) == (0, None)
    ledger.job(5, runner=Runner.LOCAL)
    first, second = ledger.job(200), ledger.job(100)
    with database.write() as connection:
        made_at = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(jobs).where(jobs.c.id == first).values(created_at=made_at))
    waiting, oldest_s = waiting_photos(list_jobs(database), datetime.now(UTC))
    assert waiting == 300
    assert oldest_s == pytest.approx(3600, abs=300)

    claim = claim_one(database, first)
    claimed = claim.last - claim.first + 1
    assert waiting_photos(list_jobs(database), datetime.now(UTC))[0] == 300 - claimed
    ledger.store(claim, Outcome.TAGGED)
    pause(database, first)
    waiting, oldest_s = waiting_photos(list_jobs(database), datetime.now(UTC))
    assert waiting == 100
    assert oldest_s < 3000
    pause(database, second)
    assert waiting_photos(list_jobs(database), datetime.now(UTC)) == (0, None)
