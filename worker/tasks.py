"""The Celery tasks; the start and stop of the worker, by handlers that an import connects; and its engine.

The engine of a process is made when the worker starts, before the first message.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NoReturn

import redis
from celery import Celery, shared_task, signals
from celery.exceptions import Reject
from celery.worker import state
from kombu.exceptions import KombuError
from prometheus_client import start_http_server

from tagger.database import Note, NoteCode, Priority
from tagger.database.connection import Actor, Database, open_configured
from tagger.database.engine import DatabaseError, outage_text, with_retry
from tagger.errors import ModelFailed, ReadsTimedOut, SettingsInvalid, TaggerError
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.jobs.enqueue.schedules import (
    RunInterrupted,
    pause_ended_runs,
    run_due_schedules,
)
from tagger.jobs.processing.chunk_runner import SLICE_S
from tagger.jobs.processing.executor import ActivityMonitor, ChunkExecutor
from tagger.kept.update import update_some
from tagger.ledger import record_error, renewing
from tagger.ledger.chunks import Claim
from tagger.ledger.job_control import is_any_claimable, recover_stale_jobs
from tagger.ledger.workers import (
    FEWEST_AT_ONCE,
    ChunkClaimer,
    ExpiredLeases,
    chunks_at_once,
    record_heartbeat,
    record_tick,
    release_expired,
    remove_worker,
    worker_of,
)
from tagger.model.devices import choose_device
from tagger.processes.metrics import (
    DEVICE_MEMORY,
    LEASES_RETURNED,
    QUEUE_DEPTH,
    photos_done,
)
from tagger.processes.stall import stall_check, watch
from tagger.registry import resolve_models
from tagger.roots.availability import resume_jobs
from tagger.settings import Settings, load_settings
from worker.broker import (
    TASK_NAME,
    TICK_NAME,
    RedisKeys,
    RedisMonitor,
    queue_depths,
    shared_monitor,
)
from worker.producer import app_broker, send_wake_ups

log = logging.getLogger(__name__)

SWEEP_S = 10.0
# The rate of a worker is that of its latest sweeps, half a minute.
RATE_SWEEPS = 3
# How long a sweep locates photos, in transactions of less than a second.
LOCATE_S = 5.0
# How long a stopping worker waits for its sweep, which may wait for Redis.
SWEEPER_STOP_S = 2.0


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
        activity: ActivityMonitor,
    ) -> None:
        self._app = app
        self._redis = redis_monitor
        self._database = database
        self._settings = settings
        self._worker_name = worker_name
        self._device = device
        self._activity = activity
        # Messages in this worker's queues at the last sweep; 0 while Redis accepts none.
        self.waiting = 0
        self._redis_refuses = False
        # Why the last sweep failed; empty if it did not.
        self._problem = ""
        # Roots that this worker does not find and that jobs wait for, at the last sweep.
        self._missing_roots: list[str] = []
        self._leases = ExpiredLeases(database)
        self._began_at = time.monotonic()
        # Since when messages have waited and none was received; None: none wait, or the worker is busy.
        self._idle_since: float | None = None
        # When the latest sweeps began, and how many photos were stored by then.
        self._counts: deque[tuple[float, float]] = deque(maxlen=RATE_SWEEPS + 1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # the worker may stop before it started
            self._thread.join(SWEEPER_STOP_S)
        database_unreachable.clear()
        try:
            remove_worker(self._database, self._worker_name)
        except DatabaseError:
            log.warning(
                "The database does not answer; this worker is listed until its heartbeat is too old"
            )

    def problem(self) -> str | None:
        """What makes no progress: the sweeps, of which another follows a failed one, or the messages."""
        now, limit_s = time.monotonic(), self._settings.work_stall_s
        if now - self._began_at > limit_s:
            return f"jobs and workers were not checked for {limit_s:.0f} s"
        if self._activity.is_busy or not self.waiting:
            self._idle_since = None
            return None
        self._idle_since = max(self._idle_since or now, self._activity.message_at)
        if now - self._idle_since > limit_s:
            return f"messages are waiting, but none was received for {limit_s:.0f} s"
        return None

    def _run(self) -> None:
        while True:
            self._began_at = time.monotonic()
            try:
                self.sweep()
            except (DatabaseError, redis.RedisError, KombuError, OSError) as error:
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


# How long a worker that does not reach the database keeps a message before it returns it.
RETURN_S = 1.0


@shared_task(name=TASK_NAME, acks_late=True)
def tag_chunk() -> None:
    engine = current_engine()
    if database_unreachable.is_set():
        time.sleep(RETURN_S)
        raise Reject(requeue=True)
    try:
        claim = engine.claim()
    except DatabaseError as error:
        if database_unreachable.is_set():
            raise Reject(requeue=True) from error
        log.error("No photos were claimed: %s", outage_text(error))  # noqa: TRY400
        return
    if claim is not None:
        _process(engine, claim)


def _process(engine: Engine, claim: Claim) -> None:
    job, first, last = claim.job_id, claim.first + 1, claim.last + 1
    try:
        engine.process(claim)
    except DatabaseError as error:
        # The lease expires, and a sweeper releases the chunk.
        log.error("Job %d, photos %d to %d: %s", job, first, last, outage_text(error))  # noqa: TRY400
    except ReadsTimedOut as error:
        log.critical("%s This worker exits, to be restarted.", error)
        _record_error(job, error)
        state.should_stop = os.EX_TEMPFAIL
        _exit_within_limit(os.EX_TEMPFAIL)
    except TaggerError as error:
        # The chunk was released, for another worker or a later wake-up.
        log.error("Job %d, photos %d to %d: %s", job, first, last, error)  # noqa: TRY400 - the message is complete
        _record_error(job, error)
        if isinstance(error, ModelFailed) and engine.device != "cpu":
            log.critical(
                "The device may need a new process to recover; this worker exits"
            )
            state.should_stop = os.EX_TEMPFAIL
    except Exception:
        # Not left to Celery, which would log the error's text, which may contain a path.
        fields = {"job": job, "chunk": claim.chunk}
        log.exception(
            "Photos %d to %d failed unexpectedly; they are retried",
            first,
            last,
            extra=fields,
        )


@shared_task(name=TICK_NAME, acks_late=True)
def tick() -> None:
    """Run the schedules that are due. After an error, the next tick runs them."""
    try:
        current_engine().run_schedules()
    except DatabaseError as error:
        log.warning("No schedule was checked: %s", outage_text(error))
    except Exception:
        log.exception(
            "The schedules failed unexpectedly"
        )  # Celery would log the error's text


def _record_error(job: int, error: TaggerError) -> None:
    try:
        record_error(current_engine().database, job, str(error))
    except DatabaseError as database_error:
        log.warning(
            "The error could not be recorded in the job: %s",
            database_error,
            extra={"job": job},
        )


# With LEAVE_S less than the minute after which supervisors usually kill.
STOP_S = 50.0
# How long a stopping worker has to leave Redis and the database after its last chunk.
LEAVE_S = 5.0
CHECK_S = 0.2
# Whether the worker has received a signal to stop.
_stopping = threading.Event()


@signals.worker_init.connect
def _on_init(sender: Any, **_: Any) -> None:
    # Make the engine before the first message. Of an error, Celery would tell nobody, and go on.
    try:
        settings = load_settings()
        host, port = settings.metrics_host, settings.metrics_port
        if port is not None:
            try:
                start_http_server(port, addr=host)
            except OSError as error:
                reason = f"metrics_port: {host}:{port}: {error.strerror or error}"
                raise SettingsInvalid(reason=reason) from error
        number = worker_of(sender.hostname)[1]
        watch(
            "worker" if number is None else f"worker.{number}",
            settings.data_folder,
            settings.stall_timeout_s,
        )
        engine = make_engine(sender.app, settings, sender.hostname)
        # The pool is made after this handler. An explicit number of threads stays.
        if sender.concurrency == FEWEST_AT_ONCE:
            sender.concurrency = chunks_at_once(engine.device)
    except TaggerError as error:
        log.critical("%s", error)
        raise SystemExit(1) from error
    except Exception as error:
        log.critical("the worker could not start", exc_info=True)
        raise SystemExit(1) from error


@signals.worker_ready.connect
def _on_ready(**_: Any) -> None:
    # Start the engine's threads. Earlier, SIGTERM would kill the worker.
    current_engine().start()


@signals.worker_shutting_down.connect
def _on_shutting_down(**_: Any) -> None:
    # On the first SIGTERM, store the current batch and release the rest; on the second, exit.
    if _stopping.is_set():
        _exit_now(os.EX_OK, "A second signal: exiting without the rest")
    _stopping.set()
    current_engine().executor.stop.set()
    _exit_within_limit(os.EX_OK)


def _exit_within_limit(code: int) -> None:
    # Exit with `code` if the worker has not stopped LEAVE_S after its last chunk, or after STOP_S.
    #
    # A read, the database or Redis may hang. The leases expire, and other workers take the chunks over.
    threading.Thread(
        target=_exit_at_limit, args=(code,), name="exit", daemon=True
    ).start()


def _exit_at_limit(code: int) -> None:
    activity, until = current_engine().executor.activity, time.monotonic() + STOP_S
    while activity.is_busy and time.monotonic() < until:
        time.sleep(CHECK_S)
    time.sleep(LEAVE_S)
    reason = (
        "its work does not end"
        if activity.is_busy
        else "Redis or the database does not answer"
    )
    _exit_now(code, f"The worker does not stop: {reason}; exiting without the rest")


def _exit_now(code: int, reason: str) -> NoReturn:
    log.error("%s", reason)
    logging.shutdown()
    os._exit(code)


class Engine:
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
        self._sweeper = Sweeper(
            app,
            self.redis,
            self.database,
            settings,
            name,
            self.device,
            self.executor.activity,
        )
        self._stall_checks = ExitStack()

    def start(self) -> None:
        """Start the sweeper, which makes this worker visible to others, and the other threads."""
        self._sweeper.start()
        self._stall_checks.enter_context(stall_check(self._sweeper.problem))

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

    def process(self, claim: Claim) -> None:
        """Process a claimed chunk, and wake workers for the next. After an error, other jobs come first."""
        job, chunk = claim.job_id, claim.chunk
        try:
            end = self.executor.execute(claim)
        except Exception:
            self._claimer.defer(job)
            raise
        finally:
            self._send_wake_ups(job)
        fields = {"job": job, "chunk": chunk}
        log.info(
            "photos %d to %d: %s",
            claim.first + 1,
            claim.last + 1,
            end.value,
            extra=fields,
        )

    def _send_wake_ups(self, job: int) -> None:
        # Wake a worker for the next chunk, without waiting for a sweep.
        try:
            send_wake_ups(self._app, self.database, 1)
        except (DatabaseError, redis.RedisError, KombuError, OSError) as error:
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
            log.info(
                "A schedule ran: %s", run.note or "recorded", extra={"job": run.job}
            )

    def _on_progress(self, _count: int) -> None:
        self.executor.activity.record_message()
        if self.executor.stop.is_set():
            raise RunInterrupted

    def close(self) -> None:
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
        with suppress(
            DatabaseError
        ):  # then it is listed until its heartbeat is too old
            remove_worker(database, name)
        raise


_engine: Engine | None = None


def make_engine(app: Celery, settings: Settings, name: str) -> Engine:
    global _engine  # noqa: PLW0603 - a Celery task has no other way to its process's engine
    _engine = Engine(app, settings, name)
    return _engine


def current_engine() -> Engine:
    if _engine is None:
        raise RuntimeError("the engine is made when the worker starts")
    return _engine


@signals.worker_shutdown.connect
def stop_engine(**_: Any) -> None:
    global _engine  # noqa: PLW0603
    if _engine is not None:
        _engine.close()
        _engine = None
