"""The sweeper: a thread of every worker that keeps jobs moving, and locates photos while none runs.

Any number of sweepers may run: a step changes nothing the second time, or takes its work out of a queue.
"""

import logging
import threading
import time
from collections import deque

import redis
from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from tagger.database.connection import Database
from tagger.database.engine import DatabaseError, outage_text
from tagger.database.enums import Note, NoteCode, Priority
from tagger.kept.update import update_some
from tagger.ledger.job_control import is_any_claimable, recover_stale_jobs
from tagger.ledger.workers import (
    ExpiredLeases,
    record_heartbeat,
    release_expired,
    remove_worker,
)
from tagger.processes.metrics import LEASES_RETURNED, QUEUE_DEPTH, photos_done
from tagger.roots.availability import resume_jobs
from tagger.settings import Settings
from worker.broker import RedisKeys, RedisMonitor, queue_depths
from worker.producer import send_wake_ups

log = logging.getLogger(__name__)

SWEEP_S = 10.0
# The rate of a worker is that of its latest sweeps, half a minute.
RATE_SWEEPS = 3
# How long a sweep locates photos, in transactions of less than a second.
LOCATE_S = 5.0
# How long a stopping worker waits for its sweep, which may wait for Redis.
STOP_S = 2.0


# Set while this process does not reach the database. Then it returns messages, which others can
# process.
database_unreachable = threading.Event()


def own_priorities(app: Celery, keys: RedisKeys) -> list[Priority]:
    return [
        priority
        for priority, queue in keys.queues.items()
        if queue in app.amqp.queues.consume_from
    ]


class Sweeper:
    """Sweeps every SWEEP_S until closed. Errors are logged; the next sweep tries again."""

    def __init__(
        self,
        app: Celery,
        redis_monitor: RedisMonitor,
        database: Database,
        settings: Settings,
        worker_name: str,
        device: str,
    ) -> None:
        self._app = app
        self._redis = redis_monitor
        self._database = database
        self._settings = settings
        self._worker_name = worker_name
        self._device = device
        # Messages in this worker's queues at the last sweep; 0 while Redis accepts none.
        self.waiting = 0
        self._redis_refuses = False
        # Why the last sweep failed; empty if it did not.
        self._problem = ""
        # Roots that this worker does not find and that jobs wait for, at the last sweep.
        self._missing_roots: list[str] = []
        self._leases = ExpiredLeases(database)
        self._began_at = time.monotonic()
        # When the latest sweeps began, and how many photos were stored by then.
        self._counts: deque[tuple[float, float]] = deque(maxlen=RATE_SWEEPS + 1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # the worker may stop before it started
            self._thread.join(STOP_S)
        database_unreachable.clear()
        try:
            remove_worker(self._database, self._worker_name)
        except DatabaseError:
            log.warning(
                "The database does not answer; this worker is listed until its heartbeat is too old"
            )

    @property
    def silent_s(self) -> float:
        """Seconds since the last sweep began. A failed sweep ends, and another follows."""
        return time.monotonic() - self._began_at

    def _run(self) -> None:
        while True:
            self._began_at = time.monotonic()
            try:
                self.sweep()
            except (
                DatabaseError,
                redis.RedisError,
                KombuError,
                OperationalError,
                OSError,
            ) as error:
                self._report(
                    outage_text(error)
                    if isinstance(error, DatabaseError)
                    else f"Redis does not answer: {error}"
                )
                self.waiting = 0
            except Exception:
                # The thread goes on: a worker needs its sweeper.
                log.exception("The check of jobs and workers failed unexpectedly")
            else:
                self._report("")
            if self._closed.wait(SWEEP_S):
                return

    def _report(self, problem: str) -> None:
        # Log a problem once, not at every sweep, and its end.
        if problem and problem != self._problem:
            log.warning("%s; trying again every %g s", problem, SWEEP_S)
        elif self._problem and not problem:
            log.warning("The database and Redis answer again")
        self._problem = problem

    def sweep(self) -> None:
        # The rate since the oldest of the latest sweeps; None at the first one.
        self._counts.append((time.monotonic(), photos_done()))
        (start, before), (now, count) = self._counts[0], self._counts[-1]
        rate = None if now == start else round((count - before) / (now - start), 2)
        worker = self._worker_name, self._device
        try:
            record_heartbeat(self._database, *worker, self.waits_for(), rate)
        except DatabaseError:
            database_unreachable.set()
            raise
        database_unreachable.clear()
        if self._leases.can_judge():
            recover_stale_jobs(self._database)
            released = len(release_expired(self._database))
            if released:
                LEASES_RETURNED.inc(released)
                text = "Photos of workers that do not answer go to others: %d parts of jobs"
                log.warning(text, released)
        self._missing_roots = resume_jobs(self._database, self._settings.roots)
        self._send_wake_ups()
        # Locate photos for LOCATE_S, unless a job runs, which needs the database.
        until = time.monotonic() + LOCATE_S
        while time.monotonic() < until and not self._closed.is_set():
            if is_any_claimable(self._database) or not update_some(self._database):
                return

    def waits_for(self) -> Note | None:
        """Why this worker starts no work now; None if it would."""
        if self._redis_refuses:
            return Note(NoteCode.REDIS_REFUSES)
        if self._missing_roots and not is_any_claimable(self._database):
            return Note(
                NoteCode.ROOTS_MISSING, {"names": ", ".join(self._missing_roots)}
            )
        return None

    def _send_wake_ups(self) -> None:
        # Wake workers for chunks that wait, also where Redis lost wake-ups, unless it refuses them.
        accepts_messages = self._redis.accepts_messages()
        self._redis_refuses = not accepts_messages
        broker = self._redis.broker
        depths, _ = queue_depths(broker)
        for name, depth in depths.items():
            QUEUE_DEPTH.labels(name).set(float("nan") if depth is None else depth)
        own_depths = [
            depths[priority] or 0 for priority in own_priorities(self._app, broker.keys)
        ]
        self.waiting = sum(own_depths) if accepts_messages else 0
        if accepts_messages:
            send_wake_ups(self._app, self._database)
