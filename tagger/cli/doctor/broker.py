"""Checks of Redis: connection, eviction, persistence, memory and queued messages."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis

from tagger.cli.doctor.access import check_redis_access
from tagger.cli.doctor.findings import note, ok, wrong
from tagger.ledger.dispatch import waiting_chunks
from worker.broker import count_queued, count_taken, find_broker, is_stopped
from worker.embedded_redis import server_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

MEMORY_NOTE = 0.8
"""Share of the memory limit of Redis."""
NO_LEDGER = ""
"""In place of the ledger's id where the database cannot be opened: the server is checked, and it has no messages."""


class RedisChecks:
    """Checks one Redis. If it does not answer, the other checks are skipped."""

    def __init__(self, settings: Settings, database: Database | None) -> None:
        self._database = database
        ledger_id = NO_LEDGER if database is None else database.ledger_id
        self._broker = find_broker(settings, ledger_id, start=False)
        self._keys = self._broker.keys

    def run(self) -> Iterator[Finding]:
        try:
            with self._broker.client() as client:
                began = time.monotonic()
                client.ping()
                answer_ms = (time.monotonic() - began) * 1000
                facts: dict[str, Any] = dict(client.info())
                yield self._described(facts, answer_ms)
                if not self._broker.embedded:
                    yield check_redis_access(self._broker.url)
                yield self._check_eviction(facts)
                yield self._check_persistence(facts)
                yield self._check_room(client, facts)
                yield from self._check_messages(client)
        except (redis.RedisError, OSError) as error:
            yield self._unavailable(error)
        except ValueError:  # invalid URL; the error may contain part of a password
            yield wrong(
                "redis", "TAGGER_REDIS_URL is not a URL", "export TAGGER_REDIS_URL=redis://HOST:6379/0"
            )

    def _described(self, facts: dict[str, Any], answer_ms: float) -> Finding:
        name = "the embedded Redis" if self._broker.embedded else self._broker.redacted_url
        return ok("redis", f"{name} answers in {answer_ms:.1f} ms, {_version(facts)}")

    def _unavailable(self, error: Exception) -> Finding:
        if not self._broker.embedded:
            found = f"Redis at {self._broker.redacted_url} does not answer: {str(error).rstrip('.')}"
            return wrong(
                "redis",
                found,
                f"start it or correct TAGGER_REDIS_URL, until this answers: {self._cli('ping')}",
            )
        if server_program() is None:
            found = "no Redis is configured, and the extra `embedded` is not installed"
            return note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
        if is_stopped(self._broker, error):
            return ok("redis", "the embedded Redis is not running; it starts when it is needed")
        found = f"the embedded Redis runs and does not answer at {self._broker.redacted_url}"
        return wrong("redis", found, "continue or kill its process valkey-server; the next worker starts it")

    def _check_eviction(self, facts: dict[str, Any]) -> Finding:
        policy, limit = facts.get("maxmemory_policy", "noeviction"), int(facts.get("maxmemory", 0))
        if policy == "noeviction":
            return ok("redis eviction", "noeviction: a full Redis refuses new messages and keeps the others")
        remedy = self._cli("config set maxmemory-policy noeviction") + " (and in redis.conf)"
        found = f"maxmemory-policy is {policy}: a full Redis drops messages"
        if limit:
            return wrong("redis eviction", f"{found}, and its memory is limited to {_mb(limit)}", remedy)
        return note("redis eviction", f"{found}; its memory has no limit so far", remedy)

    def _check_persistence(self, facts: dict[str, Any]) -> Finding:
        if facts.get("loading"):
            return note("redis persistence", "it is still loading its data", "wait")
        if facts.get("aof_enabled") and facts.get("aof_last_write_status", "ok") != "ok":
            found = "it could not write its append-only file: the disk is full or broken"
            return wrong("redis persistence", found, "df -h (on the machine that runs Redis)")
        if facts.get("aof_enabled"):
            return ok("redis persistence", "appendonly is on: messages survive a restart")
        found = "appendonly is off: a restart loses the messages, and workers send them again"
        return note(
            "redis persistence", found, self._cli("config set appendonly yes") + " (and in redis.conf)"
        )

    def _check_room(self, client: redis.Redis, facts: dict[str, Any]) -> Finding:
        used, limit = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
        room = f"{_mb(used)} of {_mb(limit)} in use" if limit else f"{_mb(used)} in use, no limit"
        more = self._cli("config set maxmemory 0") + ", or a larger limit"
        try:
            client.lpushx(self._keys.absent, "x")
        except redis.ResponseError as error:
            return wrong(
                "redis memory", f"it refuses messages: {error} ({room})", more if limit else self._cli("info")
            )
        if limit and used > MEMORY_NOTE * limit:
            return note("redis memory", f"it is nearly full: {room}", more)
        return ok("redis memory", f"it accepts messages; {room}")

    def _check_messages(self, client: redis.Redis) -> Iterator[Finding]:
        depths = count_queued(client, self._keys)
        shown = ", ".join(f"{name} {depth}" for name, depth in depths.items())
        shown = f"queued: {shown}; unacknowledged: {count_taken(client, self._keys)}"
        waiting = {} if self._database is None else waiting_chunks(self._database)
        if unannounced := [priority for priority, count in waiting.items() if count and not depths[priority]]:
            found = f"none for the {' and '.join(unannounced)} chunks that wait; {shown}"
            yield note("messages", found, "tagger worker (it sends them within seconds)")
        else:
            yield ok("messages", shown)

    def _cli(self, words: str) -> str:
        """Return a redis-cli command for this Redis, without its password."""
        address = self._broker.redacted_url
        if not address.startswith("redis+socket://"):
            return f"redis-cli -u {address} {words}"
        return f"redis-cli -s {address.removeprefix('redis+socket://')} {words}"


def _version(facts: dict[str, Any]) -> str:
    """The server's own version. As `redis_version`, Valkey tells that of the Redis with which it is compatible."""
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts['redis_version']}"


def _mb(count: int) -> str:
    return f"{count / 2**20:.1f} MB"
