"""Workers and Redis: what is sent and taken, outages and refusals, and what other clients may write."""

import base64
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.worker import state
from kombu.utils.imports import symbol_by_name
from redis.exceptions import ResponseError
from rig.invalid_messages import TYPED, chunk_message
from rig.servers import KEYS, REFUSALS, RedisServer
from support.clocks import Clock, clock_ahead
from support.ledgers import LedgerBuilder
from support.local_servers import TcpProxy

from tagger.cli.commands.doctor import check_redis
from tagger.database import Priority
from tagger.errors import RedisMisconfigured
from tagger.ledger import suspend_for_root
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.workers import list_workers
from tagger.settings import Settings
from worker import broker, celery_patches, tasks as sweeper_module
from worker.broker import (
    MAX_MESSAGE_BYTES,
    TASK_NAME,
    TICK_NAME,
    RedisEndpoint,
    RedisKeys,
    check_accepts_messages,
    check_broker,
    report_dropped,
)
from worker.producer import TICK_S, TRANSPORT_OPTIONS, make_app, send_wake_ups

QUEUE = KEYS.queues[Priority.BULK]


@pytest.fixture
def channel(redis_server) -> Iterator[Any]:
    """A channel that may have one unacknowledged message, with two in its queue."""
    with closing(make_app(redis_server.url, KEYS)) as app:
        for number in range(2):
            app.send_task(TASK_NAME, task_id=f"number {number}", queue=QUEUE)
        with app.connection_for_read() as connection:
            opened = connection.default_channel
            opened.basic_qos(0, 1, False)
            yield opened


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_whose_end_redis_did_not_hear_of_leaves_room_for_the_next(channel, redis_server, end):
    message = channel.basic_get(QUEUE)
    assert not channel.qos.can_consume()
    redis_server.stop()
    getattr(message, end)()
    redis_server.start()
    assert channel.qos.can_consume()
    following = channel.basic_get(QUEUE)
    assert following.headers["id"] == "number 1"
    following.ack()
    with redis_server.client() as client:
        # It is delivered again after the time-out.
        assert client.hkeys(KEYS.unacked) == [message.delivery_tag.encode()]


def test_a_channel_that_was_closed_raises_a_connection_error_and_takes_late_ends(channel):
    message = channel.basic_get(QUEUE)
    channel.do_restore = False  # otherwise, restoring it opens a connection that the end would use
    connection = channel.connection.client
    connection.close()
    message.ack()
    with pytest.raises(connection.connection_errors, match="is closed"):
        channel.queue_declare(QUEUE)


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_of_redis_counts_as_a_lost_connection(channel, redis_server, kind):
    channel.basic_consume(QUEUE, no_ack=False, callback=lambda _: None, consumer_tag="1")
    redis_server.refuse_messages(kind)
    with pytest.raises(ResponseError) as refused:
        channel.connection.client.drain_events(timeout=10)
    # Celery ends the worker after other errors.
    assert isinstance(refused.value, channel.connection.client.connection_errors)


def test_beat_sends_no_tick_while_one_waits_and_each_is_taken(redis_server):
    with closing(make_app(redis_server.url, KEYS)) as app, redis_server.client() as client:
        scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
        (entry,) = scheduler.schedule.values()
        for _ in range(3):
            scheduler.apply_entry(entry, producer=scheduler.producer)
        assert client.llen(KEYS.ticks) == 1
        client.delete(KEYS.ticks)
        scheduler.apply_entry(entry, producer=scheduler.producer)
        assert client.llen(KEYS.ticks) == 1
        scheduler.close()
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    with closing(make_app(redis_server.url, KEYS)) as app:
        app.send_task(TICK_NAME, queue=KEYS.ticks, expires=long_ago)
        with app.connection_for_read() as connection:
            taken = connection.default_channel
            received = []
            taken.basic_consume(KEYS.ticks, no_ack=True, callback=received.append, consumer_tag="1")
            connection.drain_events(timeout=10)
    assert [message.headers.get("expires") for message in received] == [None]


def test_beat_goes_on_after_the_clock_was_ahead_and_set_right(redis_server):
    with closing(make_app(redis_server.url, KEYS)) as app, redis_server.client() as client:
        scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
        with clock_ahead(timedelta(days=1, seconds=TICK_S)):
            for _ in range(2):
                wait_s = scheduler.tick()
        assert client.llen(KEYS.ticks) == 1
        assert 0 < wait_s <= TICK_S
        client.delete(KEYS.ticks)
        assert 0 < scheduler.tick() <= TICK_S
        with clock_ahead(timedelta(seconds=TICK_S)):
            scheduler.tick()
        assert client.llen(KEYS.ticks) == 1
        scheduler.close()


