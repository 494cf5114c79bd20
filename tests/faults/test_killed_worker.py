"""A worker is killed while it holds leases, and Redis loses everything: every photo still ends exactly once."""

import os
import signal
import time
from pathlib import Path

from commands import Terminal, draw_many
from servers import RedisServer
from sqlalchemy import func, select

from tagger.database import Database, open_database
from tagger.ledger.progress import JobProgress, list_jobs
from tagger.tables import contents, job_items, tags

PHOTOS = 600


def test_every_photo_ends_once_though_a_worker_is_killed_and_redis_is_emptied(
    tmp_path: Path, redis_server: RedisServer, database_url: str
) -> None:
    settings = {
        "TAGGER_REDIS_URL": redis_server.url,
        "TAGGER_DATABASE_URL": database_url,
        # Small batches by one reader: slow enough to be caught in the act.
        "TAGGER_BATCH_SIZE": "4",
        "TAGGER_THREADS": "1",
    }
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "photos", PHOTOS, size=(1600, 1200))
    database = open_database(database_url)

    with terminal.workers(2) as workers:
        plain_s = _seconds_of_a_plain_run(terminal, database)

        job = terminal.json("enqueue", "--again", "photos")["job"]
        _wait_until_working(terminal, database, job)
        os.kill(workers[0].pid, signal.SIGKILL)
        redis_server.flush()
        at_the_kill = _progress(database, job)
        terminal.wait_until(lambda: _progress(database, job).is_over, timeout_s=plain_s + 90)

    assert at_the_kill.running > 0
    after = _progress(database, job)
    assert (after.total, after.tagged, after.unknown) == (PHOTOS, PHOTOS * 4 // 5, PHOTOS // 5)
    assert after.skipped == after.failed == after.cancelled == after.queued == after.running == 0
    with database.read() as connection:
        ended = select(job_items.c.outcome, func.count().label("count")).where(job_items.c.job_id == job)
        counted = {row.outcome: row[1] for row in connection.execute(ended.group_by(job_items.c.outcome))}
        assert counted == {"tagged": after.tagged, "unknown": after.unknown}
        assert connection.scalar(select(func.count()).select_from(contents)) == PHOTOS
        doubled = select(tags.c.content_id, tags.c.landmark_id).group_by(
            tags.c.content_id, tags.c.landmark_id
        )
        assert connection.execute(doubled.having(func.count() > 1)).all() == []
    database.close()


def _seconds_of_a_plain_run(terminal: Terminal, database: Database) -> float:
    began = time.monotonic()
    job = terminal.json("enqueue", "photos")["job"]
    terminal.wait_until(lambda: _progress(database, job).is_over)
    assert _progress(database, job).tagged == PHOTOS * 4 // 5
    return time.monotonic() - began


def _wait_until_working(terminal: Terminal, database: Database, job: int) -> None:
    """Until both workers hold leases and have stored something: the middle of the job."""

    def is_under_way() -> bool:
        progress = _progress(database, job)
        assert not progress.is_over, "the job was over before the worker could be killed"
        return progress.running > 64 and progress.done > 0

    terminal.wait_until(is_under_way)


def _progress(database: Database, job: int) -> JobProgress:
    return list_jobs(database, job)[0]
