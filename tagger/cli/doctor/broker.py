"""Checks whether Redis answers, accepts messages and keeps them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.errors import RedisMisconfigured, RedisRefused, TaggerError
from worker.broker import check_accepts_messages, find_broker, is_stopped, queue_depths
from worker.embedded_redis import server_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings
    from worker.broker import RedisEndpoint

NO_LEDGER = ""
"""In place of the ledger's id where the database cannot be opened: the server is checked, and it has no messages."""


def check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check Redis as every command does, and whether it drops messages when it is full."""
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        check_accepts_messages(broker)
        if (problem := queue_depths(broker)[1]) is not None:  # of a right that workers lack
            raise problem
    except TaggerError as error:
        yield _unavailable(broker, error)
        return
    server = "the embedded Redis" if broker.embedded else broker.redacted_url
    yield ok("redis", f"{server} answers and accepts messages")
    # A user may lack the right to ask, which no other command needs.
    with suppress(redis.ResponseError), broker.client() as client:
        memory = dict(client.info("memory"))
        policy = memory.get("maxmemory_policy", "noeviction")
        if int(memory.get("maxmemory", 0)) and policy != "noeviction":
            found = f"maxmemory-policy is {policy}: a full Redis drops messages"
            yield wrong("redis", found, "config set maxmemory-policy noeviction (and in redis.conf)")


def _unavailable(broker: RedisEndpoint, error: TaggerError) -> Finding:
    reason = error.values.get("reason", error)
    if isinstance(error, RedisRefused):
        remedy = "give it more memory or disk, or repair its replication"
        return wrong("redis", f"it refuses messages: {reason}", remedy)
    if not broker.embedded and isinstance(error, RedisMisconfigured):
        found = f"Redis at {broker.redacted_url} cannot be used: {reason}"
        return wrong("redis", found, "correct TAGGER_REDIS_URL, or the user's rights in Redis")
    if not broker.embedded:
        found = f"Redis at {broker.redacted_url} does not answer: {reason}"
        return wrong("redis", found, "start it, or correct TAGGER_REDIS_URL")
    if server_program() is None:
        found = "no Redis is configured, and the extra `embedded` is not installed"
        return note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
    if is_stopped(broker, error.__cause__):
        return ok("redis", "the embedded Redis is not running; it starts when it is needed")
    found = f"the embedded Redis runs and does not answer at {broker.redacted_url}"
    return wrong("redis", found, "continue or kill its process valkey-server; the next worker starts it")
