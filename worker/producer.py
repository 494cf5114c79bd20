"""Makes the Celery app, with the reason of each setting, and wakes workers for chunks that wait.

Importing this module configures nothing. At its end is what kombu's Redis transport gets wrong for this
program, with the fault of each part in kombu 5.7.
"""

import importlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Queue
from kombu.transport import TRANSPORT_ALIASES, redis
from redis import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from tagger.database.connection import Database
from tagger.errors import RedisRefused, RedisUnavailable
from tagger.ledger.workers import FEWEST_AT_ONCE, waiting_chunks
from tagger.settings import Settings
from worker.broker import (
    MAX_MESSAGE_BYTES,
    TASK_NAME,
    TICK_NAME,
    RedisEndpoint,
    RedisKeys,
    check_accepts_messages,
    find_broker,
    is_stopped,
    refusal,
    report_dropped,
    unavailable_error,
    validated_message,
)
from worker.embedded_redis import OwnServer

log = logging.getLogger(__name__)


def wake_workers(
    database: Database, settings: Settings, *, start_redis: bool = False
) -> str | None:
    """Wake workers if chunks wait. Returns why that failed. `start_redis`: also start the embedded Redis.

    Raises:
        RedisUnavailable, PermissionsUnsafe: as `find_broker`.
    """
    broker = find_broker(settings, database.ledger_id, start=start_redis)
    if not any(waiting_chunks(database).values()):
        return None
    try:
        check_accepts_messages(broker)
    except RedisUnavailable as error:
        return (
            "No Redis is running yet."
            if is_stopped(broker, error.__cause__)
            else str(error)
        )
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
    """Send wake-ups, at most `most` to a queue, so that each queue holds one for each claimable chunk.

    Processes that do so at once may send too many. With 1, a worker replaces the wake-up that it took.
    """
    waiting = {
        priority: count for priority, count in waiting_chunks(database).items() if count
    }
    if not waiting:
        return
    queues = RedisKeys(database.ledger_id).queues
    with app.producer_pool.acquire(block=True) as producer:
        for priority, count in waiting.items():
            queue = queues[priority]
            queued = producer.channel.queue_declare(queue).message_count
            for _ in range(
                count - queued if most is None else min(count - queued, most)
            ):
                app.send_task(TASK_NAME, queue=queue, producer=producer, retry=False)


class Loader(AppLoader):  # type: ignore[misc]  # Celery has no types
    """Imports modules as Python does. Celery's loader puts the working directory first."""

    def import_from_cwd(
        self,
        module: str,
        imp: Any = None,  # noqa: ARG002
        package: str | None = None,
    ) -> ModuleType:
        return importlib.import_module(module, package)


def make_app(broker_url: str, keys: RedisKeys) -> Celery:
    return lazy_app(lambda: configuration(broker_url, keys))


def lazy_app(configure: Callable[[], dict[str, object]]) -> Celery:
    """An app whose `configuration` is made once Celery needs it."""
    for scheme in ("redis", "rediss"):  # every address of Redis, also that of a socket
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    app = Celery(
        "tagger", include=["worker.tasks"], loader=Loader, set_as_current=False
    )
    app.add_defaults(configure)
    return app


def app_broker(app: Celery, settings: Settings) -> RedisEndpoint:
    keys = app.conf.broker_transport_options["ledger_keys"]
    return RedisEndpoint(
        str(app.conf.broker_url), keys, embedded=settings.redis_url is None
    )


# How often beat sends a tick.
TICK_S = 20.0

TRANSPORT_OPTIONS: dict[str, object] = {
    # When Redis redelivers the messages of a dead worker. The sweeper is faster; this is a fallback.
    "visibility_timeout": 600,
    # Check for messages of dead workers every few seconds.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 1000,
    # Notice a dead connection within seconds.
    "health_check_interval": 5,
    "socket_keepalive": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "retry_on_timeout": True,
    # Queues express priority. kombu would read three more lists for each.
    "priority_steps": [0],
}

