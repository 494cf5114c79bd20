"""Runs a job in this process, without Redis or workers: the work of `tagger tag`."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress

from tagger.database.connection import Database
from tagger.database.enums import CLASSIFICATION_KINDS, Runner
from tagger.database.retry import DatabaseError
from tagger.jobs.processing.claimed_chunk import ChunkEnd, StoredBatch
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.jobs import end_local_job
from tagger.ledger.ownership import job_heartbeat, process_name
from tagger.ledger.progress import job_kind, job_model_id
from tagger.library.catalog.kept_counts import COUNT_S, count_changed_blocks
from tagger.pipeline.profile import Profile, Profiler
from tagger.settings import Settings

CONCURRENT_CHUNKS = 2
"""The next chunk is read while the last batches of one are stored."""
COUNT_EVERY_S = 10.0
"""Time between counts of photos while a job runs. Without them, readers would count all that it has changed."""
STOP_S = 1.0
"""How long an interrupted job waits for reads, passes and writes in progress."""


def run_job(
    database: Database, settings: Settings, job_id: int, on_stored: Callable[[StoredBatch], None]
) -> Profile:
    """Run a local job until it ends or waits for an unavailable root; return its profile.

    On an interruption (KeyboardInterrupt), available results are stored and the rest of the job is cancelled. Threads that
    have not stopped by then are left behind, and the caller has to end the process.
    """
    executor = ChunkExecutor(database, settings)
    pool = ThreadPoolExecutor(CONCURRENT_CHUNKS, thread_name_prefix="chunk")
    runs: list[Future[None]] = []
    try:
        with job_heartbeat(database, job_id):
            if job_kind(database, job_id) in CLASSIFICATION_KINDS:
                # The profile does not include loading. In a thread, because an interruption must not wait for it.
                pool.submit(executor.models.get, job_model_id(database, job_id)).result()
            profiler = Profiler()
            runs += [
                pool.submit(_run_chunks, database, executor, job_id, on_stored)
                for _ in range(CONCURRENT_CHUNKS)
            ]
            while wait(runs, COUNT_EVERY_S, FIRST_EXCEPTION).not_done and not _has_failed(runs):
                _count_photos(database)
            for run in runs:
                if run.done():
                    run.result()
            profile = profiler.profile()
    except BaseException as error:
        is_interrupted = isinstance(error, KeyboardInterrupt)
        executor.stop.set()
        wait(runs, STOP_S)
        reason = "interrupted" if is_interrupted else f"ended by an error: {error}"
        with database.write() as connection:
            end_local_job(connection, job_id, f"{reason}; run the same command again to go on")
        if not is_interrupted:
            _close(executor, pool)
        _count_photos(database)
        raise
    _close(executor, pool)
    _count_photos(database)
    return profile


def _has_failed(runs: list[Future[None]]) -> bool:
    return any(run.done() and run.exception() for run in runs)


def _count_photos(database: Database) -> None:
    with suppress(DatabaseError):  # the next time counts the rest
        count_changed_blocks(database, COUNT_S)


def _close(executor: ChunkExecutor, pool: ThreadPoolExecutor) -> None:
    executor.stop.set()
    pool.shutdown()
    executor.close()


def _run_chunks(
    database: Database, executor: ChunkExecutor, job_id: int, on_stored: Callable[[StoredBatch], None]
) -> None:
    while not executor.stop.is_set():
        claim = executor.with_retry(lambda: claim_next_chunk(database, job_id, Runner.LOCAL, process_name()))
        if claim is None or executor.execute(claim, on_stored) is ChunkEnd.WAITING:
            return
