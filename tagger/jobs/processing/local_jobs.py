"""Local jobs: a command runs them itself, in this process or in several that share the chunks."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Self

from tagger.database.connection import Database
from tagger.database.engine import DatabaseError, outage_text, with_retry
from tagger.database.enums import JobState
from tagger.jobs.processing.chunk_runner import SLICE_S, ChunkEnd, StoredBatch
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import JobProgress, count_open_chunks, find_job
from tagger.ledger.jobs import PUT_BACK, cancel_job, end_local_job, job_heartbeat, process_name
from tagger.ledger.workers import ExpiredLeases
from tagger.settings import Settings

log = logging.getLogger(__name__)

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
    """End the job of a command that ends. While the database is away, the next command does it."""

    def end() -> None:
        with database.write() as connection:
            end_local_job(connection, job_id, note)

    is_stopping = threading.Event()
    is_stopping.set()
    try:
        with_retry(end, is_stopping)
    except DatabaseError as error:
        log.warning("Job %d is cancelled by the next command: %s", job_id, outage_text(error))


class JobThreads:
    """The threads of this process that execute chunks of one local job; `is_shared`: other processes do, too.

    After an interruption, threads that have not stopped after STOP_S are left behind, and the caller has to
    end the process.
    """

    def __init__(
        self, database: Database, settings: Settings, job_id: int, *, is_shared: bool = False
    ) -> None:
        self._database = database
        self._job_id = job_id
        self._is_shared = is_shared
        self._executor = ChunkExecutor(database, settings, SLICE_S if is_shared else None)
        self._pool = ThreadPoolExecutor(CONCURRENT_CHUNKS, thread_name_prefix="chunk")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
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
        progress = with_retry(partial(_ended_job, database, next_id, advice))
        yield progress
        next_id = progress.write_job
        if next_id is not None:
            # Only here: most jobs are not followed by one that writes.
            from tagger.jobs.enqueue.metadata_jobs import select_parent_photos

            with_retry(partial(select_parent_photos, database, next_id))


def _ended_job(database: Database, job_id: int, advice: str) -> JobProgress:
    """A job that has run. One that waits for a folder is cancelled."""
    progress = find_job(database, job_id)
    if progress.state is not JobState.WAITING:
        return progress
    with database.write() as connection:
        cancel_job(connection, job_id, f"{progress.note}; {advice} when it is available")
    return find_job(database, job_id)