CELERY_SETTINGS: dict[str, object] = {
    # A message is acknowledged after its photos are stored.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # A worker takes only the messages that it processes, and leaves the rest to others.
    "worker_prefetch_multiplier": 1,
    # Results are in SQL.
    "task_ignore_result": True,
    # A connection is tried without limit. Celery's default ends a worker after 47 minutes without Redis, and
    # beat too.
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_consumer": "worker.celery_patches:Consumer",
    # With the threads pool, this option stops consuming after a reconnect.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # The default pool forks after CUDA was initialised; solo hangs after a flush of Redis.
    "worker_pool": "threads",
    # A worker on a GPU has more (see worker.tasks).
    "worker_concurrency": FEWEST_AT_ONCE,
    # Messages are JSON only: nothing is unpickled.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_accept_content": ["json"],
    # The workers are listed in SQL. Workers and beat take no commands through Redis, which cannot tell who
    # may send them.
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,
    "beat_enable_remote_control": False,
    # Results are in SQL. Otherwise beat sends a task of Celery's own every night, to a queue that nobody
    # reads.
    "result_expires": None,
    "beat_scheduler": "worker.celery_patches:BeatScheduler",
}


def configuration(broker_url: str, keys: RedisKeys) -> dict[str, object]:
    if broker_url.startswith("rediss:") and "ssl_cert_reqs=" not in broker_url:
        # Celery would not check the certificate.
        broker_url += f"{'&' if '?' in broker_url else '?'}ssl_cert_reqs=required"
    return CELERY_SETTINGS | {
        "broker_url": broker_url,
        # The default exchange ("") routes a message to the queue named by its routing key, without bindings
        # in Redis that a flush would delete.
        "task_queues": [
            Queue(name, exchange="", routing_key=name)  # type: ignore[no-untyped-call]
            for name in (keys.ticks, *keys.queues.values())
        ],
        "broker_transport_options": {
            **TRANSPORT_OPTIONS,
            **keys.transport_options,
            "ledger_keys": keys,
        },
        # Without an expiry: Celery compares the clocks of two machines, and would drop every tick if they
        # differ.
        "beat_schedule": {
            "tick": {
                "task": TICK_NAME,
                "schedule": TICK_S,
                "options": {"queue": keys.ticks},
            }
        },
    }


# ----- transport -----


class QoS(redis.QoS):
    """Fault: a message whose acknowledgement is lost counts for ever, and two such stop the worker.

    Here it counts as ended: delivered again, it finds its chunk done.
    """

    def ack(self, delivery_tag: str) -> None:
        with self._ending(delivery_tag):
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        with self._ending(delivery_tag):
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    @contextmanager
    def _ending(self, delivery_tag: str) -> Iterator[None]:
        try:
            yield
        except Transport.connection_errors as error:
            self._quick_ack(delivery_tag)
            # The monitor logs the outage. Raised, the error would be logged by Celery with a traceback for
            # each message.
            log.info("Redis could not be told that a message has ended: %s", error)


class Channel(redis.Channel):
    """A channel that survives invalid messages, and trusts sockets of this user's servers only."""

    QoS = QoS
    from_transport_options = (  # type: ignore[assignment]
        *redis.Channel.from_transport_options,
        "keyprefix_queue",
        "keyprefix_binding_deadlines",
        "keyprefix_binding_permanent",
    )

    def _connparams(self, asynchronous: bool = False) -> Any:
        # Fault: a late acknowledgement on a closed channel gets an AttributeError, which nobody expects.
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the channel's connection to Redis is closed")
        parameters = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        if issubclass(parameters["connection_class"], UnixDomainSocketConnection):
            connection = type(
                "SocketConnection", (OwnServer, parameters["connection_class"]), {}
            )
            parameters["connection_class"] = connection
        return parameters

    def _brpop_read(self, **options: Any) -> Any:
        # Fault: what others write into a queue ends the worker, or names callbacks and other tasks.
        responses: list[Any] = []
        parse = self.client.parse_response

        def parse_and_validate(*args: Any, **kwargs: Any) -> Any:
            responses.append(parse(*args, **kwargs))
            if not responses[-1]:
                return responses[-1]
            queue, message = responses[-1]
            if len(message) > MAX_MESSAGE_BYTES:
                raise ValueError("it is too large")
            # kombu's parser makes other types of some documents, with any error of these types.
            return queue, json.dumps(
                validated_message(json.loads(message), queue.decode())
            )

        self.client.parse_response = parse_and_validate
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            if not responses or not responses[-1]:
                raise
            report_dropped(str(error) or type(error).__name__)
            return True
        finally:
            del self.client.parse_response


class Transport(redis.Transport):
    """Fault: a Redis that refuses commands ends the worker: Celery waits after connection errors only."""

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)
