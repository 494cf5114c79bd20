"""What Celery sends through Redis and takes from it: ended messages, and the ticks of beat."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu.utils.imports import symbol_by_name
from redis.exceptions import ResponseError
from rig.servers import KEYS, REFUSALS, RedisServer
from support.clocks import clock_ahead
from support.local_servers import TcpProxy

from tagger.database.enums import Priority
from worker.messages import TASK_NAME, TICK_NAME
from worker.producer import TICK_S, TRANSPORT_OPTIONS, make_app

QUEUE = KEYS.queues[Priority.BULK]


@pytest.fixture
def channel(redis_server: RedisServer) -> Iterator[Any]:
    """A channel that may have one unacknowledged message, with two in its queue."""
    with closing(make_app(redis_server.url, KEYS)) as app:
        for number in range(2):
            app.send_task(TASK_NAME, task_id=f"number {number}", queue=QUEUE)
        with app.connection_for_read() as connection:
            opened = connection.default_channel
            opened.basic_qos(0, 1, False)
            yield opened


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_whose_end_redis_did_not_hear_of_leaves_room_for_the_next(
    channel: Any, redis_server: RedisServer, end: str
) -> None:
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
        assert client.hkeys(KEYS.unacked) == [
            message.delivery_tag.encode()
        ]  # delivered again after the time-out


def test_a_channel_that_was_closed_raises_a_connection_error_and_takes_late_ends(channel: Any) -> None:
    message = channel.basic_get(QUEUE)
    channel.do_restore = False  # otherwise, restoring it opens a connection that the end would use
    connection = channel.connection.client
    connection.close()
    message.ack()
    with pytest.raises(connection.connection_errors, match="is closed"):
        channel.queue_declare(QUEUE)


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_of_redis_counts_as_a_lost_connection(
    channel: Any, redis_server: RedisServer, kind: str
) -> None:
    channel.basic_consume(QUEUE, no_ack=False, callback=lambda _: None, consumer_tag="1")
    redis_server.refuse_messages(kind)
    with pytest.raises(ResponseError) as refused:
        channel.connection.client.drain_events(timeout=10)
    # Celery ends the worker after other errors.
    assert isinstance(refused.value, channel.connection.client.connection_errors)


def test_a_tick_is_taken_whatever_the_clock_of_its_sender(redis_server: RedisServer) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    with closing(make_app(redis_server.url, KEYS)) as app:
        app.send_task(TICK_NAME, queue=KEYS.ticks, expires=long_ago)
        with app.connection_for_read() as connection:
            taken = connection.default_channel
            received = []
            taken.basic_consume(KEYS.ticks, no_ack=True, callback=received.append, consumer_tag="1")
            connection.drain_events(timeout=10)
    assert [message.headers.get("expires") for message in received] == [None]


def test_beat_sends_no_tick_while_one_waits(redis_server: RedisServer) -> None:
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


def test_beat_goes_on_after_the_clock_was_ahead_and_set_right(redis_server: RedisServer) -> None:
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


def test_beat_waits_while_redis_is_away_or_refuses_ticks(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
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
def redis_proxy(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """A proxy in front of Redis; time limits are a second."""
    for limit in ("socket_timeout", "health_check_interval"):
        assert TRANSPORT_OPTIONS[limit]
        monkeypatch.setitem(TRANSPORT_OPTIONS, limit, 1)
    with TcpProxy(redis_server.port) as proxy:
        yield proxy


def test_a_consumer_replaces_a_half_open_connection(redis_server: RedisServer, redis_proxy: TcpProxy) -> None:
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
