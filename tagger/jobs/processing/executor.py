"""Executes claimed chunks, and whole local jobs, in this process or in several. Knows nothing of Celery.

Chunks share a process. An isolated one has it alone, so that it is known which photo killed the process.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from tagger.database import METADATA_KINDS, JobKind, JobState, Note, NoteCode
from tagger.database.connection import Database
from tagger.database.engine import DatabaseError, is_transient, outage_text, with_retry
from tagger.errors import LeaseLost, TaggerError
from tagger.jobs.processing.chunk_runner import (
    SLICE_S,
    ChunkEnd,
    ChunkRunner,
    PhotoProcessor,
    StoredBatch,
    needs_isolation,
)
from tagger.jobs.processing.classification import PhotoClassifier, PhotoComparer
from tagger.jobs.processing.model_cache import ModelCache
from tagger.kept.update import update_some_days
from tagger.ledger import (
    PUT_BACK,
    cancel_job,
    end_local_job,
    finish_job,
    job_heartbeat,
    process_name,
    record_error,
    renewing,
)
from tagger.ledger.chunks import (
    Claim,
    claim_next_chunk,
    close_last_step,
    release_chunk,
    renew_leases,
)
from tagger.ledger.job_control import JobProgress, count_open_chunks, find_job
from tagger.ledger.workers import ExpiredLeases
from tagger.processes.metrics import CHUNKS_HELD, RETRIES
from tagger.processes.stall import stall_check
from tagger.settings import Settings
from tagger.teaching.lessons import update_consequences


class ActivityMonitor:
    """When the process last received a message and made progress, for the stall watch. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.message_at = time.monotonic()
        # When each chunk last made progress; infinite before the first one: models are being loaded.
        self._progress_at: dict[object, float] = {}

    def record_message(self) -> None:
        self.message_at = time.monotonic()

    @contextmanager
    def chunk(self) -> Iterator[Callable[[], None]]:
        """Track one chunk. Call the function at each progress."""
        key = object()

        def record_progress() -> None:
            with self._lock:
                if (
                    key in self._progress_at
                ):  # a thread may still work for a chunk that has ended
                    self._progress_at[key] = time.monotonic()

        with self._lock:
            self._progress_at[key] = math.inf
            CHUNKS_HELD.set(len(self._progress_at))
        try:
            yield record_progress
        finally:
            with self._lock:
                del self._progress_at[key]
                CHUNKS_HELD.set(len(self._progress_at))

    @property
    def is_busy(self) -> bool:
        return bool(self._progress_at)

    def problem(self, limit_s: float) -> str | None:
        with self._lock:
            longest_stuck = min(self._progress_at.values(), default=math.inf)
        is_stuck = time.monotonic() - longest_stuck > limit_s
        return (
            f"the current work has made no progress for {limit_s:.0f} s"
            if is_stuck
            else None
        )


_STOP_CHECK_S = 0.5
# Photos of a job after which the statistics of the planner are gathered anew: the tables have
# grown.
LARGE_JOB = 100_000


class SharedExclusiveLock:
    """Chunks share the process, except isolated ones, which come first. `stop` ends a wait early."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._shared_holders = 0
        self._is_exclusive = False
        self._exclusive_waiters = 0

    @contextmanager
    def acquire(self, *, exclusive: bool) -> Iterator[bool]:
        """Hold the lock inside the context; yields False if the process stops before it is acquired."""

        def is_free() -> bool:
            others = self._shared_holders if exclusive else self._exclusive_waiters
            return not (self._is_exclusive or others)

        with self._changed:
            self._exclusive_waiters += exclusive
            while not (is_acquired := is_free()) and not self._stop.is_set():
                self._changed.wait(_STOP_CHECK_S)
            self._exclusive_waiters -= exclusive
            if is_acquired:
                self._is_exclusive = exclusive
                self._shared_holders += not exclusive
        try:
            yield is_acquired
        finally:
            if is_acquired:
                with self._changed:
                    self._is_exclusive = False
                    self._shared_holders -= not exclusive
                    self._changed.notify_all()


log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The process stops within the last step of a job, or has lost it. No error that a model may have."""


