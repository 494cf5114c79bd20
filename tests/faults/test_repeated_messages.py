"""Messages come twice or late, or to a worker that has lost its lease or its way: no photo is stored twice."""

import signal

from commands import Terminal
from ordeal import Ordeal
from servers import RedisServer
from sqlalchemy import select

from tagger.tables import chunks
from worker.celery_app import make_app
from worker.messages import TASK_NAME, ChunkMessage


def test_messages_that_come_twice_to_two_workers_are_worked_on_once(
    ordeal: Ordeal, redis_server: RedisServer
) -> None:
    job = ordeal.enqueue()
    _send_all(ordeal, redis_server, job)
    with ordeal.terminal.workers(2):
        ordeal.ends_well(job)
        _wait_until_dealt_with(ordeal, redis_server)
    assert set(ordeal.attempts(job)) == {1}


def test_messages_that_come_after_the_work_is_done_change_nothing(
    ordeal: Ordeal, redis_server: RedisServer
) -> None:
    with ordeal.terminal.workers(1):
        job = ordeal.enqueue()
        ordeal.ends_well(job)
        before = ordeal.rows()
        _send_all(ordeal, redis_server, job)
        _wait_until_dealt_with(ordeal, redis_server)
        assert ordeal.rows() == before


def test_a_worker_that_was_slower_than_its_lease_stores_nothing_twice(ordeal_on_each: Ordeal) -> None:
    ordeal = ordeal_on_each
    terminal = ordeal.terminal
    with terminal.database() as database, terminal.workers(1) as (slow,):
        job = ordeal.enqueue()
        terminal.freeze_with_a_lease(slow, database)
        with terminal.workers(1):
            ordeal.ends_well(job)
            before = ordeal.rows()
            slow.send_signal(signal.SIGCONT)
            terminal.wait_until(lambda: "was taken over" in ordeal.log)
            assert ordeal.rows() == before
        # The slow one is none the worse for it.
        again = ordeal.enqueue("--again")
        ordeal.ends_well(job, again)
        assert slow.poll() is None


def test_a_worker_of_another_database_leaves_the_messages_to_the_right_one(
    ordeal: Ordeal, redis_server: RedisServer
) -> None:
    job = ordeal.enqueue()
    messages = _waiting(redis_server)
    other = Terminal(ordeal.terminal.folder / "other", {"TAGGER_REDIS_URL": redis_server.url})
    wrong = other.start("worker")
    assert wrong.wait(timeout=90) != 0
    assert "messages of another database" in other.log.read_text()
    assert other.json("status")["jobs"] == []
    assert _waiting(redis_server) == messages
    with ordeal.terminal.workers(1):
        ordeal.ends_well(job)
    assert set(ordeal.attempts(job)) == {1}


def _send_all(ordeal: Ordeal, redis_server: RedisServer, job: int) -> None:
    """The messages of all chunks of a job, once more."""
    app = make_app(redis_server.url)
    with ordeal.terminal.database() as database, database.read() as connection:
        for chunk in connection.scalars(select(chunks.c.chunk).where(chunks.c.job_id == job)):
            message = ChunkMessage(ledger=database.ledger_id, job=job, chunk=chunk)
            app.send_task(TASK_NAME, args=[message.body()], queue="tagger.bulk")
    app.close()


def _waiting(redis_server: RedisServer) -> int:
    with redis_server.client() as client:
        return int(client.llen("tagger.bulk"))


def _wait_until_dealt_with(ordeal: Ordeal, redis_server: RedisServer) -> None:
    """Until no message waits and none is unacknowledged."""
    with redis_server.client() as client:
        ordeal.terminal.wait_until(lambda: not client.llen("tagger.bulk") and not client.hlen("unacked"))
