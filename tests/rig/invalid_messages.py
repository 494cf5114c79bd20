"""Messages in Redis that Celery would never write."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import redis

from worker.broker import TASK_NAME, RedisKeys
from worker.producer import make_app

Change = Callable[[dict[str, Any]], object]


def headers(**values: object) -> Change:
    return lambda message: message["headers"].update(values)


def properties(**values: object) -> Change:
    return lambda message: message["properties"].update(values)


_INVALID_INFOS: list[object] = [5, {}, {"exchange": 5, "routing_key": None}]
_INVALID_TAGS: list[object] = [None, [1], {}]
CHANGES: list[Change] = [
    lambda message: message.update(body="a"),
    lambda message: message.update({"content-encoding": 5}),
    *(properties(delivery_info=invalid) for invalid in _INVALID_INFOS),
    *(properties(delivery_tag=invalid) for invalid in _INVALID_TAGS),
    # Documents of which kombu's parser makes other types.
    headers(x={"__type__": "decimal", "__value__": "x"}),
    lambda message: message.update(headers={"__type__": "datetime", "__value__": 5}),
    properties(body_encoding="foo"),
    properties(reply_to=[1], correlation_id={}, priority="x", expiration="x"),
    *(headers(id=invalid) for invalid in (5, None, [1], "", "\n\x1b[31m", "\u2028", "a" * 101)),
    *(headers(timelimit=invalid) for invalid in (5, [1], [5], ["a", "b"])),
    headers(task="some.other.task"),
    headers(task=[1]),
    headers(compression="zlib"),
    headers(shadow=[1], group=5, stamps=7, stamped_headers=3, retries="x", eta="x", expires="x", origin=[1]),
]
TYPED = [
    b'{"__type__": "%s", "__value__": %s}' % (name, value)
    for name in (b"datetime", b"date", b"time", b"decimal", b"uuid", b"bytes")
    for value in (b"5", b'"x"')
]
RAW = [*TYPED, b"garbage", b"[1]", b"5", b"\xff\xfe\x00", b"{}", b"NaN", b"[" * 200_000, b"1" * 5000]


def _variants(message: bytes) -> Iterator[bytes]:
    """Variants of a real message, each with something that Celery would not write."""
    for number, change in enumerate(CHANGES):
        invalid = copy.deepcopy(json.loads(message))
        invalid["properties"]["delivery_tag"] = invalid["headers"]["id"] = f"number {number}"
        change(invalid)
        yield json.dumps(invalid).encode()


def chunk_message(client: redis.Redis, url: str, keys: RedisKeys) -> bytes:
    """The message that Celery sends to wake a worker."""
    app = make_app(url, keys)
    app.send_task(TASK_NAME, queue="elsewhere")  # a queue that no worker reads
    app.close()
    sent = client.rpop("elsewhere")
    assert isinstance(sent, bytes)
    return sent


def invalid_messages(client: redis.Redis, url: str, keys: RedisKeys) -> list[bytes]:
    """Noise, and variants of a real message with invalid values. The worker drops each, or finds no chunk."""
    return [*RAW, *_variants(chunk_message(client, url, keys))]
