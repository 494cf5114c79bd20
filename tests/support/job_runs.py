"""Jobs that run in the test process: for tests of results, which need no worker process."""

from sqlalchemy import select

from tagger.database.connection import Database
from tagger.database.enums import Runner
from tagger.database.tables import chunks
from tagger.enqueue.metadata_jobs import select_adopted_jobs
from tagger.ledger.chunks import ChunkName, claim_chunk
from tagger.processing.executor import ChunkExecutor
from tagger.settings import Settings


def process_job(database: Database, settings: Settings, job: int) -> None:
    """Process all chunks of the job, as a worker does when it gets their messages."""
    select_adopted_jobs(database)
    executor = ChunkExecutor(database, settings)
    try:
        for chunk in _unfinished_chunks(database, job):
            claim = claim_chunk(database, ChunkName(job, chunk), Runner.WORKERS, "worker")
            assert claim is not None
            executor.execute(claim)
    finally:
        executor.close()


def _unfinished_chunks(database: Database, job: int) -> list[int]:
    query = select(chunks.c.chunk).where(chunks.c.job_id == job, chunks.c.done.is_(False))
    with database.read() as connection:
        return list(connection.scalars(query.order_by(chunks.c.chunk)))
