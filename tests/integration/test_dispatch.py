"""Which messages are due, and which ones Redis has lost."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select, update
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.enums import JobState, Outcome, Priority, Runner
from tagger.database.statements import db_now
from tagger.database.tables import chunks, roots, workers
from tagger.ledger import dispatch
from tagger.ledger.chunks import ChunkName, claim_chunk, release_chunk
from tagger.ledger.dispatch import (
    LEAST_WINDOW,
    TakenMessages,
    chunks_at_once,
    mark_sent,
    missing_messages,
    release_expired,
    reset_lost_messages,
    resume_suspended_jobs,
    roots_of_suspended_jobs,
    unsent_chunks,
)
from tagger.ledger.jobs import suspend_for_root
from tagger.ledger.workers import record_heartbeat

pytestmark = pytest.mark.postgresql


@pytest.fixture
def ledger(database: Database) -> LedgerBuilder:
    return LedgerBuilder(database)


def names(ledger: LedgerBuilder, job: int | None = None) -> list[tuple[int, int]]:
    return [(waiting.name.job_id, waiting.name.chunk) for waiting in unsent_chunks(ledger.database, job)]


def missing(
    ledger: LedgerBuilder, queued: int, taken: int = 0, latest: int | None = None
) -> list[tuple[int, int]]:
    """Find the missing messages, and mark them as lost."""
    messages = missing_messages(
        ledger.database, queued, TakenMessages(taken, taken if latest is None else latest)
    )
    reset_lost_messages(ledger.database, messages)
    return sorted((message.name.job_id, message.name.chunk) for message in messages)


def test_interactive_jobs_come_first_and_bulk_jobs_alternate(ledger: LedgerBuilder) -> None:
    bulk, later_bulk = ledger.job(40), ledger.job(40)
    interactive = ledger.job(5, priority=Priority.INTERACTIVE)
    assert names(ledger) == [(interactive, 0), (bulk, 0), (later_bulk, 0), (bulk, 1), (later_bulk, 1)]
    assert names(ledger, bulk) == [(bulk, 0), (bulk, 1)]
    assert [waiting.priority for waiting in unsent_chunks(ledger.database)][:2] == [
        Priority.INTERACTIVE,
        Priority.BULK,
    ]


def test_chunks_of_local_suspended_and_finished_jobs_are_not_sent(ledger: LedgerBuilder) -> None:
    ledger.job(5, runner=Runner.LOCAL)
    waiting = ledger.job(5)
    suspend_for_root(ledger.database, waiting, "share")
    done = ledger.job(5)
    claim = claim_chunk(ledger.database, ChunkName(done, 0), Runner.WORKERS, "w")
    assert claim is not None
    ledger.store(claim, Outcome.TAGGED)
    assert names(ledger) == []


def test_a_message_is_sent_once_and_again_after_its_chunk_was_released(ledger: LedgerBuilder) -> None:
    job = ledger.job(5)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert names(ledger) == []
    claim = ledger.claim(job)
    release_chunk(ledger.database, claim)
    assert names(ledger) == [(job, 0)]
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert claim_chunk(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is not None
    ledger.expire(job)
    release_expired(ledger.database)
    assert names(ledger) == [(job, 0)]


def test_one_of_many_processes_sends_a_message(ledger: LedgerBuilder) -> None:
    ledger.job(500)
    due = unsent_chunks(ledger.database)
    assert mark_sent(ledger.database, due[:2]) == due[:2]
    assert mark_sent(ledger.database, due) == due[2:]
    assert mark_sent(ledger.database, due) == []


def test_a_lost_message_that_was_sent_again_is_not_lost(ledger: LedgerBuilder) -> None:
    job = ledger.job(100)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    lost = missing_messages(ledger.database, 0, TakenMessages())
    reset_lost_messages(ledger.database, lost)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    reset_lost_messages(ledger.database, lost)
    assert names(ledger, job) == []


def test_a_message_whose_chunk_was_claimed_is_not_lost(ledger: LedgerBuilder) -> None:
    job = ledger.job(5)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    taken = missing_messages(ledger.database, 0, TakenMessages())
    claim = claim_chunk(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claim is not None
    reset_lost_messages(ledger.database, taken)
    with ledger.database.read() as connection:
        assert connection.scalar(select(chunks.c.sent_at)) is not None


def test_a_lost_message_is_found_while_others_are_sent_and_taken(ledger: LedgerBuilder) -> None:
    lost = ledger.job(5, priority=Priority.INTERACTIVE)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    ledger.job(4000)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert missing(ledger, queued=LEAST_WINDOW) == [(lost, 0)]
    assert names(ledger) == [(lost, 0)]


def test_a_message_that_a_worker_has_not_claimed_yet_is_not_lost(ledger: LedgerBuilder) -> None:
    job = ledger.job(800)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert claim_chunk(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is not None
    waiting = LEAST_WINDOW - 1
    taken = 2
    assert missing(ledger, queued=waiting - taken, taken=1 + taken) == []
    assert missing(ledger, queued=waiting - taken, taken=1) == [(job, 1), (job, 2)]


def test_what_a_dead_worker_took_hides_no_lost_message(ledger: LedgerBuilder) -> None:
    job = ledger.job(800)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    lost = [(job, number) for number in range(3)]
    assert missing(ledger, queued=LEAST_WINDOW - 3, taken=5, latest=0) == lost


def test_claimed_chunks_hide_no_lost_message_after_redis_was_emptied(ledger: LedgerBuilder) -> None:
    job = ledger.job(800)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert claim_chunk(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is not None
    assert missing(ledger, queued=LEAST_WINDOW - 1) == []
    lost = [(job, number) for number in range(1, LEAST_WINDOW)]
    assert missing(ledger, queued=0) == lost


def test_messages_are_sent_in_pages(ledger: LedgerBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SEND_PAGE", 3)
    job = ledger.job(448)
    numbers = []
    while page := unsent_chunks(ledger.database):
        numbers += [waiting.name.chunk for waiting in page]
        assert len(page) <= 3
        mark_sent(ledger.database, page)
    assert numbers == list(range(6))
    assert names(ledger, job) == []


def test_the_dispatch_window_moves_with_the_open_chunks(ledger: LedgerBuilder) -> None:
    job = ledger.job(4000)
    assert [number for _, number in names(ledger)] == list(range(LEAST_WINDOW))
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    claims = [
        claim_chunk(ledger.database, ChunkName(job, number), Runner.WORKERS, "w") for number in (1, 0, 2)
    ]
    assert names(ledger) == []
    assert all(claims)
    ledger.store(claims[0], Outcome.TAGGED)
    assert names(ledger) == [(job, LEAST_WINDOW)]
    release_chunk(ledger.database, claims[1])
    assert names(ledger) == [(job, 0), (job, LEAST_WINDOW)]


def test_the_dispatch_window_grows_with_active_workers(ledger: LedgerBuilder) -> None:
    ledger.job(6000)
    with ledger.database.write() as connection:
        rows = [
            {"name": f"w{number}", "device": "cpu", "started_at": datetime.now(UTC), "heartbeat_at": 0.0}
            for number in range(4)
        ]
        connection.execute(insert(workers), rows)
        connection.execute(update(workers).where(workers.c.name != "w3").values(heartbeat_at=db_now()))
    assert len(names(ledger)) == 3 * 2 * chunks_at_once("cpu")


def test_the_dispatch_window_has_room_for_the_chunks_of_a_gpu(ledger: LedgerBuilder) -> None:
    ledger.job(8000)
    record_heartbeat(ledger.database, "w0", "cuda")
    record_heartbeat(ledger.database, "w1", "cpu")
    assert chunks_at_once("cuda") > chunks_at_once("cpu")
    assert len(names(ledger)) == 2 * (chunks_at_once("cuda") + chunks_at_once("cpu"))


def test_messages_beyond_the_window_are_not_counted_as_lost(ledger: LedgerBuilder) -> None:
    job = ledger.job(4000)
    with ledger.database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.chunk >= LEAST_WINDOW).values(sent_at=0.0))
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    # Sent while more workers were active and the window was wider.
    assert missing(ledger, queued=LEAST_WINDOW) == []
    assert names(ledger, job) == []


def test_all_waiting_chunks_are_sent_again_after_a_flush(ledger: LedgerBuilder) -> None:
    job = ledger.job(448)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert claim_chunk(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is not None
    assert len(missing(ledger, queued=0)) == 5
    assert names(ledger) == [(job, number) for number in range(1, 6)]


def test_the_oldest_messages_are_sent_again_after_a_partial_loss(ledger: LedgerBuilder) -> None:
    job = ledger.job(448)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert missing(ledger, queued=4) == [(job, 0), (job, 1)]
    assert names(ledger) == [(job, 0), (job, 1)]


def test_messages_in_redis_are_not_missing(ledger: LedgerBuilder) -> None:
    ledger.job(448)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    assert missing(ledger, queued=6) == []
    assert missing(ledger, queued=60) == []
    assert names(ledger) == []


def test_a_suspended_job_lists_its_roots_and_is_resumed(ledger: LedgerBuilder) -> None:
    with ledger.database.write() as connection:
        row = {"name": "share", "location": "/share", "location_bytes": b""}
        share = connection.execute(insert(roots).values(row).returning(roots.c.id)).scalar_one()
    job = ledger.job(0, photo_ids=[*ledger.photos(32), *ledger.photos(40, root_id=share)])
    other = ledger.job(5)
    claim = ledger.claim(job)
    mark_sent(ledger.database, unsent_chunks(ledger.database))
    suspend_for_root(ledger.database, job, "share")
    assert {job: set(root_ids) for job, root_ids in roots_of_suspended_jobs(ledger.database).items()} == {
        job: {ledger.root_id, share}
    }
    ledger.store(claim, Outcome.TAGGED)
    assert roots_of_suspended_jobs(ledger.database) == {job: [share]}
    resume_suspended_jobs(ledger.database, [job])
    progress = ledger.progress(job)
    assert (progress.state, progress.note) == (JobState.QUEUED, None)
    assert names(ledger) == [(job, 1), (job, 2)]
    assert roots_of_suspended_jobs(ledger.database) == {}
    with ledger.database.read() as connection:
        sent = select(chunks.c.sent_at).where(chunks.c.job_id == other)
        assert connection.scalar(sent) is not None
