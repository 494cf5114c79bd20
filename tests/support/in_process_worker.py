"""A worker in this process: the real engine and tasks, with a queue in memory instead of Celery and Redis."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tagger.settings import Settings
from worker.broker import Broker
from worker.engine import make_engine, stop_engine
from worker.tasks import tag_chunk

THREADS = 2


class _Queue:
    """What the engine uses of a Celery app: it sends to a queue in memory."""

    def __init__(self) -> None:
        self.messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.conf = SimpleNamespace(broker_url="memory")
        self.amqp = SimpleNamespace(queues=SimpleNamespace(consume_from=()))
        self.producer_pool = self

    @contextmanager
    def acquire(self, *, block: bool) -> Iterator[None]:
        yield

    def send_task(self, _task: str, *, args: list[dict[str, Any]], **_: Any) -> None:
        self.messages.put(args[0])


class _QueueBroker(Broker):
    """A broker whose client counts the messages in memory, all under the name of one queue."""

    @contextmanager
    def client(self) -> Iterator[Any]:  # type: ignore[override]
        yield SimpleNamespace(llen=lambda name: self.url.qsize() if name.endswith("bulk") else 0)  # type: ignore[attr-defined]


@contextmanager
def in_process_worker(settings: Settings) -> Iterator[None]:
    """Process chunks in this process, until the end of the context."""
    app = _Queue()
    engine = make_engine(app, settings, "in-process")  # type: ignore[arg-type]
    engine._sweeper._broker = _QueueBroker(app.messages, embedded=False)  # type: ignore[arg-type]

    def consume() -> None:
        while (message := app.messages.get()) is not None:
            tag_chunk(message)

    threads = [threading.Thread(target=consume) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        engine.start()
        yield
    finally:
        for _ in threads:
            app.messages.put(None)
        engine.executor.stop.set()
        for thread in threads:
            thread.join()
        stop_engine()