def test_beat_waits_while_redis_is_away_or_refuses_ticks(redis_server, caplog):
    with closing(make_app(redis_server.url, KEYS)) as app:
        redis_server.stop()
        scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
        (entry,) = scheduler.schedule.values()
        for _ in range(2):
            scheduler.apply_entry(entry, producer=scheduler.producer)
        redis_server.start()
        redis_server.refuse_messages("full")
        scheduler.apply_entry(entry, producer=scheduler.producer)
        redis_server.accept_messages()
        scheduler.apply_entry(entry, producer=scheduler.producer)
        with redis_server.client() as client:
            assert client.llen(KEYS.ticks) == 1
        scheduler.close()
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(logged) == 2, logged
    assert "does not answer" in logged[0]
    assert "accepts messages again" in logged[1]
    assert not any(record.exc_info for record in caplog.records)


@pytest.fixture
def redis_proxy(redis_server, monkeypatch) -> Iterator[TcpProxy]:
    """A proxy in front of Redis; time limits are a second."""
    for limit in ("socket_timeout", "health_check_interval"):
        assert TRANSPORT_OPTIONS[limit]
        monkeypatch.setitem(TRANSPORT_OPTIONS, limit, 1)
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


def test_a_consumer_replaces_a_half_open_connection(redis_server, redis_proxy):
    with (
        closing(make_app(redis_server.url, KEYS)) as sender,
        closing(make_app(f"redis://127.0.0.1:{redis_proxy.port}/0", KEYS)) as app,
        app.connection_for_read() as connection,
    ):
        received: list[Any] = []
        channel = connection.default_channel
        channel.basic_consume(QUEUE, no_ack=True, callback=received.append, consumer_tag="1")
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.1)  # waits for messages
        redis_proxy.silence()
        time.sleep(1.5)  # until Redis ends the silent connection's wait, which would get the message
        sender.send_task(TASK_NAME, task_id="number 0", queue=QUEUE)
        _drain(connection, received)
    assert [message.headers["id"] for message in received] == ["number 0"]


def _drain(connection: Any, received: list[Any]) -> None:
    """Process events until a message is received, as a worker does, which connects again after an error."""
    until = time.monotonic() + 30
    while not received and time.monotonic() < until:
        with suppress(TimeoutError, *connection.connection_errors):
            connection.drain_events(timeout=1)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(broker, "time", clock)
    monkeypatch.setattr(celery_patches, "time", clock)
    return clock


@pytest.mark.parametrize("kind", REFUSALS)
def test_an_outage_is_logged_once_a_minute_and_its_end_once(redis_server, monitor, clock, caplog, kind):
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
def closed_redis(redis_server) -> Iterator[RedisServer]:
    """A Redis with a password."""
    with redis_server.client() as client:
        client.execute_command("CONFIG", "SET", "requirepass", "secret")
        yield redis_server
        client.execute_command("CONFIG", "SET", "requirepass", "")


@pytest.mark.parametrize(
    ("user", "database", "reason"),
    [
        ("", 0, "it needs a password"),
        (":wrong@", 0, "it refuses the user or the password"),
        ("nobody:secret@", 0, "it refuses the user or the password"),
        (":secret@", 99, "DB index is out of range"),
    ],
)
def test_a_server_that_refuses_the_address_answers(closed_redis, user, database, reason):
    url = f"redis://{user}127.0.0.1:{closed_redis.port}/{database}"
    refused = RedisEndpoint(url, KEYS, embedded=False)
    for check in (check_accepts_messages, check_broker):
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
def test_doctor_names_the_right_that_a_user_lacks(redis_server, rights, found):
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "ada", "reset", "on", ">p", "~*", "&*", *rights.split())
    url = f"redis://ada:p@127.0.0.1:{redis_server.port}/1"
    texts = [finding.found for finding in check_redis(Settings(redis_url=url), None)]
    assert any(found in text for text in texts), texts
    assert not any("does not answer" in text for text in texts)


def test_another_server_than_redis_is_named():
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


def test_a_worker_waits_for_redis_without_a_limit_and_can_be_stopped(clock, monkeypatch):
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
    monkeypatch.setattr(state, "should_stop", 0)
    with pytest.raises(SystemExit):
        waiting.ensure_connected(None)


