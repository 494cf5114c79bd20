"""A worker whose photos cost nothing: messages, claims, leases, stores and the sweeper are the real ones.

    python -m bench.fleet.simulated_worker DATABASE_URL REDIS_URL NAME

It runs until SIGTERM, and then prints its `WorkerCosts` as JSON.
"""

import json
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from celery import Celery

from bench.fleet.photos import Model
from tagger.database.actor import Actor
from tagger.database.connection import Database, open_database
from tagger.database.enums import Priority
from tagger.database.retry import with_retry
from tagger.jobs.processing.classification_chunk import STORE_PHOTOS
from tagger.jobs.processing.open_items import ItemResult, OpenItem, open_items
from tagger.jobs.processing.storage import store_hooks, store_results
from tagger.ledger.chunks import Claim, photos_claimed_earlier
from tagger.ledger.dispatch import ChunkClaimer
from tagger.ledger.jobs import finish_job
from tagger.library.catalog.registered_models import resolve_model
from tagger.settings import load_settings
from worker.broker import Broker, RedisMonitor
from worker.messages import WakeUp
from worker.producer import make_app, wake_workers
from worker.redis_keys import RedisKeys
from worker.sweeper import Sweeper, WorkerIdentity
from worker.throttle import Throttle

T = TypeVar("T")
WAIT_S = 1.0
"""How long a worker without a message waits before it checks whether it has to stop."""


@dataclass
class WorkerCosts:
    """Of one worker: its photos, its CPU time, and the milliseconds of each claim, each stored batch and each sweep."""

    photos: int = 0
    cpu_s: float = 0.0
    claim_ms: list[float] = field(default_factory=list)
    store_ms: list[float] = field(default_factory=list)
    sweep_ms: list[float] = field(default_factory=list)


class _MeasuredSweeper(Sweeper):
    def __init__(
        self, costs: WorkerCosts, app: Celery, broker: Broker, database: Database, name: str
    ) -> None:
        identity, throttle = WorkerIdentity(name, "cpu"), Throttle((), lambda: None)
        super().__init__(app, RedisMonitor(broker), database, load_settings(), identity, throttle)
        self._costs = costs

    def sweep(self) -> None:
        """Sweep once, but locate no photos: that would begin between two jobs."""
        with _timed(self._costs.sweep_ms):
            super().sweep()

    def _locate(self) -> None:
        pass


class SimulatedWorker:
    """Processes chunks as `worker.engine` does, with predictions that follow from the photos' numbers."""

    def __init__(self, database: Database, redis_url: str, name: str) -> None:
        self.costs = WorkerCosts()
        self._database = database
        keys = RedisKeys(database.ledger_id)
        self._app = make_app(redis_url, keys)
        self._claimer = ChunkClaimer(database, name)
        self._stop = threading.Event()
        model = resolve_model(database, None)
        self._model, self._hooks = Model(model), store_hooks(model.id)
        broker = Broker(redis_url, keys, embedded=False)
        self._bulk = keys.queues[Priority.BULK]
        self._sweeper = _MeasuredSweeper(self.costs, self._app, broker, database, name)

    def stop(self) -> None:
        """End `run` after the current batch."""
        self._stop.set()

    def run(self) -> None:
        """Process messages until `stop` is called."""
        self._sweeper.start()
        with self._app.connection_for_read() as connection:
            messages = connection.SimpleQueue(self._app.amqp.queues[self._bulk])
            while not self._stop.is_set():
                try:
                    message = messages.get(timeout=WAIT_S)
                except queue.Empty:
                    continue
                self._process(WakeUp.model_validate(message.payload[0][0]))
                message.ack()
        self._sweeper.close()
        self._app.close()

    def _process(self, wake_up: WakeUp) -> None:
        with _timed(self.costs.claim_ms):
            claim = self._retried(lambda: self._claimer.claim(wake_up.priority))
        if claim is None:
            return
        photos_claimed_earlier(self._database, claim)
        items = open_items(self._database, claim)
        for first in range(0, len(items), STORE_PHOTOS):
            self._store(claim, items[first : first + STORE_PHOTOS])
        finish_job(self._database, claim.name.job_id)
        wake_workers(self._app, self._database, 1)

    def _store(self, claim: Claim, items: Sequence[OpenItem]) -> None:
        results = [ItemResult(item, self._model.classify(item.path)) for item in items]
        with _timed(self.costs.store_ms):
            self._retried(lambda: store_results(self._database, claim, results, self._hooks))
        self.costs.photos += len(items)

    def _retried(self, work: Callable[[], T]) -> T:
        return with_retry(work, self._stop)


@contextmanager
def _timed(times_ms: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times_ms.append((time.perf_counter() - start) * 1000)


def main() -> None:
    """Run a worker until SIGTERM."""
    database_url, redis_url, name = sys.argv[1:]
    with closing(open_database(database_url, Actor(f"worker {name}"))) as database:
        worker = SimulatedWorker(database, redis_url, name)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    worker.costs.cpu_s = usage.ru_utime + usage.ru_stime
    print(json.dumps(asdict(worker.costs)))


if __name__ == "__main__":
    main()
