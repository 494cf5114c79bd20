"""A thread of every worker: returns expired leases, sends again what Redis lost, wakes jobs whose root is back, lets chained jobs begin.

Any number of sweepers may run: each of their acts is one SQL statement that changes nothing the second time.
"""

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database, db_now, insert_missing
from tagger.ledger.abandoned import settle_abandoned
from tagger.ledger.dispatch import return_expired, send_again, waiting_roots, wake
from tagger.metrics import LEASES_RETURNED, MESSAGES_LOST, QUEUE_DEPTH
from tagger.roots import is_away, list_roots
from tagger.settings import Settings
from tagger.tables import Priority, workers
from tagger.writing.chosen import choose_adopted
from worker.broker import Broker, queue_depths, send_all
from worker.celery_settings import QUEUES

log = logging.getLogger(__name__)

SWEEP_S = 10.0


@dataclass(frozen=True)
class Seen:
    """How this worker is shown to others."""

    name: str
    device: str


class Sweeper:
    """Sweeps every SWEEP_S until closed; trouble is logged and met again at the next sweep."""

    def __init__(
        self, app: Celery, broker: Broker, database: Database, settings: Settings, worker: Seen
    ) -> None:
        self._app = app
        self._broker = broker
        self._database = database
        self._settings = settings
        self._worker = worker
        self.waiting = 0
        """Messages that this worker could take, at the last sweep; 0 where Redis does not answer."""
        self._turned_at = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # a worker may be ended before it was ready
            self._thread.join()
        try:
            with self._database.write() as connection:
                connection.execute(delete(workers).where(workers.c.name == self._worker.name))
        except SQLAlchemyError:
            log.warning("the database does not answer; this worker's row stays until it is out of date")

    @property
    def silent_s(self) -> float:
        """Seconds since a sweep last began; one that fails ends, and is followed by another."""
        return time.monotonic() - self._turned_at

    def _run(self) -> None:
        while True:
            self._turned_at = time.monotonic()
            try:
                self.sweep()
            except (SQLAlchemyError, redis.RedisError, KombuError, OperationalError, OSError) as error:
                log.warning("sweeping: %s", error)
                self.waiting = 0  # nobody knows
            except Exception:
                # And goes on: a worker needs its sweeper.
                log.exception("sweeping failed in a way that nobody foresaw")
            if self._closed.wait(SWEEP_S):
                return

    def sweep(self) -> None:
        """One round."""
        self._say_alive()
        settle_abandoned(self._database)
        returned = return_expired(self._database)
        if returned:
            LEASES_RETURNED.inc(returned)
            log.warning("%d chunks returned: their lease had ended", returned)
        self._wake_waiting()
        choose_adopted(self._database)
        self._count_lost()
        send_all(self._app, self._database)

    def _say_alive(self) -> None:
        row = {
            "name": self._worker.name,
            "device": self._worker.device,
            "started_at": datetime.now(UTC),
            "seen_at": 0.0,
        }
        with self._database.write() as connection:
            insert_missing(connection, workers, [row])
            connection.execute(
                update(workers).where(workers.c.name == self._worker.name).values(seen_at=db_now())
            )

    def _wake_waiting(self) -> None:
        waiting = waiting_roots(self._database)
        if not waiting:
            return
        with self._database.read() as connection:
            needed = {root_id for job_roots in waiting.values() for root_id in job_roots}
            known = list_roots(connection, self._settings.roots)
            roots = {root.id: root for root in known if root.id in needed}
            here = {root_id for root_id, root in roots.items() if not is_away(connection, root)}
        wake(self._database, [job for job, needed in waiting.items() if here.issuperset(needed)])

    def _count_lost(self) -> None:
        depths, problem = queue_depths(self._broker)
        counts = [depth for depth in depths.values() if depth is not None]
        mine = self._app.amqp.queues.consume_from
        self.waiting = sum(depth or 0 for name, depth in depths.items() if QUEUES[Priority(name)] in mine)
        for name, depth in depths.items():
            QUEUE_DEPTH.labels(name).set(float("nan") if depth is None else depth)
        if problem or len(counts) < len(depths):
            return
        lost = send_again(self._database, in_redis=sum(counts))
        if lost:
            MESSAGES_LOST.inc(lost)
            log.warning("%d messages were lost; sending them again", lost)
