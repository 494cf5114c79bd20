"""`tagger watch --enqueue` while Redis is away, and after a kill: each photo is enqueued once."""

import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest
from rig.servers import RedisServer
from sqlalchemy import select
from support.commands import Terminal, draw
from support.watching import started

from tagger.database import JobState
from tagger.database.tables import job_items, photos
from tagger.ledger.job_control import JobProgress
from worker.broker import RedisKeys

WATCH = ("watch", "photos", "--enqueue")
RECORDED = "is recorded; workers process it when Redis is available"


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    redis_server.kill()
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    terminal.inject(values="worker.tasks.SWEEP_S=1")
    for number in range(3):
        add(terminal, number)
    return terminal


def add(terminal: Terminal, number: int) -> None:
    draw(terminal.folder / "photos" / f"{number}.jpg", number % 4, seed=number)


def enqueued(terminal: Terminal) -> Counter[str]:
    if not (terminal.data / "tagger.sqlite").exists():
        return Counter()
    query = select(photos.c.path).join(job_items, job_items.c.photo_id == photos.c.id)
    with terminal.database() as database, database.read() as connection:
        return Counter(connection.scalars(query))


def is_scanning(terminal: Terminal) -> bool:
    return any(job.state is JobState.SCANNING for job in terminal.jobs())


def once(numbers: int) -> Counter[str]:
    return Counter(f"{number}.jpg" for number in range(numbers))


def wake_ups(terminal: Terminal, server: RedisServer) -> int:
    with terminal.database() as database, server.client() as client:
        return sum(map(client.llen, RedisKeys(database.ledger_id).queues.values()))


def assert_consistent(terminal: Terminal, jobs: Sequence[JobProgress]) -> None:
    assert sum(job.tagged for job in jobs) == sum(job.total for job in jobs) == enqueued(terminal).total()
    terminal.assert_consistent()


@pytest.mark.slow
def test_photos_are_enqueued_once_while_redis_is_away_at_the_start_and_later(terminal, redis_server):
    def warnings() -> int:
        return terminal.log.read_text().count(RECORDED)

    with started(terminal, *WATCH):
        terminal.wait_until(lambda: enqueued(terminal) == once(3) and warnings() == 1)
        assert f"Redis at {redis_server.url} does not answer" in terminal.log.read_text()
        redis_server.start()
        add(terminal, 3)
        terminal.wait_until(lambda: enqueued(terminal) == once(4) and wake_ups(terminal, redis_server))
        redis_server.kill()
        add(terminal, 4)
        terminal.wait_until(lambda: enqueued(terminal) == once(5) and warnings() == 2)
        redis_server.start()
        with terminal.workers(1):
            terminal.wait_until(lambda: all(job.is_over for job in terminal.jobs()))
    assert enqueued(terminal) == once(5)
    assert warnings() == 2, "one for each job that was recorded while Redis was away"
    assert_consistent(terminal, terminal.jobs())


@pytest.mark.slow
def test_photos_are_enqueued_once_by_the_start_after_a_kill_before_any_commit(terminal):
    terminal.run("db", "upgrade")
    empty = terminal.folder / "empty"
    shutil.copytree(terminal.data, empty)
    for commit in count(1):
        terminal.inject(kill_at_commit=str(commit))
        watch = terminal.start(*WATCH)
        terminal.wait_until(
            lambda watch=watch: watch.poll() is not None or RECORDED in terminal.log.read_text()
        )
        is_killed = watch.poll() is not None
        watch.kill()
        assert watch.wait() == -signal.SIGKILL
        del terminal.injected["INJECT_KILL_AT_COMMIT"]
        terminal.log.unlink()
        with started(terminal, *WATCH):
            terminal.wait_until(lambda: "watching" in terminal.log.read_text())
            terminal.wait_until(lambda: set(enqueued(terminal)) == set(once(3)) and not is_scanning(terminal))
        for job in terminal.jobs():
            terminal.process_job(job.job)
        assert enqueued(terminal) == once(3), f"killed before commit {commit}"
        assert_consistent(terminal, terminal.jobs())
        if not is_killed:
            break
        terminal.log.unlink()
        shutil.rmtree(terminal.data)
        shutil.copytree(empty, terminal.data)
    assert commit > 3, "the command commits less often than expected; does the test still see it?"
