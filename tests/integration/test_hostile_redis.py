"""What other clients of Redis may write: keys of other types, junk, and messages that ask for more than a chunk."""

import base64
import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.utils.imports import symbol_by_name
from rig.invalid_messages import TYPED, chunk_message
from rig.servers import KEYS, RedisServer

from tagger.database.enums import Priority
from tagger.errors import RedisKeyForeign, RedisRefused
from worker import dead_letters
from worker.broker import Broker, check_accepts_messages, queue_depths
from worker.dead_letters import MAX_LETTERS, store_dead_letter
from worker.producer import make_app
from worker.redis_transport import MAX_MESSAGE_BYTES

QUEUE = KEYS.queues[Priority.BULK]
SIGNATURE = {"task": "tagger.tick", "args": [], "kwargs": {}, "options": {}, "immutable": True}


@pytest.fixture
def app(redis_server: RedisServer) -> Iterator[Celery]:
    with closing(make_app(redis_server.url, KEYS)) as opened:
        yield opened


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _reports_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_reporter", dead_letters._Reporter())


def received_messages(app: Celery, count: int) -> list[Any]:
    """Consume until the queue is empty, and `count` messages are received."""
    received: list[Any] = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        channel.basic_consume(QUEUE, no_ack=True, callback=received.append, consumer_tag="1")
        until = time.monotonic() + 30
        while (len(received) < count or channel.client.llen(QUEUE)) and time.monotonic() < until:
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.1)
    return received


@pytest.mark.parametrize("callbacks", ["callbacks", "errbacks", "chain", "chord"])
def test_a_message_with_callbacks_is_refused(
    app: Celery, client: redis.Redis, redis_server: RedisServer, callbacks: str
) -> None:
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    body = [[{"version": 2}], {}, {callbacks: [SIGNATURE]}]
    message["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    client.lpush(QUEUE, json.dumps(message), chunk_message(client, redis_server.url, KEYS))
    (received,) = received_messages(app, 1)
    assert received.payload == [
        [{"version": 2}],
        {},
        dict.fromkeys(("callbacks", "errbacks", "chain", "chord")),
    ]
    assert [json.loads(letter)["reason"] for letter in client.lrange(KEYS.dead_letters, 0, -1)] == [
        "it has callbacks"
    ]


def test_nothing_of_a_message_reaches_celery_but_its_arguments_and_id(
    app: Celery, client: redis.Redis, redis_server: RedisServer
) -> None:
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    message["body"] = base64.b64encode(b'[[{"version": 2}], {}, {"retries": 0}]').decode()
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
    assert received.payload[2] == dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))
    assert set(received.headers) == {"lang", "task", "id", "root_id", "retries", "timelimit", "ignore_result"}
    assert received.headers["timelimit"] == [None, None]
    assert "reply_to" not in received.properties
    assert received.delivery_tag != "of another message"


def test_documents_of_other_types_end_no_worker(
    app: Celery, client: redis.Redis, redis_server: RedisServer
) -> None:
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    invalid = [*TYPED, json.dumps(message | {"headers": json.loads(TYPED[0])}).encode()]
    for typed in TYPED:
        message["body"] = base64.b64encode(b"[[%s], {}, {}]" % typed).decode()
        invalid.append(json.dumps(message).encode())
    client.lpush(QUEUE, *invalid)
    assert received_messages(app, 0) == []
    assert client.llen(KEYS.dead_letters) == len(invalid)


def test_only_the_tasks_of_this_program_are_registered(app: Celery) -> None:
    app.loader.import_default_modules()
    assert sorted(app.tasks) == ["tagger.tag_chunk", "tagger.tick"]


def test_a_large_message_is_neither_parsed_nor_stored_whole(app: Celery, client: redis.Redis) -> None:
    client.lpush(QUEUE, b"[" + b"[]," * MAX_MESSAGE_BYTES + b"0]", b"[" * 10_000 + b"]" * 10_000)
    assert received_messages(app, 0) == []
    letters = client.lrange(KEYS.dead_letters, 0, -1)
    assert [json.loads(letter)["reason"] for letter in letters] == ["it is too large"] * 2
    assert max(map(len, letters)) < MAX_MESSAGE_BYTES


