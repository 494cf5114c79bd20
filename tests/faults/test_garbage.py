"""Invalid messages in Redis: the worker survives, stores them as dead letters, and processes the next job."""

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import redis
from support.artifacts import LABELS
from support.commands import draw_many
from support.fault_scenario import FaultScenario, is_alive
from support.servers import RedisServer

from worker.celery_app import make_app
from worker.dead_letters import DEAD_LETTERS
from worker.messages import TASK_NAME

QUEUE = "tagger.bulk"

Change = Callable[[dict[str, Any]], object]


def body(text: bytes) -> Change:
    return lambda message: message.update(body=base64.b64encode(text).decode())


def headers(**values: object) -> Change:
    return lambda message: message["headers"].update(values)


def properties(**values: object) -> Change:
    return lambda message: message["properties"].update(values)


CHANGES: list[Change] = [
    lambda message: message.update(body="a"),
    lambda message: message.update({"content-encoding": 5}),
    *(
        body(text)
        for text in (b"\xff\xfe{", b'"abc"', b"null", b"[[],{},{}]", b"[[1],{},[]]", b"[5,6,7]", b"[" * 9000)
    ),
    body(b'[[{}],{"x":1},{"callbacks":[1],"errbacks":5,"chain":[3],"chord":"q"}]'),
    *(properties(delivery_info=invalid) for invalid in (5, {}, {"exchange": 5, "routing_key": None})),
    *(properties(delivery_tag=invalid) for invalid in (None, [1], {})),
    properties(body_encoding="foo"),
    properties(reply_to=[1], correlation_id={}, priority="x", expiration="x"),
    *(headers(id=invalid) for invalid in (5, None, [1])),
    *(headers(timelimit=invalid) for invalid in (5, [1], [5], ["a", "b"])),
    headers(task="some.other.task"),
    headers(task=[1]),
    headers(compression="zlib"),
    headers(shadow=[1], group=5, stamps=7, stamped_headers=3, retries="x", eta="x", expires="x", origin=[1]),
]
RAW = [b"garbage", b"[1]", b"5", b"\xff\xfe\x00", b"{}", b"NaN", b"[" * 200_000, b"1" * 5000]


def variants(message: bytes) -> Iterator[bytes]:
    """Variants of a real message, each with something that Celery would not write."""
    for number, change in enumerate(CHANGES):
        invalid = copy.deepcopy(json.loads(message))
        invalid["properties"]["delivery_tag"] = invalid["headers"]["id"] = f"number {number}"
        change(invalid)
        yield json.dumps(invalid).encode()


def chunk_message(client: redis.Redis, url: str) -> bytes:
    """The message that Celery sends for a chunk, of an unknown version, so that workers store it as a dead letter."""
    app = make_app(url)
    app.send_task(TASK_NAME, args=[{"version": 2}], queue="elsewhere")  # a queue that no worker reads
    app.close()
    sent = client.rpop("elsewhere")
    assert isinstance(sent, bytes)
    return sent


def test_a_worker_survives_invalid_messages(scenario: FaultScenario, redis_server: RedisServer) -> None:
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", len(LABELS))
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        garbage = [*RAW, *variants(chunk_message(client, redis_server.url))]
        client.lpush(QUEUE, *garbage)
        terminal.wait_until(
            lambda: client.llen(DEAD_LETTERS) + client.llen(QUEUE) + client.hlen("unacked") >= len(garbage)
        )
        terminal.wait_until(lambda: client.llen(QUEUE) + client.hlen("unacked") == 0)
        assert client.llen(DEAD_LETTERS) == len(garbage)
        assert terminal.json("enqueue", "--wait", "few")["tagged"] == len(LABELS)
        assert is_alive(worker)


def test_broadcasts_are_answered_and_invalid_ones_ignored(
    scenario: FaultScenario, redis_server: RedisServer
) -> None:
    terminal = scenario.terminal
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        for invalid in (b"garbage", b'{"a": 1}', b"[1]", b"5", b"\xff"):
            client.publish("/0.celery.pidbox", invalid)
        app = make_app(redis_server.url)
        terminal.wait_until(lambda: app.control.ping(timeout=2))
        app.close()
        assert is_alive(worker)
