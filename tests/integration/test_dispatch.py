"""Which messages have to be sent, and sent again when Redis lost them."""

from datetime import UTC, datetime

import pytest
from ledgers import LedgerOf
from sqlalchemy import insert, select, update

from tagger.database import Database, db_now
from tagger.ledger import dispatch
from tagger.ledger.chunks import ChunkName, claim, release
from tagger.ledger.dispatch import mark_sent, return_expired, send_again, unsent, waiting_roots, wake
from tagger.ledger.jobs import wait_for_root
from tagger.ledger.windows import CHUNKS_PER_WORKER, LEAST_WINDOW
from tagger.tables import JobState, Outcome, Priority, Runner, chunks, roots, workers


@pytest.fixture
def ledger(database: Database) -> LedgerOf:
    return LedgerOf(database)


def names(ledger: LedgerOf, job: int | None = None) -> list[tuple[int, int]]:
    return [(waiting.name.job_id, waiting.name.chunk) for waiting in unsent(ledger.database, job)]


def sent_long_ago(ledger: LedgerOf) -> None:
    with ledger.database.write() as connection:
        old = chunks.c.sent_at - 2 * dispatch.SENT_LONG_AGO_S
        connection.execute(update(chunks).values(sent_at=old))


def test_interactive_jobs_are_sent_first_then_the_others_by_turns(ledger: LedgerOf) -> None:
    bulk, later_bulk = ledger.job(40), ledger.job(40)
    urgent = ledger.job(5, priority=Priority.INTERACTIVE)
    assert names(ledger) == [(urgent, 0), (bulk, 0), (later_bulk, 0), (bulk, 1), (later_bulk, 1)]
    assert names(ledger, bulk) == [(bulk, 0), (bulk, 1)]
    assert [waiting.priority for waiting in unsent(ledger.database)][:2] == [
        Priority.INTERACTIVE,
        Priority.BULK,
    ]


def test_local_cancelled_waiting_and_finished_work_is_not_sent(ledger: LedgerOf) -> None:
    ledger.job(5, runner=Runner.LOCAL)
    waiting = ledger.job(5)
    wait_for_root(ledger.database, waiting, "share")
    done = ledger.job(5)
    claimed = claim(ledger.database, ChunkName(done, 0), Runner.WORKERS, "w")
    assert claimed is not None
    ledger.store(claimed, Outcome.TAGGED)
    assert names(ledger) == []


def test_a_sent_message_is_sent_once_and_again_when_its_chunk_comes_back(ledger: LedgerOf) -> None:
    job = ledger.job(5)
    mark_sent(ledger.database, unsent(ledger.database))
    assert names(ledger) == []
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    release(ledger.database, claimed)
    assert names(ledger) == [(job, 0)]
    mark_sent(ledger.database, unsent(ledger.database))
    assert claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is not None
    ledger.expire(job)
    return_expired(ledger.database)
    assert names(ledger) == [(job, 0)]


