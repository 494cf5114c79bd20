"""A worker is killed while it holds leases, and Redis loses everything: every photo still ends exactly once."""

import os
import signal
import time
from pathlib import Path

from commands import Terminal, draw_many
from servers import RedisServer
from sqlalchemy import func, select

from tagger.database import Database
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

    with terminal.database() as database, terminal.workers(2) as workers:
        plain_s = _seconds_of_a_plain_run(terminal)

        with terminal.frozen(workers):
            job = terminal.json("enqueue", "--again", "photos")["job"]
        terminal.freeze_with_a_lease(workers[0], database)
        os.kill(workers[0].pid, signal.SIGKILL)
        redis_server.flush()
        terminal.wait_until(lambda: terminal.progress(job).is_over, timeout_s=plain_s + 90)

        after = terminal.progress(job)
        assert (after.total, after.tagged, after.unknown) == (PHOTOS, PHOTOS * 4 // 5, PHOTOS // 5)
        assert after.skipped == after.failed == after.cancelled == after.queued == after.running == 0
        _check_items(database, job, {"tagged": after.tagged, "unknown": after.unknown})


def _seconds_of_a_plain_run(terminal: Terminal) -> float:
    began = time.monotonic()
    assert terminal.json("enqueue", "--wait", "photos")["tagged"] == PHOTOS * 4 // 5
    return time.monotonic() - began


def _check_items(database: Database, job: int, expected: dict[str, int]) -> None:
    """Item by item what the sums say, and no picture or tag twice."""
    with database.read() as connection:
        ended = select(job_items.c.outcome, func.count()).where(job_items.c.job_id == job)
        counted = {row[0]: row[1] for row in connection.execute(ended.group_by(job_items.c.outcome))}
        assert counted == expected
        assert connection.scalar(select(func.count()).select_from(contents)) == PHOTOS
        twice = (
            select(tags.c.content_id).group_by(tags.c.content_id, tags.c.landmark_id).having(func.count() > 1)
        )
        assert connection.execute(twice).all() == []
