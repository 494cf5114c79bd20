"""Checks of Redis: whether it answers, accepts messages and keeps them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.errors import RedisMisconfigured
from worker.broker import (
    RedisEndpoint,
    count_queued,
    find_broker,
    is_stopped,
    refusal,
    unavailable_error,
)
from worker.embedded_redis import server_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

NO_LEDGER = ""
"""In place of the ledger's id where the database cannot be opened: the server is checked, and it has no messages."""


def check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check that Redis answers, accepts messages and keeps them."""
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        with broker.client() as client:
            count_queued(client, broker.keys)  # first: every command needs this right
            yield _check_messages(client, broker)
            yield from _check_eviction(client)
    except (redis.RedisError, OSError) as error:
        yield _unavailable(broker, error)


def _check_messages(client: redis.Redis, broker: RedisEndpoint) -> Finding:
    try:
        client.lpushx(broker.keys.absent, "x")
    except redis.ResponseError as error:
        if refusal(error) is not None:
            raise
        found = f"it refuses messages: {error}"
        return wrong("redis", found, "give it more memory or disk, or repair its replication")
    server = "the embedded Redis" if broker.embedded else broker.redacted_url
    return ok("redis", f"{server} answers and accepts messages")


def _check_eviction(client: redis.Redis) -> Iterator[Finding]:
    """No finding where this user may not ask, which no other command needs."""
    with suppress(redis.ResponseError):
        facts = dict(client.info("memory"))
        policy = facts.get("maxmemory_policy", "noeviction")
        if int(facts.get("maxmemory", 0)) and policy != "noeviction":
            found = f"maxmemory-policy is {policy}: a full Redis drops messages"
            yield wrong("redis", found, "config set maxmemory-policy noeviction (and in redis.conf)")


def _unavailable(broker: RedisEndpoint, error: Exception) -> Finding:
    if not broker.embedded and isinstance(problem := unavailable_error(broker, error), RedisMisconfigured):
        found = f"Redis at {broker.redacted_url} cannot be used: {problem.values['reason']}"
        return wrong("redis", found, "correct TAGGER_REDIS_URL, or the user's rights in Redis")
    if not broker.embedded:
        found = f"Redis at {broker.redacted_url} does not answer: {str(error).rstrip('.')}"
        return wrong("redis", found, "start it, or correct TAGGER_REDIS_URL")
    if server_program() is None:
        found = "no Redis is configured, and the extra `embedded` is not installed"
        return note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
    if is_stopped(broker, error):
        return ok("redis", "the embedded Redis is not running; it starts when it is needed")
    found = f"the embedded Redis runs and does not answer at {broker.redacted_url}"
    return wrong("redis", found, "continue or kill its process valkey-server; the next worker starts it")
