"""Jobs that run in the test process: for tests of results, which need no worker process."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy import select
from support.databases import read_rows

from tagger.database import Runner
from tagger.database.connection import Database
from tagger.database.tables import chunks, jobs
from tagger.jobs.enqueue.metadata_jobs import fill_chained_jobs
from tagger.jobs.processing.executor import ChunkExecutor
from tagger.ledger.chunks import ChunkName, claim_next_chunk
from tagger.ledger.job_control import find_job
from tagger.ledger.workers import record_heartbeat
from tagger.settings import Settings

WORKER = "worker"


def process_job(database: Database, settings: Settings, job: int) -> None:
    """Process all chunks of the job, as a worker does when it gets their messages."""
    fill_chained_jobs(database)
    with closing(ChunkExecutor(database, settings)) as executor:
        for name in _unfinished_chunks(database):
            if name.job_id == job:
                claim = claim_next_chunk(database, name.job_id, WORKER)
                assert claim is not None
                executor.execute(claim)
        if find_job(database, job).settling:
            last_step = claim_next_chunk(database, job, WORKER)
            assert last_step is not None
            executor.execute(last_step)


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
            for name in _unfinished_chunks(database):
                if claim := claim_next_chunk(database, name.job_id, WORKER):
                    executor.execute(claim)


def _unfinished_chunks(database: Database) -> list[ChunkName]:
    query = (
        select(chunks.c.job_id, chunks.c.chunk)
        .join(jobs, jobs.c.id == chunks.c.job_id)
        .where(chunks.c.done.is_(False), jobs.c.runner == Runner.WORKERS)
        .order_by(chunks.c.job_id, chunks.c.chunk)
    )
    return [ChunkName(*row) for row in read_rows(database, query)]
