"""The engine of one worker process: its database, executor and sweeper. Made when the worker starts."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import redis
from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from tagger.database.audit_log import Actor
from tagger.database.connection import Database, open_configured
from tagger.database.engine import DatabaseError, with_retry
from tagger.database.notes import Note, NoteCode
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.jobs.enqueue.schedules import RunInterrupted, pause_ended_runs, run_due_schedules
from tagger.jobs.processing.chunk_runner import SLICE_S, ChunkEnd
from tagger.jobs.processing.executor import ActivityMonitor, ChunkExecutor
from tagger.ledger.chunks import Claim
from tagger.ledger.jobs import renewing
from tagger.ledger.workers import ChunkClaimer, record_heartbeat, record_tick, remove_worker
from tagger.model.devices import choose_device
from tagger.processes.metrics import DEVICE_MEMORY
from tagger.processes.stall import stall_check
from tagger.registry.registered_models import resolve_models
from tagger.settings import Settings
from worker.broker import shared_monitor
from worker.producer import app_broker, send_wake_ups
from worker.sweeper import Sweeper, database_unreachable, own_priorities

log = logging.getLogger(__name__)


class Engine:
    """Owns what the task threads of this process share."""

    def __init__(self, app: Celery, settings: Settings, name: str) -> None:
        self.name = name
        self._app = app
        self._settings = settings
        self.database: Database = open_configured(settings, Actor(f"worker {name}"))
        self._claimer = ChunkClaimer(self.database, name)
        with shown_as_starting(self.database, name, settings.device):
            self.device = choose_device(settings.device, settings.batch_size).kind
            if self.device == "cuda":
                import torch

                DEVICE_MEMORY.set_function(torch.cuda.memory_reserved)
            self.executor = ChunkExecutor(self.database, settings, SLICE_S)
            # Loaded before the first message: a model that cannot run stops the worker at its start.
            # The database may be locked just now, by a worker that starts as well.
            with_retry(
                lambda: self.executor.models.get(
                    model.id for model in resolve_models(self.database, settings.model)
                ),
                self.executor.stop,
            )
        self.broker = app_broker(app, settings)
        self.redis = shared_monitor(self.broker)
        self._sweeper = Sweeper(app, self.redis, self.database, settings, name, self.device)
        self._watchdog = Watchdog(self.executor.activity, self._sweeper, settings.work_stall_s)
        self._stall_checks = ExitStack()

    def start(self) -> None:
        """Start the sweeper, which makes this worker visible to others, and the other threads."""
        self._sweeper.start()
        self._stall_checks.enter_context(stall_check(self._watchdog.problem))

    def claim(self) -> Claim | None:
        """Claim the next chunk of the priorities whose queues this worker reads; None if there is none.

        First, the photos of metadata jobs that follow others are selected.
        """
        return with_retry(self._claim, self.executor.stop, database_unreachable)

    def _claim(self) -> Claim | None:
        self.executor.activity.record_message()  # for each attempt: waiting for the database is not a stall
        with self.executor.activity.chunk() as record_progress:
            fill_chained_jobs(self.database, lambda _count: record_progress())
        return self._claimer.claim(own_priorities(self._app, self.broker.keys))

    def process(self, claim: Claim) -> ChunkEnd:
        """Process a claimed chunk, and wake workers for the next. After an error, other jobs come first."""
        job, chunk = claim.name.job_id, claim.name.chunk
        try:
            end = self.executor.execute(claim)
        except Exception:
            self._claimer.defer(job)
            raise
        finally:
            self._send_wake_ups(job)
        fields = {"job": job, "chunk": chunk}
        log.info("photos %d to %d: %s", claim.first + 1, claim.last + 1, end.value, extra=fields)
        return end

    def _send_wake_ups(self, job: int) -> None:
        """Wake a worker for the next chunk, without waiting for a sweep."""
        try:
            send_wake_ups(self._app, self.database, 1)
        except (DatabaseError, redis.RedisError, KombuError, OperationalError, OSError) as error:
            log.info(
                "Redis is asked again in a few seconds to wake workers: %s",
                error,
                extra={"job": job},
            )

    def run_schedules(self) -> None:
        """Record the tick, pause the runs whose time is over, and run the schedules that are due.

        The next sweep wakes workers for them.
        """
        self.executor.activity.record_message()
        record_tick(self.database)
        for job in pause_ended_runs(self.database):
            log.info("The time of its schedule is over: paused", extra={"job": job})
        for run in run_due_schedules(self.database, self._settings, self._on_progress):
            log.info("A schedule ran: %s", run.note or "recorded", extra={"job": run.job})

    def _on_progress(self, _count: int) -> None:
        self.executor.activity.record_message()
        if self.executor.stop.is_set():
            raise RunInterrupted

    def close(self) -> None:
        """Store the current batch, release the rest, end the threads."""
        self._stall_checks.close()
        self.executor.close()
        self._sweeper.close()
        self.database.close()


@contextmanager
def shown_as_starting(database: Database, name: str, device: str) -> Iterator[None]:
    """List the worker as starting until its sweeper follows. After an error, it is not listed."""

    def show() -> None:
        record_heartbeat(database, name, device, Note(NoteCode.STARTING))

    try:
        with suppress(DatabaseError):  # it is away: the first renewal shows it
            show()
        with renewing(show, "start"):
            yield
    except BaseException:
        with suppress(DatabaseError):  # then it is listed until its heartbeat is too old
            remove_worker(database, name)
        raise


_engine: Engine | None = None
_lock = threading.Lock()


def make_engine(app: Celery, settings: Settings, name: str | None = None) -> Engine:
    """Make this process's engine, once."""
    global _engine  # noqa: PLW0603 - a Celery task has no other way to its process's engine
    with _lock:
        if _engine is None:
            _engine = Engine(app, settings, name or socket.gethostname())
        return _engine


def current_engine() -> Engine:
    """The engine of this process."""
    if _engine is None:
        raise RuntimeError("the engine is made when the worker starts")
    return _engine


def stop_engine() -> None:
    """Close this process's engine, if it has one."""
    global _engine  # noqa: PLW0603
    with _lock:
        if _engine is not None:
            _engine.close()
            _engine = None


class Watchdog:
    """Checks that sweeps go on, and that waiting messages are received within `timeout_s`."""

    def __init__(self, activity: ActivityMonitor, sweeper: Sweeper, timeout_s: float) -> None:
        self._activity = activity
        self._sweeper = sweeper
        self._timeout_s = timeout_s
        self._idle_since: float | None = None

    def problem(self) -> str | None:
        """What makes no progress, if anything."""
        if self._sweeper.silent_s > self._timeout_s:
            return f"jobs and workers were not checked for {self._timeout_s:.0f} s"
        if self._activity.is_busy or not self._sweeper.waiting:
            self._idle_since = None
            return None
        now = time.monotonic()
        self._idle_since = max(self._idle_since or now, now - self._activity.message_age_s)
        stuck = now - self._idle_since > self._timeout_s
        return (
            f"messages are waiting, but none was received for {self._timeout_s:.0f} s"
            if stuck
            else None
        )
