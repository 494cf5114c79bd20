"""The Redis broker: its address, a client, its queues, whether it accepts messages; and these messages.

Wake-ups and ticks say nothing but their task, and what a worker claims is in SQL. So other clients of Redis
can cause neither callbacks nor other tasks: what reaches Celery is built anew from the task and the id.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tagger.database import Priority
from tagger.errors import RedisMisconfigured, RedisRefused, RedisUnavailable
from tagger.texts.addresses import redact_url, redis_address
from worker.embedded_redis import embedded_url, socket_client, start_embedded

if TYPE_CHECKING:
    from tagger.settings import Settings


TIMEOUT_S = 3.0
log = logging.getLogger(__name__)
# How often an outage, or a message that is dropped, is logged: another program may send them without end.
REPORT_S = 60.0


@dataclass(frozen=True)
class RedisEndpoint:
    """A Redis server, and the keys of a ledger in it. `embedded`: this program starts it."""

    url: str = field(repr=False)
    keys: RedisKeys
    embedded: bool

    @property
    def redacted_url(self) -> str:
        return redact_url(self.url)

    def client(self) -> redis.Redis:
        """A client that fails within TIMEOUT_S and does not retry.

        Raises:
            AddressInvalid: the address is not one of Redis.
        """
        url = redis_address(self.url)
        if url.startswith("redis+socket://"):
            return socket_client(urlsplit(url).path, TIMEOUT_S)
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )


def find_broker(settings: Settings, ledger_id: str, *, start: bool) -> RedisEndpoint:
    """The configured Redis, or the embedded one of the ledger, which `start` starts.

    Raises:
        RedisUnavailable: the embedded Redis cannot be started.
        PermissionsUnsafe: other users can change its folder.
    """
    keys = RedisKeys(ledger_id)
    if settings.redis_url is not None:
        return RedisEndpoint(settings.redis_url, keys, embedded=False)
    find = start_embedded if start else embedded_url
    return RedisEndpoint(find(settings.data_folder, ledger_id), keys, embedded=True)


def check_broker(broker: RedisEndpoint) -> None:
    """Check that Redis answers.

    Raises:
        RedisUnavailable: it does not, or not as it should.
    """
    try:
        with broker.client() as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise unavailable_error(broker, error) from error


def check_accepts_messages(broker: RedisEndpoint) -> None:
    """Check that Redis answers and accepts messages.

    Raises:
        RedisUnavailable: it does not answer, or not as it should.
        RedisRefused: it is full, a read-only replica, or has too few replicas.
    """
    try:
        with broker.client() as client:
            client.lpushx(broker.keys.absent, "x")
    except (redis.RedisError, ValueError) as error:
        if isinstance(error, redis.ResponseError) and refusal(error) is None:
            raise RedisRefused(
                url=broker.redacted_url, reason=str(error).rstrip(".")
            ) from error
        raise unavailable_error(broker, error) from error


def unavailable_error(broker: RedisEndpoint, error: BaseException) -> RedisUnavailable:
    if isinstance(error, redis.ResponseError) or refusal(error):
        reason = refusal(error) or str(error).rstrip(".")
        return RedisMisconfigured(url=broker.redacted_url, reason=reason)
    reason = (
        str(error).rstrip(".").replace(". ", ": ")
    )  # advice follows the first full stop
    return RedisUnavailable(url=broker.redacted_url, reason=reason)


def refusal(error: BaseException) -> str | None:
    """Why a server that answers does not serve this user at this address; None for all other errors."""
    text = str(error).rstrip(".")
    if isinstance(error, redis.AuthenticationError):
        return (
            "it refuses the user or the password"
            if "invalid" in text
            else "it needs a password"
        )
    if isinstance(error, redis.InvalidResponse):
        return "another program than Redis answers there"
    is_refusal = isinstance(error, redis.exceptions.NoPermissionError)
    return (
        text if is_refusal or "DB index" in text or "unknown command" in text else None
    )


def queue_depths(
    broker: RedisEndpoint,
) -> tuple[dict[str, int | None], RedisUnavailable | None]:
    """The number of messages per priority, None if it is unknown, and the reason for that.

    There is no reason if the embedded Redis has not been started.
    """
    depths: dict[str, int | None] = dict.fromkeys(each.value for each in Priority)
    try:
        with broker.client() as client:
            for priority, queue in broker.keys.queues.items():
                depths[priority.value] = int(str(client.llen(queue)))
    except (redis.RedisError, ValueError) as error:
        problem = (
            None if is_stopped(broker, error) else unavailable_error(broker, error)
        )
        return dict.fromkeys(depths), problem
    return depths, None


def is_stopped(broker: RedisEndpoint, error: BaseException | None) -> bool:
    """Whether the embedded Redis does not run: it starts when needed. One that is silent is frozen."""
    return broker.embedded and not isinstance(error, redis.TimeoutError)


class RedisMonitor:
    """Watches whether Redis accepts messages, for all threads: outages and their ends are logged once."""

    def __init__(self, broker: RedisEndpoint) -> None:
        self.broker = broker
        self._lock = threading.Lock()
        self._reported_at: float | None = None
        # None after its end was logged.
        self._outage_since: float | None = None

    def accepts_messages(self) -> bool:
        try:
            check_accepts_messages(self.broker)
        except (RedisUnavailable, RedisRefused) as error:
            self.report(str(error))
            return False
        with self._lock:
            since, self._outage_since = self._outage_since, None
        if since is not None:
            log.warning(
                "Redis accepts messages again, after %.0f s", time.monotonic() - since
            )
        return True

    def report(self, problem: str) -> None:
        """Log a problem with Redis, unless one was logged within REPORT_S."""
        now = time.monotonic()
        with self._lock:
            if self._reported_at is not None and now - self._reported_at < REPORT_S:
                return
            self._reported_at = now
            self._outage_since = self._outage_since or now
        log.warning("%s", problem)


# One for each broker in this process.
shared_monitor = cache(RedisMonitor)


TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


@dataclass(frozen=True)
class RedisKeys:
    """The keys of one database in Redis, with its ledger's id: databases that share a Redis never meet."""

    ledger_id: str

    @property
    def queues(self) -> dict[Priority, str]:
        """One queue of wake-ups per priority. Each wakes a worker that reads it (see ledger.workers)."""
        return {priority: self._key(priority) for priority in Priority}

    @property
    def ticks(self) -> str:
        """A queue that every worker reads. It holds at most one tick per beat: see worker.celery_patches."""
        return self._key("ticks")

    @property
    def unacked(self) -> str:
        """The hash in which Celery's transport stores messages that workers have not acknowledged."""
        return self._key("unacked")

    @property
    def transport_options(self) -> dict[str, str]:
        return {
            "unacked_key": self.unacked,
            "unacked_index_key": self._key("unacked_index"),
            "unacked_mutex_key": self._key("unacked_mutex"),
            "keyprefix_queue": self._key("binding.%s"),
            "keyprefix_binding_deadlines": self._key("binding_deadlines"),
            "keyprefix_binding_permanent": self._key("binding_permanent.%s"),
        }

    @property
    def absent(self) -> str:
        """A list that never exists: LPUSHX on it needs the rights of a message, and writes nothing."""
        return self._key("absent")

    def _key(self, name: str) -> str:
        return f"tagger.{self.ledger_id}.{name}"