def test_a_worker_says_which_root_it_waits_for_while_nothing_else_can_be_done(ledger, sweeper, database):
    job = ledger.job(5)
    suspend_for_root(database, job, "r")
    for _ in range(2):  # a sweep tells what the one before has found
        sweeper.sweep()
    assert [worker.waits_for for worker in list_workers(database)] == ["unavailable on its machine: r"]
    ledger.job(5)
    sweeper.sweep()
    assert [worker.waits_for for worker in list_workers(database)] == [None]


def test_a_sweep_waits_with_its_messages_while_redis_refuses_them(
    ledger, sweeper, redis_server, database, caplog
):
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
    sweeper, redis_server, database, monkeypatch
):
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


def test_a_sweep_sends_a_wake_up_for_each_chunk_that_waits_and_replaces_lost_ones(
    sweeper, redis_server, database
):
    job = LedgerBuilder(database).job(100)
    queue = RedisKeys(database.ledger_id).queues[Priority.BULK]
    with redis_server.client() as client:
        for waiting in (3, 2):
            sweeper.sweep()
            assert client.llen(queue) == waiting
            assert client.rpop(queue) is not None
            assert claim_next_chunk(database, job, "w") is not None
        client.flushdb()
        sweeper.sweep()
        assert client.llen(queue) == 1


SIGNATURE = {"task": "tagger.tick", "args": [], "kwargs": {}, "options": {}, "immutable": True}


@pytest.fixture
def app(redis_server) -> Iterator[Celery]:
    with closing(make_app(redis_server.url, KEYS)) as opened:
        yield opened


@pytest.fixture
def client(redis_server) -> Iterator[redis.Redis]:
    with redis_server.client() as opened:
        yield opened


@pytest.fixture
def reasons(monkeypatch) -> list[str]:
    reported: list[str] = []
    monkeypatch.setattr("worker.producer.report_dropped", reported.append)
    return reported


def received_messages(app: Celery, count: int) -> list[Any]:
    received: list[Any] = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        channel.basic_consume(QUEUE, no_ack=True, callback=received.append, consumer_tag="1")
        until = time.monotonic() + 30
        while (len(received) < count or channel.client.llen(QUEUE)) and time.monotonic() < until:
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.1)
    return received


def test_nothing_of_a_message_reaches_celery_but_its_task_and_id(app, client, redis_server):
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    body = [[{"number": 2}], {"name": 1}, {"callbacks": [SIGNATURE], "chord": SIGNATURE, "retries": 0}]
    message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    message["headers"] |= {
        "eta": "9999-01-01T00:00:00",
        "timelimit": [1, 1],
        "compression": "application/x-bz2",
    }
    message |= {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    message["properties"] |= {"reply_to": "x", "delivery_tag": "of another message"}
    client.lpush(QUEUE, json.dumps(message))
    (received,) = received_messages(app, 1)
    assert (received.content_type, received.content_encoding) == ("application/json", "utf-8")
    assert received.payload == [[], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]
    assert set(received.headers) == {"lang", "task", "id", "root_id", "retries", "timelimit", "ignore_result"}
    assert received.headers["timelimit"] == [None, None]
    assert "reply_to" not in received.properties
    assert received.delivery_tag != "of another message"


def test_messages_of_other_types_tasks_and_sizes_are_dropped(app, client, redis_server, reasons):
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    typed = [*TYPED, json.dumps(message | {"headers": json.loads(TYPED[0])}).encode()]
    client.lpush(QUEUE, *typed)
    assert received_messages(app, 0) == []
    assert len(reasons) == len(typed)
    # Celery's own tasks could run others, or delete results.
    builtin = [message["headers"] | {"task": name} for name in app.tasks if name.startswith("celery.")]
    client.lpush(QUEUE, *(json.dumps(message | {"headers": headers}) for headers in builtin))
    client.lpush(QUEUE, b"[" + b"[]," * MAX_MESSAGE_BYTES + b"0]", b"[" * 10_000 + b"]" * 10_000)
    assert received_messages(app, 0) == []
    assert reasons[len(typed) :] == ["its task is unknown"] * len(builtin) + ["it is too large"] * 2


def test_invalid_messages_are_logged_once_a_minute(caplog, monkeypatch):
    monkeypatch.setattr(broker, "_reported_at", -broker.REPORT_S)
    for number in range(10):
        report_dropped(f"junk {number}")
    assert caplog.messages == ["An invalid message was dropped: junk 0"]


def test_an_account_without_the_permission_for_types_can_send(client, redis_server):
    client.execute_command("ACL", "SETUSER", "sender", "on", ">secret", "~*", "+lpushx")
    url = redis_server.url.replace("redis://", "redis://sender:secret@")
    check_accepts_messages(RedisEndpoint(url, KEYS, embedded=False))
