"""Checks of Redis: connection, access, eviction, persistence, memory and queued messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import redis

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.errors import RedisMisconfigured
from tagger.ledger.dispatch import waiting_chunks
from tagger.system.addresses import is_remote
from worker.broker import (
    RedisEndpoint,
    count_queued,
    count_taken,
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
    """Check one Redis. If it does not answer, the other checks are skipped."""
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        with broker.client() as client:
            count_queued(client, broker.keys)  # first: every command needs this right
            facts = _facts(client)
            yield ok("redis", f"{'the embedded Redis' if broker.embedded else broker.redacted_url} answers")
            if not broker.embedded:
                yield check_redis_access(broker.url)
            if facts:
                yield _check_eviction(facts)
                yield _check_persistence(facts)
            else:
                found = "this user may not run INFO, so eviction and persistence are not checked"
                yield note("redis eviction", found, "ask who runs the server: docs/how-to/harden.md, Redis")
            yield _check_room(client, broker, facts)
            yield _check_messages(client, broker, database)
    except (redis.RedisError, OSError) as error:
        yield _unavailable(broker, error)


def _facts(client: redis.Redis) -> dict[str, Any]:
    """What the server says of itself; nothing if this user may not ask, which no other command needs."""
    try:
        return dict(client.info())
    except redis.ResponseError as error:
        if refusal(error) is None:
            raise
        return {}


def check_redis_access(url: str) -> Finding:
    """Check who else can read the messages in a Redis server, or send some. `url` must be valid."""
    address = urlsplit(url)
    if not is_remote(address.hostname):
        return ok("redis access", "the server is on this machine")
    problems = []
    if not address.password:
        problems.append("everybody who reaches it can delete jobs' messages, as it needs no password")
    if address.scheme != "rediss":
        problems.append("messages and password are sent unencrypted")
    elif parse_qs(address.query).get("ssl_cert_reqs", ["required"])[-1] != "required":
        problems.append("its certificate is not checked")
    if problems:
        return note("redis access", "; ".join(problems), "docs/how-to/harden.md, Redis")
    return ok("redis access", "with a password and TLS")


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


def _check_eviction(facts: dict[str, Any]) -> Finding:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ok("redis eviction", "noeviction: a full Redis refuses new messages and keeps the others")
    make_finding = wrong if int(facts.get("maxmemory", 0)) else note
    found = f"maxmemory-policy is {policy}: a full Redis drops messages"
    return make_finding("redis eviction", found, "config set maxmemory-policy noeviction (and in redis.conf)")


def _check_persistence(facts: dict[str, Any]) -> Finding:
    if facts.get("aof_enabled"):
        return ok("redis persistence", "appendonly is on: messages survive a restart")
    found = "appendonly is off: a restart loses the messages, and workers send them again"
    return note("redis persistence", found, "config set appendonly yes (and in redis.conf)")


def _check_room(client: redis.Redis, broker: RedisEndpoint, facts: dict[str, Any]) -> Finding:
    used, limit = (int(facts.get(name, 0)) / 2**20 for name in ("used_memory", "maxmemory"))
    room = f"{used:.1f} MB in use, {f'of {limit:.1f} MB' if limit else 'no limit'}" if facts else "not known"
    try:
        client.lpushx(broker.keys.absent, "x")
    except redis.ResponseError as error:
        if refusal(error) is not None:
            raise
        found = f"it refuses messages: {error} ({room})"
        return wrong("redis memory", found, "give it more memory or disk, or repair its replication")
    return ok("redis memory", f"it accepts messages; {room}")


def _check_messages(client: redis.Redis, broker: RedisEndpoint, database: Database | None) -> Finding:
    depths = count_queued(client, broker.keys)
    shown = ", ".join(f"{name} {depth}" for name, depth in depths.items())
    shown = f"queued: {shown}; unacknowledged: {count_taken(client, broker.keys)}"
    waiting = {} if database is None else waiting_chunks(database)
    if unannounced := [priority for priority, count in waiting.items() if count and not depths[priority]]:
        found = f"none for the {' and '.join(unannounced)} jobs that wait; {shown}"
        return note("messages", found, "tagger worker (it sends them within seconds)")
    return ok("messages", shown)
