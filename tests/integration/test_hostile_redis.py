"""What other clients of Redis may write: junk, and messages that ask for more than a chunk."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
import redis
from celery import Celery
from rig.invalid_messages import TYPED, chunk_message
from rig.servers import KEYS, RedisServer

from tagger.database.enums import Priority
from worker import messages
from worker.broker import RedisEndpoint, check_accepts_messages
from worker.messages import MAX_MESSAGE_BYTES, report_dropped
from worker.producer import make_app

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
def reasons(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why messages were dropped."""
    reported: list[str] = []
    monkeypatch.setattr("worker.redis_transport.report_dropped", reported.append)
    return reported


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


def test_nothing_of_a_message_reaches_celery_but_its_task_and_id(
    app: Celery, client: redis.Redis, redis_server: RedisServer
) -> None:
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


def test_documents_of_other_types_end_no_worker(
    app: Celery, client: redis.Redis, redis_server: RedisServer, reasons: list[str]
) -> None:
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    invalid = [*TYPED, json.dumps(message | {"headers": json.loads(TYPED[0])}).encode()]
    client.lpush(QUEUE, *invalid)
    assert received_messages(app, 0) == []
    assert len(reasons) == len(invalid)


def test_tasks_that_celery_brings_are_refused(
    app: Celery, client: redis.Redis, redis_server: RedisServer, reasons: list[str]
) -> None:
    """They could run other tasks, or delete results."""
    message = json.loads(chunk_message(client, redis_server.url, KEYS))
    builtin = [name for name in app.tasks if name.startswith("celery.")]
    client.lpush(
        QUEUE, *(json.dumps(message | {"headers": message["headers"] | {"task": name}}) for name in builtin)
    )
    assert received_messages(app, 0) == []
    assert reasons == ["its task is unknown"] * len(builtin)


def test_a_large_message_is_not_parsed(app: Celery, client: redis.Redis, reasons: list[str]) -> None:
    client.lpush(QUEUE, b"[" + b"[]," * MAX_MESSAGE_BYTES + b"0]", b"[" * 10_000 + b"]" * 10_000)
    assert received_messages(app, 0) == []
    assert reasons == ["it is too large"] * 2


def test_invalid_messages_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_reported_at", -messages.REPORT_S)
    for number in range(10):
        report_dropped(f"junk {number}")
    assert caplog.messages == ["An invalid message was dropped: junk 0"]


def test_an_account_without_the_permission_for_types_can_send(
    client: redis.Redis, redis_server: RedisServer
) -> None:
    client.execute_command("ACL", "SETUSER", "sender", "on", ">secret", "~*", "+lpushx")
    url = redis_server.url.replace("redis://", "redis://sender:secret@")
    check_accepts_messages(RedisEndpoint(url, KEYS, embedded=False))
