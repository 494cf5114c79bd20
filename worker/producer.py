"""Makes the Celery app, and wakes workers for chunks that wait. Losing a wake-up costs no work: the next sweep sends another.

Importing this module configures nothing.
"""

import importlib
from types import ModuleType
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Queue

from tagger.database.connection import Database
from tagger.errors import RedisRefused, RedisUnavailable
from tagger.ledger.dispatch import waiting_chunks
from tagger.settings import Settings
from worker.broker import (
    RedisEndpoint,
    check_accepts_messages,
    find_broker,
    is_stopped,
    refusal,
    unavailable_error,
)
from worker.celery_config import CELERY_SETTINGS, ledger_settings
from worker.messages import TASK_NAME, WakeUp
from worker.redis_keys import RedisKeys
from worker.redis_transport import use_for_redis


def wake_workers(database: Database, settings: Settings, *, start_redis: bool = False) -> str | None:
    """Wake workers if chunks wait. Returns why that failed, None if it did not. `start_redis` starts the embedded Redis.

    Raises:
        RedisUnavailable, PermissionsUnsafe: as `find_broker`.
    """
    broker = find_broker(settings, database.ledger_id, start=start_redis)
    if not any(waiting_chunks(database).values()):
        return None
    try:
        check_accepts_messages(broker)
    except RedisUnavailable as error:
        return "No Redis is running yet." if is_stopped(broker, error.__cause__) else str(error)
    except RedisRefused as error:
        return str(error)
    app = make_app(broker.url, broker.keys)
    try:
        send_wake_ups(app, database)
    except Exception as error:  # noqa: BLE001 - Celery and kombu raise what the transport raises; the ledger has the job
        if refusal(error.__cause__ or error):
            return str(unavailable_error(broker, error.__cause__ or error))
        return f"Redis at {broker.redacted_url} did not accept the messages: {str(error).rstrip('.')}."
    finally:
        app.close()
    return None


def send_wake_ups(app: Celery, database: Database, most: int | None = None) -> None:
    """Send wake-ups, at most `most` to a queue, so that each queue holds one for each chunk that workers could claim now.

    Processes that do so at once may send too many, which then find no chunk. With `most` 1, a worker replaces the wake-up that it took.
    """
    waiting = {priority: count for priority, count in waiting_chunks(database).items() if count}
    if not waiting:
        return
    queues = RedisKeys(database.ledger_id).queues
    with app.producer_pool.acquire(block=True) as producer:
        for priority, count in waiting.items():
            queue = queues[priority]
            queued = producer.channel.queue_declare(queue).message_count
            body = WakeUp(priority=priority).model_dump(mode="json")
            for _ in range(count - queued if most is None else min(count - queued, most)):
                app.send_task(TASK_NAME, args=[body], queue=queue, producer=producer, retry=False)


class Loader(AppLoader):  # type: ignore[misc]  # Celery has no types
    """Imports modules as Python does. Fault: Celery's loader puts the working directory first, where a stranger's files may be."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> ModuleType:  # noqa: ARG002
        return importlib.import_module(module, package)


def make_app(broker_url: str, keys: RedisKeys) -> Celery:
    """An app that sends to, or consumes from, the queues of a ledger at `broker_url`."""
    use_for_redis()
    url = _with_checked_certificate(broker_url)
    app = Celery("tagger", broker=url, include=["worker.tasks"], loader=Loader, set_as_current=False)
    app.conf.update(CELERY_SETTINGS | ledger_settings(keys))
    # The default exchange ("") routes a message to the queue named by its routing key, without bindings in Redis that a
    # flush would delete.
    app.conf.task_queues = [Queue(name, exchange="", routing_key=name) for name in keys.message_queues]  # type: ignore[no-untyped-call]
    return app


def app_broker(app: Celery, settings: Settings) -> RedisEndpoint:
    """The broker of an app that `make_app` made."""
    keys = app.conf.broker_transport_options["ledger_keys"]
    return RedisEndpoint(str(app.conf.broker_url), keys, embedded=settings.redis_url is None)


def _with_checked_certificate(url: str) -> str:
    """The address of a broker whose certificate is checked, unless the address says otherwise. kombu's default is not to."""
    if not url.startswith("rediss:") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"
