"""Whatever others write into Redis: a worker lives, takes the next job, and loses nothing that it did not understand."""

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import redis
from artifacts import LABELS
from commands import draw_many
from ordeal import Ordeal, is_alive
from servers import RedisServer

from worker.celery_app import make_app
from worker.celery_settings import REFUSED
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
    *(properties(delivery_info=odd) for odd in (5, {}, {"exchange": 5, "routing_key": None})),
    *(properties(delivery_tag=odd) for odd in (None, [1], {})),
    properties(body_encoding="foo"),
    properties(reply_to=[1], correlation_id={}, priority="x", expiration="x"),
    *(headers(id=odd) for odd in (5, None, [1])),
    *(headers(timelimit=odd) for odd in (5, [1], [5], ["a", "b"])),
    headers(task="some.other.task"),
    headers(task=[1]),
    headers(compression="zlib"),
    headers(shadow=[1], group=5, stamps=7, stamped_headers=3, retries="x", eta="x", expires="x", origin=[1]),
]
RAW = [b"garbage", b"[1]", b"5", b"\xff\xfe\x00", b"{}", b"NaN", b"[" * 200_000, b"1" * 5000]


def changed(message: bytes) -> Iterator[bytes]:
    """A real message, each time with something in it that Celery did not write."""
    for number, change in enumerate(CHANGES):
        odd = copy.deepcopy(json.loads(message))
        odd["properties"]["delivery_tag"] = odd["headers"]["id"] = f"number {number}"
        change(odd)
        yield json.dumps(odd).encode()


def a_message(client: redis.Redis, url: str) -> bytes:
    """What Celery writes for a chunk; of a version that no worker knows, so that whoever gets it keeps it."""
    app = make_app(url)
    app.send_task(TASK_NAME, args=[{"version": 2}], queue="elsewhere")  # where no worker takes it
    app.close()
    sent = client.rpop("elsewhere")
    assert isinstance(sent, bytes)
    return sent


def test_no_garbage_in_redis_ends_a_worker_or_makes_it_deaf(
    ordeal: Ordeal, redis_server: RedisServer
) -> None:
    terminal = ordeal.terminal
    draw_many(terminal.folder / "few", len(LABELS))
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        garbage = [*RAW, *changed(a_message(client, redis_server.url))]
        client.lpush(QUEUE, *garbage)
        terminal.wait_until(
            lambda: client.llen(REFUSED) + client.llen(QUEUE) + client.hlen("unacked") >= len(garbage)
        )
        terminal.wait_until(lambda: client.llen(QUEUE) + client.hlen("unacked") == 0)
        assert client.llen(REFUSED) == len(garbage)
        assert terminal.json("enqueue", "--wait", "few")["tagged"] == len(LABELS)
        assert is_alive(worker)


def test_broadcasts_are_answered_and_odd_ones_pass_by(ordeal: Ordeal, redis_server: RedisServer) -> None:
    terminal = ordeal.terminal
    with terminal.workers(1) as (worker,), redis_server.client() as client:
        for odd in (b"garbage", b'{"a": 1}', b"[1]", b"5", b"\xff"):
            client.publish("/0.celery.pidbox", odd)
        app = make_app(redis_server.url)
        terminal.wait_until(lambda: app.control.ping(timeout=2))
        app.close()
        assert is_alive(worker)
