"""A worker while Redis is away or refuses messages: what it logs, and that it waits."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest
import redis
from celery.worker import state
from kombu.utils.imports import symbol_by_name
from rig.servers import KEYS, REFUSALS, RedisServer
from support.ledgers import LedgerBuilder

from tagger.cli.commands.doctor import check_redis
from tagger.database.connection import Database
from tagger.database.enums import Priority, Runner
from tagger.errors import RedisMisconfigured
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.jobs import suspend_for_root
from tagger.ledger.workers import list_workers
from tagger.settings import Settings
from worker import broker, celery_patches
from worker import sweeper as sweeper_module
from worker.broker import RedisEndpoint, RedisMonitor, check_accepts_messages, check_broker
from worker.messages import RedisKeys
from worker.producer import make_app, send_wake_ups
from worker.sweeper import Sweeper


class Clock:
    """A clock that the test sets; a sleep takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(broker, "time", clock)
    monkeypatch.setattr(celery_patches, "time", clock)
    return clock


@pytest.mark.parametrize("kind", REFUSALS)
def test_an_outage_is_logged_once_a_minute_and_its_end_once(
    redis_server: RedisServer,
    monitor: RedisMonitor,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    redis_server.refuse_messages(kind)
    for _ in range(13):
        assert not monitor.accepts_messages()
        clock.now += 10
    redis_server.accept_messages()
    for _ in range(2):
        assert monitor.accepts_messages()
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(":")[0] for message in messages[:3]] == ["Redis at redis"] * 3
    assert all("refuses messages" in message and "\n" not in message for message in messages[:3])
    assert messages[3:] == ["Redis accepts messages again, after 130 s"]


@pytest.fixture
def closed_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A Redis with a password, and a user with few rights."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">p", "~*", "&*", "+ping", "+hello")
        client.execute_command("CONFIG", "SET", "requirepass", "secret")
        yield redis_server
        client.execute_command("CONFIG", "SET", "requirepass", "")


@pytest.mark.parametrize(
    ("user", "database", "reason"),
    [
        ("", 0, "it needs a password"),
        (":wrong@", 0, "it refuses the user or the password"),
        ("nobody:secret@", 0, "it refuses the user or the password"),
        ("limited:p@", 0, "User limited has no permissions to run the 'lpushx' command"),
        (":secret@", 99, "DB index is out of range"),
    ],
)
def test_a_server_that_refuses_the_address_answers(
    closed_redis: RedisServer, user: str, database: int, reason: str
) -> None:
    url = f"redis://{user}127.0.0.1:{closed_redis.port}/{database}"
    refused = RedisEndpoint(url, KEYS, embedded=False)
    for check in [check_accepts_messages] + [check_broker] * (not user.startswith("limited")):
        with pytest.raises(RedisMisconfigured, match="Correct TAGGER_REDIS_URL") as error:
            check(refused)
        assert f"/{database} cannot be used: {reason}. " in str(error.value)
    (finding,) = check_redis(Settings(redis_url=url), None)
    assert finding.found.startswith(f"Redis at {refused.redacted_url} cannot be used: ")
    assert "Correct TAGGER_REDIS_URL" in str(finding.remedy)


@pytest.mark.parametrize(
    ("rights", "found"),
    [
        ("+@all -lpushx", "cannot be used: User ada has no permissions to run the 'lpushx' command"),
        ("+@all -llen", "cannot be used: User ada has no permissions to run the 'llen' command"),
        ("+@all -select", "cannot be used: User ada has no permissions to run the 'select' command"),
        ("+@all resetkeys", "cannot be used: No permissions to access a key"),
        ("+@all -info", "answers and accepts messages"),
        ("+@all -@dangerous", "answers and accepts messages"),
    ],
)
def test_doctor_names_the_right_that_a_user_lacks(redis_server: RedisServer, rights: str, found: str) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ada", "reset", "on", ">p", "~*", "&*", *rights.split())
    url = f"redis://ada:p@127.0.0.1:{redis_server.port}/1"
    texts = [finding.found for finding in check_redis(Settings(redis_url=url), None)]
    assert any(found in text for text in texts), texts
    assert not any("does not answer" in text for text in texts)


def test_another_server_than_redis_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        other = RedisEndpoint(f"redis://127.0.0.1:{server.getsockname()[1]}/0", KEYS, embedded=False)
        with pytest.raises(RedisMisconfigured, match="another program than Redis answers there"):
            check_broker(other)


