"""A job in this process, without Redis or workers: what `tagger tag` runs."""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from tagger.database import Database, patiently
from tagger.holding import ChunkEnd, Stored
from tagger.ledger.chunks import claim_next
from tagger.ledger.jobs import cancel_job, kept_alive, kind_of, model_of, process_name
from tagger.profiling import Profile, Profiler
from tagger.settings import Settings
from tagger.tables import WRITING_KINDS
from tagger.tagging import Tagger

IN_HAND = 2
"""Chunks worked on at once: the next one is being read while the last batches of one are stored."""


def run_job(
    database: Database, settings: Settings, job_id: int, on_stored: Callable[[Stored], None]
) -> Profile:
    """Work on a local job until nothing of it is left, or it waits for a root that is away; returns where the time went.

    An interruption (KeyboardInterrupt) stores what is in hand and cancels the rest of the job.
    """
    tagger = Tagger(database, settings)
    pool = ThreadPoolExecutor(IN_HAND, thread_name_prefix="chunk")
    try:
        with kept_alive(database, job_id):
            if kind_of(database, job_id) not in WRITING_KINDS:
                tagger.running_model(
                    model_of(database, job_id)
                )  # so that loading is no part of the job's time
            profiler = Profiler()
            working = [pool.submit(_work, database, tagger, job_id, on_stored) for _ in range(IN_HAND)]
            done, _ = wait(working, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return profiler.profile()
    except BaseException as error:
        tagger.stop.set()
        pool.shutdown()
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else f"ended by an error: {error}"
        with database.write() as connection:
            cancel_job(connection, job_id, f"{why}; run the same command again to go on")
        raise
    finally:
        tagger.stop.set()
        pool.shutdown()
        tagger.close()


def _work(database: Database, tagger: Tagger, job_id: int, on_stored: Callable[[Stored], None]) -> None:
    while not tagger.stop.is_set():
        claimed = patiently(lambda: claim_next(database, job_id, process_name()), tagger.stop)
        if claimed is None or tagger.tag_chunk(claimed, on_stored) is ChunkEnd.WAITING:
            return