_reported_at = -REPORT_S


def report_dropped(reason: str) -> None:
    """Log that an invalid message was dropped, and why, unless one was logged within REPORT_S."""
    global _reported_at  # noqa: PLW0603 - of this process
    if (now := time.monotonic()) - _reported_at >= REPORT_S:
        _reported_at = now
        log.error("An invalid message was dropped: %s", reason)


# Messages of this program have about 600 bytes.
MAX_MESSAGE_BYTES = 16 * 2**10
# The id of a message. Celery writes it to the log.
_ID = re.compile(r"[\w -]{1,100}", re.ASCII)
_NO_ARGUMENTS = [[], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]


def validated_message(message: Any, queue: str) -> dict[str, Any]:
    """Return a new message of Celery with the same task and id.

    Raises:
        ValueError: Celery did not send it, or its task is unknown.
    """
    headers = message.get("headers") if isinstance(message, Mapping) else None
    task, number = (
        map(headers.get, ("task", "id"))
        if isinstance(headers, Mapping)
        else (None, None)
    )
    if (
        task not in (TASK_NAME, TICK_NAME)
        or not isinstance(number, str)
        or not _ID.fullmatch(number)
    ):
        raise ValueError("its task is unknown")
    return {
        "body": base64.b64encode(json.dumps(_NO_ARGUMENTS).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": number,
            "root_id": number,
            "retries": 0,
            "timelimit": [None, None],
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": number,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),  # a sender's could be that of another message
        },
    }