class FakeMonitor:
    """Redis accepts messages at the last of `checks` checks."""

    def __init__(self, checks: int) -> None:
        self.checks = checks

    def accepts_messages(self) -> bool:
        self.checks -= 1
        return self.checks == 0


def test_a_worker_waits_for_redis_without_a_limit(clock: Clock) -> None:
    with closing(make_app("redis://127.0.0.1:1/0", KEYS)) as app:
        consumer_class = symbol_by_name(app.conf.worker_consumer)
        assert app.conf.broker_connection_max_retries is None
    hours_s = 5 * 3600
    connected: list[bool] = []
    connection = SimpleNamespace(connect=lambda: connected.append(True))
    began = clock.now
    waiting = consumer_class.__new__(consumer_class)
    waiting.redis = FakeMonitor(hours_s)
    assert waiting.ensure_connected(connection) is connection
    assert connected == [True]
    assert clock.now - began == pytest.approx(hours_s * celery_patches.RETRY_S, rel=0.01)


def test_a_worker_that_waits_for_redis_can_be_stopped(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", 0)
    waiting = celery_patches.Consumer.__new__(celery_patches.Consumer)
    waiting.redis = FakeMonitor(1000)
    with pytest.raises(SystemExit):
        waiting.ensure_connected(None)


def test_a_worker_says_which_root_it_waits_for_while_nothing_else_can_be_done(
    sweeper: Sweeper, database: Database
) -> None:
    ledger = LedgerBuilder(database)
    job = ledger.job(5)
    suspend_for_root(database, job, "r")
    for _ in range(2):  # a sweep tells what the one before has found
        sweeper.sweep()
    assert [worker.waits_for for worker in list_workers(database)] == ["unavailable on its machine: r"]
    ledger.job(5)
    sweeper.sweep()
    assert [worker.waits_for for worker in list_workers(database)] == [None]


def test_a_sweep_waits_with_its_messages_while_redis_refuses_them(
    sweeper: Sweeper, redis_server: RedisServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = LedgerBuilder(database)
    ledger.job(5)
    for _ in range(2):  # a sweep counts before it sends
        sweeper.sweep()
    assert sweeper.waiting == 1
    ledger.job(5)
    redis_server.refuse_messages("full")
    sweeper.sweep()
    # The watchdog ends a worker that does not receive waiting messages.
    assert sweeper.waiting == 0
    assert [worker.name for worker in list_workers(database)] == ["w"]
    sweeper.sweep()
    assert [worker.waits_for for worker in list_workers(database)] == ["Redis accepts no messages"]
    redis_server.accept_messages()
    for _ in range(2):
        sweeper.sweep()
    assert sweeper.waiting == 2
    assert [worker.waits_for for worker in list_workers(database)] == [None]
    assert not any(record.exc_info for record in caplog.records)
    assert all(record.levelno <= logging.WARNING for record in caplog.records)


def test_a_worker_whose_sweep_waits_for_a_frozen_redis_leaves_the_list_when_it_stops(
    sweeper: Sweeper, redis_server: RedisServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    LedgerBuilder(database).job(5)
    is_frozen = threading.Event()

    def wake_while_frozen(*arguments: object) -> None:
        redis_server.pause()
        is_frozen.set()
        send_wake_ups(*arguments)

    monkeypatch.setattr(sweeper_module, "send_wake_ups", wake_while_frozen)
    sweeper.start()
    assert is_frozen.wait(30)
    sweeper.close()
    assert list_workers(database) == []
    (sweep,) = (thread for thread in threading.enumerate() if thread.name == "sweeper")
    redis_server.resume()
    sweep.join(30)
    assert not sweep.is_alive()


def test_the_next_sweep_replaces_wake_ups_that_redis_lost(
    sweeper: Sweeper, redis_server: RedisServer, database: Database
) -> None:
    LedgerBuilder(database).job(100)
    queue = RedisKeys(database.ledger_id).queues[Priority.BULK]
    with redis.Redis.from_url(redis_server.url) as client:
        for _ in range(2):
            sweeper.sweep()
            assert client.llen(queue) == 3
            client.flushdb()


def test_a_sweep_sends_no_wake_up_for_which_one_waits(
    sweeper: Sweeper, redis_server: RedisServer, database: Database
) -> None:
    job = LedgerBuilder(database).job(100)
    queue = RedisKeys(database.ledger_id).queues[Priority.BULK]
    with redis.Redis.from_url(redis_server.url) as client:
        for waiting in (3, 2):
            sweeper.sweep()
            assert client.llen(queue) == waiting
            assert client.rpop(queue) is not None
            assert claim_next_chunk(database, job, Runner.WORKERS, "w") is not None
