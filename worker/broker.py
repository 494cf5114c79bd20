"""The Redis broker: its address, a client, and the depth of its queues. Knows nothing of Celery."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tagger.addresses import check_redis_url, redact_url
from tagger.errors import RedisRefused, RedisUnavailable
from worker.celery_config import QUEUES
from worker.embedded_redis import embedded_url, start_embedded
from worker.redis_sockets import socket_client

if TYPE_CHECKING:
    from tagger.settings import Settings

TIMEOUT_S = 3.0
ABSENT_LIST = "tagger.absent"
"""A list that never exists: LPUSHX needs the same permissions and memory as a message, but writes nothing."""


@dataclass(frozen=True)
class Broker:
    """A Redis server. `embedded`: this program starts it."""

    url: str = field(repr=False)
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
            self.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )


def find_broker(settings: Settings, *, start: bool) -> Broker:
    """The configured Redis, or the embedded one, which `start` starts.

    Raises:
        RedisUnavailable: the embedded Redis cannot be started.
    """
    if settings.redis_url is not None:
        return Broker(settings.redis_url, embedded=False)
    url = start_embedded(settings.data_folder) if start else embedded_url(settings.data_folder)
    return Broker(url, embedded=True)


def check_broker(broker: Broker) -> None:
    """Check that Redis answers.

    Raises:
        RedisUnavailable: it does not.
    """
    try:
        with broker.client() as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise RedisUnavailable(url=broker.redacted_url, reason=str(error).rstrip(".")) from error


def check_accepts_messages(broker: Broker) -> None:
    """Check that Redis answers and accepts messages.

    Raises:
        RedisUnavailable: it does not answer.
        RedisRefused: it is full, a read-only replica, or has too few replicas.
    """
    try:
        with broker.client() as client:
            client.lpushx(ABSENT_LIST, "x")
    except redis.ResponseError as error:
        raise RedisRefused(url=broker.redacted_url, reason=str(error).rstrip(".")) from error
    except (redis.RedisError, ValueError) as error:
        raise RedisUnavailable(url=broker.redacted_url, reason=str(error).rstrip(".")) from error


def queue_depths(broker: Broker) -> tuple[dict[str, int | None], str | None]:
    """The number of messages per priority, None if Redis does not answer, and the reason for that."""
    try:
        with broker.client() as client:
            return {priority.value: int(client.llen(queue)) for priority, queue in QUEUES.items()}, None
    except (redis.RedisError, ValueError) as error:
        unknown: dict[str, int | None] = dict.fromkeys(priority.value for priority in QUEUES)
        if broker.embedded:
            return unknown, None  # it starts when it is needed
        return unknown, str(RedisUnavailable(url=broker.redacted_url, reason=str(error).rstrip(".")))
