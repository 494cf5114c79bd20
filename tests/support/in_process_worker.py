"""A worker in this process: the real engine and tasks, with a queue in memory instead of Celery and Redis."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from celery.exceptions import Reject
from rig.servers import KEYS

from tagger.database.enums import Priority
from tagger.settings import Settings
from worker.broker import RedisEndpoint
from worker.engine import make_engine, stop_engine
from worker.tasks import tag_chunk

THREADS = 2


class _Queue:
    """What the engine uses of a Celery app: it sends to a queue in memory."""

    def __init__(self) -> None:
        self.messages: queue.Queue[bool] = queue.Queue()
        self.conf = SimpleNamespace(broker_url="memory", broker_transport_options={"ledger_keys": KEYS})
        self.amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=KEYS.message_queues))
        self.producer_pool = self

    @contextmanager
    def acquire(self, *, block: bool) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(channel=self)

    def queue_declare(self, _queue: str) -> SimpleNamespace:
        return SimpleNamespace(message_count=self.messages.qsize())

    def send_task(self, _task: str, **_: Any) -> None:
        self.messages.put(True)


@dataclass(frozen=True)
class _QueueBroker(RedisEndpoint):
    """A broker whose client accepts messages and counts those in memory, all as bulk."""

    messages: queue.Queue[Any]

    @contextmanager
    def client(self) -> Iterator[Any]:  # type: ignore[override]
        def llen(name: str) -> int:
            return self.messages.qsize() if name == KEYS.queues[Priority.BULK] else 0

        yield SimpleNamespace(llen=llen, lpushx=lambda *_: 0, exists=lambda *_: 0)


@contextmanager
def in_process_worker(settings: Settings) -> Iterator[None]:
    """Process chunks in this process, until the end of the context."""
    app = _Queue()
    engine = make_engine(app, settings, "in-process")  # type: ignore[arg-type]
    engine.redis.broker = _QueueBroker("memory", KEYS, embedded=False, messages=app.messages)

    def consume() -> None:
        while app.messages.get():
            try:
                tag_chunk()
            except Reject:  # the worker waits for the database
                time.sleep(0.05)
                app.messages.put(True)

    threads = [threading.Thread(target=consume) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        engine.start()
        yield
    finally:
        for _ in threads:
            app.messages.put(False)
        engine.executor.stop.set()
        for thread in threads:
            thread.join()
        stop_engine()