def test_pages_of_messages_follow_each_other(ledger: LedgerOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SEND_PAGE", 3)
    job = ledger.job(448)
    seen = []
    while page := unsent(ledger.database):
        seen += [waiting.name.chunk for waiting in page]
        assert len(page) <= 3
        mark_sent(ledger.database, page)
    assert seen == list(range(6))
    assert names(ledger, job) == []


def test_a_job_has_a_window_of_messages_that_moves_on_with_its_chunks(ledger: LedgerOf) -> None:
    job = ledger.job(4000)
    assert [number for _, number in names(ledger)] == list(range(LEAST_WINDOW))
    mark_sent(ledger.database, unsent(ledger.database))
    held = [claim(ledger.database, ChunkName(job, number), Runner.WORKERS, "w") for number in (1, 0, 2)]
    assert names(ledger) == []
    assert all(held)
    ledger.store(held[0], Outcome.TAGGED)
    assert names(ledger) == [(job, LEAST_WINDOW)]
    release(ledger.database, held[1])
    assert names(ledger) == [(job, 0), (job, LEAST_WINDOW)]


def test_the_window_is_wide_enough_for_every_worker_that_is_there(ledger: LedgerOf) -> None:
    ledger.job(6000)
    with ledger.database.write() as connection:
        alive = [
            {"name": f"w{number}", "device": "cpu", "started_at": datetime.now(UTC), "seen_at": 0.0}
            for number in range(4)
        ]
        connection.execute(insert(workers), alive)
        connection.execute(update(workers).where(workers.c.name != "w3").values(seen_at=db_now()))
    assert len(names(ledger)) == 3 * CHUNKS_PER_WORKER


def test_what_was_sent_beyond_the_window_is_not_taken_for_lost(ledger: LedgerOf) -> None:
    job = ledger.job(4000)
    with ledger.database.write() as connection:
        connection.execute(update(chunks).where(chunks.c.chunk >= LEAST_WINDOW).values(sent_at=0.0))
    mark_sent(ledger.database, unsent(ledger.database))
    sent_long_ago(ledger)
    # It was sent when more workers were there and the window was wider.
    assert send_again(ledger.database, in_redis=LEAST_WINDOW) == 0
    assert names(ledger, job) == []


def test_after_a_flush_everything_that_waits_is_sent_again(ledger: LedgerOf) -> None:
    job = ledger.job(448)
    mark_sent(ledger.database, unsent(ledger.database))
    sent_long_ago(ledger)
    assert claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w") is not None
    assert send_again(ledger.database, in_redis=0) == 5
    assert names(ledger) == [(job, number) for number in range(1, 6)]


def test_after_a_partial_loss_as_many_as_are_missing_are_sent_again(ledger: LedgerOf) -> None:
    job = ledger.job(448)
    mark_sent(ledger.database, unsent(ledger.database))
    sent_long_ago(ledger)
    assert send_again(ledger.database, in_redis=4) == 2
    assert names(ledger) == [(job, 0), (job, 1)]


def test_messages_that_are_there_or_on_their_way_are_not_taken_for_lost(ledger: LedgerOf) -> None:
    ledger.job(448)
    mark_sent(ledger.database, unsent(ledger.database))
    assert send_again(ledger.database, in_redis=0) == 0
    sent_long_ago(ledger)
    assert send_again(ledger.database, in_redis=6) == 0
    assert send_again(ledger.database, in_redis=60) == 0
    assert names(ledger) == []


def test_a_job_that_waits_names_the_roots_it_needs_and_is_woken(ledger: LedgerOf) -> None:
    with ledger.database.write() as connection:
        row = {"name": "share", "place": "/share", "place_bytes": b""}
        share = connection.execute(insert(roots).values(row).returning(roots.c.id)).scalar_one()
    job = ledger.job(0, photo_ids=[*ledger.photos(32), *ledger.photos(40, root_id=share)])
    other = ledger.job(5)
    claimed = claim(ledger.database, ChunkName(job, 0), Runner.WORKERS, "w")
    assert claimed is not None
    mark_sent(ledger.database, unsent(ledger.database))
    wait_for_root(ledger.database, job, "share")
    assert {job: set(found) for job, found in waiting_roots(ledger.database).items()} == {
        job: {ledger.root_id, share}
    }
    ledger.store(claimed, Outcome.TAGGED)
    assert waiting_roots(ledger.database) == {job: [share]}
    wake(ledger.database, [job])
    progress = ledger.progress(job)
    assert (progress.state, progress.note) == (JobState.QUEUED, None)
    assert names(ledger) == [(job, 1), (job, 2)]
    assert waiting_roots(ledger.database) == {}
    with ledger.database.read() as connection:
        sent = select(chunks.c.sent_at).where(chunks.c.job_id == other)
        assert connection.scalar(sent) is not None
