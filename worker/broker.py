"""The Redis broker: its address, a client, its queues, and whether it accepts messages."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tagger.database.enums import Priority
from tagger.errors import RedisMisconfigured, RedisRefused, RedisUnavailable
from tagger.texts.addresses import check_redis_url, redact_url
from worker.embedded_redis import socket_client, start_embedded
from worker.embedded_socket import embedded_url
from worker.messages import RedisKeys

if TYPE_CHECKING:
    from tagger.settings import Settings

TIMEOUT_S = 3.0
log = logging.getLogger(__name__)
# How often an outage is logged.
REPORT_S = 60.0


@dataclass(frozen=True)
class RedisEndpoint:
    """A Redis server, and the keys of a ledger in it. `embedded`: this program starts it."""

    url: str = field(repr=False)
    keys: RedisKeys
    embedded: bool

    @property
    def redacted_url(self) -> str:
        """The address without its password."""
        return redact_url(self.url)

    def client(self) -> redis.Redis:
        """A client that fails within TIMEOUT_S and does not retry.

        Raises:
            AddressInvalid: the address is not one of Redis.
        """
        check_redis_url(self.url)
        if self.url.startswith("redis+socket://"):
            return socket_client(urlsplit(self.url).path, TIMEOUT_S)
        return redis.Redis.from_url(
            self.url,
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
            raise RedisRefused(url=broker.redacted_url, reason=str(error).rstrip(".")) from error
        raise unavailable_error(broker, error) from error


def unavailable_error(broker: RedisEndpoint, error: BaseException) -> RedisUnavailable:
    """The error for users, from one of the client."""
    if isinstance(error, redis.ResponseError) or refusal(error):
        reason = refusal(error) or str(error).rstrip(".")
        return RedisMisconfigured(url=broker.redacted_url, reason=reason)
    reason = str(error).rstrip(".").replace(". ", ": ")  # advice follows the first full stop
    return RedisUnavailable(url=broker.redacted_url, reason=reason)


def refusal(error: BaseException) -> str | None:
    """Why a server that answers does not serve this user at this address; None for all other errors."""
    text = str(error).rstrip(".")
    if isinstance(error, redis.AuthenticationError):
        return "it refuses the user or the password" if "invalid" in text else "it needs a password"
    if isinstance(error, redis.InvalidResponse):
        return "another program than Redis answers there"
    is_refusal = isinstance(error, redis.exceptions.NoPermissionError)
    return text if is_refusal or "DB index" in text or "unknown command" in text else None


def queue_depths(broker: RedisEndpoint) -> tuple[dict[str, int | None], RedisUnavailable | None]:
    """The number of messages per priority, None if it is unknown, and the reason for that.

    There is no reason if the embedded Redis has not been started.
    """
    try:
        with broker.client() as client:
            return {**count_queued(client, broker.keys)}, None
    except (redis.RedisError, ValueError) as error:
        unknown: dict[str, int | None] = dict.fromkeys(priority.value for priority in Priority)
        if is_stopped(broker, error):
            return unknown, None
        return unknown, unavailable_error(broker, error)


def is_stopped(broker: RedisEndpoint, error: BaseException | None) -> bool:
    """Whether the embedded Redis does not run: it starts when needed. One that is silent is frozen."""
    return broker.embedded and not isinstance(error, redis.TimeoutError)


def count_queued(client: redis.Redis, keys: RedisKeys) -> dict[str, int]:
    """The number of messages per priority."""
    return {priority.value: int(str(client.llen(queue))) for priority, queue in keys.queues.items()}


class RedisMonitor:
    """Watches whether Redis accepts messages, for all threads: outages and their ends are logged once."""

    def __init__(self, broker: RedisEndpoint) -> None:
        self.broker = broker
        self._lock = threading.Lock()
        self._reported_at: float | None = None
        # None after its end was logged.
        self._outage_since: float | None = None

    def accepts_messages(self) -> bool:
        """Check Redis now, and log the result if it is news."""
        try:
            check_accepts_messages(self.broker)
        except (RedisUnavailable, RedisRefused) as error:
            self.report(str(error))
            return False
        self._report_end()
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

    def _report_end(self) -> None:
        with self._lock:
            since, self._outage_since = self._outage_since, None
        if since is not None:
            log.warning("Redis accepts messages again, after %.0f s", time.monotonic() - since)


@cache
def shared_monitor(broker: RedisEndpoint) -> RedisMonitor:
    """The monitor of this process."""
    return RedisMonitor(broker)
