"""Redis as the ledger sees it: where it is, how many messages wait, sending those that are due.

Losing all of it loses no work. Imports Celery only to send.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tagger.errors import RedisUnavailable
from tagger.ledger.dispatch import mark_sent, unsent
from tagger.settings import shown_address
from worker.celery_settings import QUEUES, REFUSED
from worker.embedded import embedded_url, start_embedded

if TYPE_CHECKING:
    from celery import Celery

    from tagger.database import Database
    from tagger.settings import Settings

TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Broker:
    """A Redis by its address; `embedded` if it is our own."""

    url: str
    embedded: bool

    @property
    def shown_url(self) -> str:
        """The address without a password."""
        return shown_address(self.url)

    def client(self) -> redis.Redis:
        """A client that answers or fails at once: whoever asks has something else to do."""
        if self.url.startswith("redis+socket://"):
            return redis.Redis(
                unix_socket_path=urlsplit(self.url).path,
                socket_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
        return redis.Redis.from_url(
            self.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )


def find_broker(settings: Settings, *, start: bool) -> Broker:
    """The configured Redis, or the embedded one, started if asked for.

    Raises:
        RedisUnavailable: there is no embedded Redis to start here.
    """
    if settings.redis_url is not None:
        return Broker(settings.redis_url, embedded=False)
    url = start_embedded(settings.data_folder) if start else embedded_url(settings.data_folder)
    return Broker(url, embedded=True)


def check_broker(broker: Broker) -> None:
    """Raises:
    RedisUnavailable: it does not answer.
    """
    try:
        with broker.client() as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise RedisUnavailable(url=broker.shown_url, reason=str(error).rstrip(".")) from error


def queue_depths(broker: Broker) -> tuple[dict[str, int | None], str | None]:
    """Messages waiting per priority, None where Redis does not answer, and then why."""
    try:
        with broker.client() as client:
            return {priority.value: int(client.llen(queue)) for priority, queue in QUEUES.items()}, None
    except (redis.RedisError, ValueError) as error:
        unknown: dict[str, int | None] = dict.fromkeys(priority.value for priority in QUEUES)
        if broker.embedded:
            return unknown, None  # it is started when it is needed
        return unknown, str(RedisUnavailable(url=broker.shown_url, reason=str(error).rstrip(".")))


def keep_refused(broker: Broker, body: object, reason: str) -> None:
    """Keep a message that no worker here understands where an operator finds it, and out of the workers' way."""
    with broker.client() as client:
        client.rpush(REFUSED, refused_document(body, reason))


def refused_document(body: object, reason: str) -> str:
    """What stands in the list of refused messages."""
    return json.dumps({"reason": reason, "body": body}, default=repr)


def send_waiting(database: Database, broker: Broker, job: int | None = None) -> str | None:
    """Send the messages that are due (of one job); returns what was in the way, None if nothing was."""
    from worker.celery_app import make_app

    if not unsent(database, job):
        return None
    try:
        check_broker(broker)
    except RedisUnavailable as error:
        return "There is no Redis running yet." if broker.embedded else str(error)
    app = make_app(broker.url)
    try:
        send_all(app, database, job)
    except Exception as error:  # noqa: BLE001 - Celery and kombu raise what the transport raises; the ledger has the job
        return f"Redis at {broker.shown_url} did not take the messages: {error}."
    finally:
        app.close()
    return None


def send_all(app: Celery, database: Database, job: int | None = None) -> int:
    """Send every message that is due (of one job), page by page; returns how many."""
    from worker.messages import TASK_NAME, ChunkMessage

    count = 0
    while page := unsent(database, job):
        with app.producer_pool.acquire(block=True) as producer:
            for waiting in page:
                message = ChunkMessage(
                    ledger=database.ledger_id, job=waiting.name.job_id, chunk=waiting.name.chunk
                )
                app.send_task(
                    TASK_NAME,
                    args=[message.body()],
                    queue=QUEUES[waiting.priority],
                    producer=producer,
                    retry=False,
                )
        mark_sent(database, page)
        count += len(page)
    return count
