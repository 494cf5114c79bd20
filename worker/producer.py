"""Makes the Celery app, and sends the messages of chunks that are due. Losing them costs no work: the ledger sends them again.

Importing this module configures nothing.
"""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader
from kombu.entity import Queue

from tagger.database.connection import Database
from tagger.errors import RedisRefused, RedisUnavailable
from tagger.ledger.dispatch import WaitingChunk, mark_sent, mark_unsent, unsent_chunks
from worker.broker import Broker, check_accepts_messages
from worker.celery_config import CELERY_SETTINGS, QUEUES, TICK_QUEUE
from worker.messages import TASK_NAME, ChunkMessage
from worker.redis_transport import use_for_redis


def try_publish(database: Database, broker: Broker, job: int | None = None) -> str | None:
    """Send the messages that are due (of one job). Returns why that failed, None if it did not."""
    if not unsent_chunks(database, job):
        return None
    try:
        check_accepts_messages(broker)
    except RedisUnavailable as error:
        return "No Redis is running yet." if broker.embedded else str(error)
    except RedisRefused as error:
        return str(error)
    app = make_app(broker.url)
    try:
        publish_chunks(app, database, job)
    except Exception as error:  # noqa: BLE001 - Celery and kombu raise what the transport raises; the ledger has the job
        return f"Redis at {broker.redacted_url} did not accept the messages: {str(error).rstrip('.')}."
    finally:
        app.close()
    return None


def publish_chunks(app: Celery, database: Database, job: int | None = None) -> int:
    """Send every message that is due (of one job), page by page. Returns their number."""
    count = 0
    while page := unsent_chunks(database, job):
        own = mark_sent(database, page)
        _send(app, database, own)
        count += len(own)
        if len(own) < len(page):
            break  # another process sends the rest
    return count


def _send(app: Celery, database: Database, marked: Sequence[WaitingChunk]) -> None:
    sent = 0
    try:
        with app.producer_pool.acquire(block=True) as producer:
            for waiting in marked:
                name = waiting.name
                message = ChunkMessage(ledger=database.ledger_id, job=name.job_id, chunk=name.chunk)
                app.send_task(
                    TASK_NAME,
                    args=[message.body()],
                    queue=QUEUES[waiting.priority],
                    producer=producer,
                    retry=False,
                )
                sent += 1
    finally:
        if sent < len(marked):
            mark_unsent(database, [waiting.name for waiting in marked[sent:]])


class Loader(AppLoader):  # type: ignore[misc]  # Celery has no types
    """Imports modules as Python does. Celery's own loader puts the working directory first, where a stranger's files may be."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> ModuleType:  # noqa: ARG002
        return importlib.import_module(module, package)


def make_app(broker_url: str) -> Celery:
    """An app that sends to, or consumes from, the queues at `broker_url`."""
    use_for_redis()
    url = _with_checked_certificate(broker_url)
    app = Celery("tagger", broker=url, include=["worker.tasks"], loader=Loader, set_as_current=False)
    app.conf.update(CELERY_SETTINGS)
    # The default exchange ("") routes a message to the queue named by its routing key, without bindings in Redis that a
    # flush would delete.
    names = (TICK_QUEUE, *QUEUES.values())
    app.conf.task_queues = [Queue(name, exchange="", routing_key=name) for name in names]  # type: ignore[no-untyped-call]
    app.on_after_finalize.connect(_remove_builtin_tasks)
    return app


def _with_checked_certificate(url: str) -> str:
    """The address of a broker whose certificate is checked, unless the address says otherwise. kombu's default is not to."""
    if not url.startswith("rediss:") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"


def _remove_builtin_tasks(sender: Celery, **_: object) -> None:
    """Leave the tasks of worker.tasks alone. Celery's own could run other tasks, or delete results."""
    for name in [name for name in sender.tasks if name.startswith("celery.")]:
        sender.tasks.unregister(name)