class ChunkExecutor:
    """Executes chunks, several at a time, until `stop` is set. One per process.

    `slice_s`: how long it keeps a chunk (see chunk_runner); None if no other process could take the rest.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        slice_s: float | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._slice_s = slice_s
        self.models = ModelCache(database, settings)
        self.activity = ActivityMonitor()
        # When it is set, results that are available are stored and all other photos are released.
        self.stop = threading.Event()
        self._lock = SharedExclusiveLock(self.stop)
        # By token: the claim, and the event that tells its holder that the lease was lost.
        self._leases: dict[str, tuple[Claim, threading.Event]] = {}
        self._leases_lock = threading.Lock()
        self._threads = ExitStack()
        self._threads.enter_context(renewing(self._renew_leases, "leases"))
        self._threads.enter_context(
            stall_check(partial(self.activity.problem, settings.work_stall_s))
        )

    def execute(
        self,
        claim: Claim,
        on_stored: Callable[[StoredBatch], None] = lambda _photos: None,
    ) -> ChunkEnd:
        """Process the photos of a claimed chunk, and store the outcomes; or what follows from those of a job.

        Raises:
            ModelFailed, ModelFileNotFound, ModelChanged, ModelRefused: no model of the job can be run; the
            chunk is released.
            ReadsTimedOut: no photo can be read any more; the chunk is released, and the process has to end.
        """
        with (
            self._hold_lease(claim) as lease_lost,
            self._lock.acquire(exclusive=needs_isolation(claim)) as is_acquired,
            self.activity.chunk() as record_progress,
        ):
            chunk = ChunkRunner(
                self._database,
                self._settings,
                claim,
                stop=self.stop,
                lease_lost=lease_lost,
                # An isolated chunk has the process for itself, with child processes that are slow to start.
                slice_s=None if needs_isolation(claim) else self._slice_s,
                on_progress=record_progress,
                on_stored=on_stored,
            )
            end = self._process_or_release(chunk, is_acquired=is_acquired)
        # A lost chunk may be done: if the reply to its last commit was lost, storing again finds it closed.
        if end in {ChunkEnd.DONE, ChunkEnd.LOST}:
            items = with_retry(
                lambda: finish_job(self._database, claim.job_id), self.stop
            )
            if items >= LARGE_JOB:
                try:
                    self._database.update_statistics()
                except SQLAlchemyError as error:
                    text = "the statistics of the database were not updated: %s"
                    log.warning(text, outage_text(error))
        if end is ChunkEnd.LOST:
            log.info(
                "%s: another process goes on with them, or the job was paused or cancelled",
                chunk.title,
            )
        return end

    def close(self) -> None:
        self.stop.set()
        self.models.close()
        self._threads.close()

    @contextmanager
    def _hold_lease(self, claim: Claim) -> Iterator[threading.Event]:
        # Renew the claim's lease inside the context; the event is set if the lease is lost.
        lost = threading.Event()
        with self._leases_lock:
            self._leases[claim.token] = (claim, lost)
        try:
            yield lost
        finally:
            with self._leases_lock:
                del self._leases[claim.token]

    def _renew_leases(self) -> None:
        with self._leases_lock:
            leases = dict(self._leases)
        if leases:
            claims = [claim for claim, _ in leases.values()]
            for claim in renew_leases(self._database, claims):
                leases[claim.token][1].set()

    def _process_or_release(self, chunk: ChunkRunner, *, is_acquired: bool) -> ChunkEnd:
        try:
            if not is_acquired:
                end = ChunkEnd.RELEASED
            elif chunk.claim.is_last_step:
                end = self._settle(chunk)
            else:
                end = chunk.run(self._processor(chunk))
                chunk.with_retry(partial(update_some_days, self._database))
        except LeaseLost:
            end = ChunkEnd.LOST
        except BaseException as error:
            if not (isinstance(error, SQLAlchemyError) and is_transient(error)):
                self._release(chunk)
            raise
        if end in {ChunkEnd.RELEASED, ChunkEnd.SLICE_OVER, ChunkEnd.WAITING}:
            self._release(chunk)
        return end

    def _settle(self, chunk: ChunkRunner) -> ChunkEnd:
        # Store what follows from the photos of a job. An error leaves it due, and the job ends.
        def report(_text: str, _done: int, _total: int | None) -> None:
            chunk.on_progress()
            if self.stop.is_set() or chunk.lease_lost.is_set():
                raise _Stopped

        update = partial(
            update_consequences, self._database, self._settings.model, report
        )
        try:
            if needs_isolation(chunk.claim):
                log.error(
                    "%s: processes ended in it; positions and trips are still due",
                    chunk.title,
                )
            else:
                chunk.with_retry(update)
        except _Stopped:
            return ChunkEnd.LOST if chunk.lease_lost.is_set() else ChunkEnd.RELEASED
        except TaggerError as error:
            log.warning(
                "the taught landmarks were not updated: %s Then run: tagger backfill taught",
                error,
            )
        except SQLAlchemyError:
            raise
        except Exception:
            log.exception("%s: positions and trips are still due", chunk.title)
        chunk.with_retry(partial(close_last_step, self._database, chunk.claim))
        return ChunkEnd.DONE

    def _processor(self, chunk: ChunkRunner) -> PhotoProcessor:
        if chunk.claim.attempts > 1:
            RETRIES.inc()
        if chunk.claim.kind in METADATA_KINDS:
            # Only here: its parsers take a while to import, and most jobs write nothing.
            from tagger.jobs.processing.metadata_writing import MetadataWriter

            return MetadataWriter(chunk)
        if chunk.claim.kind is JobKind.COMPARE:
            return PhotoComparer(chunk)
        # Its first start on a machine may take minutes.
        loaded = chunk.with_retry(partial(self.models.get, chunk.claim.thresholds))
        chunk.on_progress()
        for model_id in chunk.claim.thresholds.keys() - loaded.models.keys():
            note = Note(
                NoteCode.MODEL_LEFT_OUT, {"problem": str(self.models.errors[model_id])}
            )
            chunk.with_retry(
                partial(record_error, self._database, chunk.claim.job_id, note)
            )
        return PhotoClassifier(chunk, loaded)

    def _release(self, chunk: ChunkRunner) -> None:
        try:
            chunk.with_retry(lambda: release_chunk(self._database, chunk.claim))
        except SQLAlchemyError:
            log.warning(
                "%s: they could not be released, and are processed again in less than a minute",
                chunk.title,
            )


# The next chunk is read while the last batches of one are stored.
CONCURRENT_CHUNKS = 2
# How often the caller looks for what was stored, at least.
POLL_S = 0.5
# How long an interrupted job waits for reads, passes and writes in progress.
STOP_S = 1.0
# How often a process looks for chunks that the other processes of its job have released.
FREE_CHUNK_CHECK_S = 0.5


def run_job(
    database: Database,
    settings: Settings,
    job_id: int,
    on_poll: Callable[[], None] = lambda: None,
    on_stored: Callable[[StoredBatch], None] = lambda _photos: None,
) -> None:
    """Run a local job until it ends or waits for an unavailable root.

    `on_poll` is called after photos were stored, and every POLL_S; `on_stored` in the threads of the job. An
    interruption cancels the rest. Threads that have not stopped after STOP_S are left behind, and the caller
    has to end the process.
    """
    with JobThreads(database, settings, job_id) as threads, own_job(database, job_id):
        threads.run(on_poll, on_stored)
        # A chunk may be held by a claim whose answer was lost with the connection, until its lease expires.
        while with_retry(partial(count_open_chunks, database, job_id)):
            time.sleep(FREE_CHUNK_CHECK_S)
            threads.run(on_poll, on_stored)


@contextmanager
def own_job(database: Database, job_id: int) -> Iterator[None]:
    """Renew the lease on a local job inside the context, and release chunks whose own lease has expired.

    An error or interruption cancels what is left.
    """
    leases = ExpiredLeases(database, job_id)
    try:
        with job_heartbeat(database, job_id, leases.release):
            yield
    except BaseException as error:
        is_interrupted = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if is_interrupted else f"ended by an error: {error}"
        _cancel_rest(database, job_id, f"{reason}; {PUT_BACK}")
        raise


def _cancel_rest(database: Database, job_id: int, note: str) -> None:
    # End the job of a command that ends. While the database is away, the next command does it.
    def end() -> None:
        with database.write() as connection:
            end_local_job(connection, job_id, note)

    is_stopping = threading.Event()
    is_stopping.set()
    try:
        with_retry(end, is_stopping)
    except DatabaseError as error:
        log.warning(
            "Job %d is cancelled by the next command: %s", job_id, outage_text(error)
        )


class JobThreads:
    """The threads of this process that execute chunks of one local job; `is_shared`: other processes do, too.

    After an interruption, threads that have not stopped after STOP_S are left behind, and the caller has to
    end the process.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        job_id: int,
        *,
        is_shared: bool = False,
    ) -> None:
        self._database = database
        self._job_id = job_id
        self._is_shared = is_shared
        self._executor = ChunkExecutor(
            database, settings, SLICE_S if is_shared else None
        )
        self._pool = ThreadPoolExecutor(CONCURRENT_CHUNKS, thread_name_prefix="chunk")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: object, error: BaseException | None, _trace: object
    ) -> None:
        if not isinstance(error, KeyboardInterrupt):
            self._executor.stop.set()
            self._pool.shutdown()
            self._executor.close()

    def run(
        self,
        on_poll: Callable[[], None] = lambda: None,
        on_stored: Callable[[StoredBatch], None] = lambda _photos: None,
    ) -> None:
        """Execute chunks until the job has none left, also none that another process may release."""
        changed = threading.Event()

        def store(photos: StoredBatch) -> None:
            on_stored(photos)
            changed.set()

        runs: list[Future[None]] = []
        try:
            for _ in range(CONCURRENT_CHUNKS):
                runs.append(self._pool.submit(self._run_chunks, store))
                runs[-1].add_done_callback(lambda _run: changed.set())
            open_runs = [*runs]
            while open_runs:
                changed.wait(POLL_S)
                changed.clear()
                on_poll()
                for run in [run for run in open_runs if run.done()]:
                    run.result()
                    open_runs.remove(run)
        except BaseException:
            self._executor.stop.set()
            wait(runs, STOP_S)
            raise

    def _run_chunks(self, on_stored: Callable[[StoredBatch], None]) -> None:
        stop, job = self._executor.stop, (self._database, self._job_id)
        claim_next = partial(claim_next_chunk, *job, process_name())
        while not stop.is_set():
            claim = with_retry(claim_next, stop)
            if claim is not None:
                if self._executor.execute(claim, on_stored) is ChunkEnd.WAITING:
                    return
            elif self._is_shared and with_retry(partial(count_open_chunks, *job), stop):
                stop.wait(FREE_CHUNK_CHECK_S)
            else:
                return


def run_local_jobs(
    database: Database, job_id: int, run: Callable[[int], None], advice: str
) -> Iterator[JobProgress]:
    """Call `run` with a local job, then with the one that is chained to it, and yield each when it has ended.

    A job that waits for a folder is cancelled: no process would go on. Its note ends with `advice`.
    """
    next_id: int | None = job_id
    while next_id is not None:
        run(next_id)
        progress = with_retry(partial(find_job, database, next_id))
        if progress.state is JobState.WAITING:
            note = f"{progress.note}; {advice} when it is available"
            with_retry(partial(_cancel, database, next_id, note))
            progress = with_retry(partial(find_job, database, next_id))
        yield progress
        next_id = progress.write_job
        if next_id is not None:
            # Only here: most jobs are not followed by one that writes.
            from tagger.jobs.enqueue.metadata_jobs import select_parent_photos

            with_retry(partial(select_parent_photos, database, next_id))


def _cancel(database: Database, job_id: int, note: str) -> None:
    with database.write() as connection:
        cancel_job(connection, job_id, note)
