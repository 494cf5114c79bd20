"""Jobs that run in the test process: for tests of results, which need no worker process."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tagger.database.connection import Database
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.ledger.chunks import claim_next_chunk
from tagger.ledger.job_control import list_jobs
from tagger.ledger.workers import record_heartbeat
from tagger.settings import Settings

WORKER = "worker"


def process_job(database: Database, settings: Settings, job: int) -> None:
    """Process all chunks of the job, as a worker does when it gets their messages."""
    fill_chained_jobs(database)
    with closing(ChunkExecutor(database, settings)) as executor:
        while claim := claim_next_chunk(database, job, WORKER):
            executor.execute(claim)


@contextmanager
def processing_jobs(database: Database, settings: Settings) -> Iterator[None]:
    """Process the chunks of all jobs in a thread, also of those that begin inside the context."""
    stopping = threading.Event()
    thread = threading.Thread(target=_process_until, args=(stopping, database, settings))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _process_until(stopping: threading.Event, database: Database, settings: Settings) -> None:
    with closing(ChunkExecutor(database, settings)) as executor:
        while not stopping.wait(0.05):
            record_heartbeat(database, WORKER, "cpu")
            fill_chained_jobs(database)
            for job in reversed(list_jobs(database)):
                while not job.is_local and (claim := claim_next_chunk(database, job.job, WORKER)):
                    executor.execute(claim)