def test_dead_letters_are_bounded_and_logged_once_a_minute(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MAX_LETTERS + 10):
        store_dead_letter(client, KEYS.dead_letters, str(number).encode(), "junk")
    assert client.llen(KEYS.dead_letters) == MAX_LETTERS
    assert str(MAX_LETTERS + 9) in str(client.lindex(KEYS.dead_letters, -1))
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_junk_is_dropped_if_the_list_of_dead_letters_is_something_else(
    app: Celery, client: redis.Redis, redis_server: RedisServer
) -> None:
    client.set(KEYS.dead_letters, "x")
    client.lpush(QUEUE, b"junk", chunk_message(client, redis_server.url, KEYS))
    assert len(received_messages(app, 1)) == 1


def test_junk_among_unacknowledged_messages_is_deleted_and_the_others_are_restored(
    app: Celery, client: redis.Redis, redis_server: RedisServer
) -> None:
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    unacked = {
        "good": json.dumps([message, "", QUEUE]),
        "of an unknown queue": json.dumps([message, "", "somewhere"]),
        "of an unknown exchange": json.dumps([message, "exchange", ["x"]]),
        "junk": b"\xff",
        "number": b"1",
        "short": b"[1]",
        "deep": b"[" * 30_000,
        "large": b"x" * (3 * MAX_MESSAGE_BYTES),
    }
    client.hset(KEYS.unacked, mapping=unacked)
    client.zadd(KEYS.unacked_index, dict.fromkeys([*unacked, "not stored"], 1))
    with app.connection_for_read() as connection:
        connection.default_channel.qos.restore_visible()
    assert [json.loads(text) for text in client.lrange(QUEUE, 0, -1)] == [message]
    assert not client.exists(KEYS.unacked, KEYS.unacked_index, "somewhere")


@pytest.mark.parametrize("key", KEYS.types)
def test_a_foreign_key_is_named_until_it_is_deleted(
    client: redis.Redis, redis_server: RedisServer, key: str
) -> None:
    broker = Broker(redis_server.url, KEYS, embedded=False)
    client.set(key, "x")
    with pytest.raises(RedisKeyForeign, match=f"The key {key} of .* is a string; .*DEL {key}") as error:
        check_accepts_messages(broker)
    assert isinstance(error.value, RedisRefused)  # workers, beat and enqueue wait
    depths, reason = queue_depths(broker)
    assert set(depths.values()) == {None}
    assert f"DEL {key}" in str(reason)
    client.delete(key)
    check_accepts_messages(broker)
    assert queue_depths(broker) == (dict.fromkeys(Priority, 0), None)


def test_beat_waits_until_a_foreign_key_is_deleted(
    app: Celery, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.set(KEYS.ticks, "x")
    scheduler = symbol_by_name(app.conf.beat_scheduler)(app=app)
    (entry,) = scheduler.schedule.values()
    for _ in range(3):
        scheduler.apply_entry(entry, producer=scheduler.producer)
    client.delete(KEYS.ticks)
    scheduler.apply_entry(entry, producer=scheduler.producer)
    assert client.llen(KEYS.ticks) == 1
    scheduler.close()
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(logged) == 2, logged
    assert f"The key {KEYS.ticks} of" in logged[0]
    assert "accepts messages again" in logged[1]


def test_an_account_without_the_permission_for_types_can_send(
    client: redis.Redis, redis_server: RedisServer
) -> None:
    client.execute_command("ACL", "SETUSER", "sender", "on", ">secret", "~*", "+lpushx")
    url = redis_server.url.replace("redis://", "redis://sender:secret@")
    check_accepts_messages(Broker(url, KEYS, embedded=False))
    assert set(KEYS.message_queues) < set(KEYS.types)
