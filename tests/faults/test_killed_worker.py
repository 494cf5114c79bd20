"""Workers are killed where it hurts most: every photo still ends exactly once."""

import os
import signal
from pathlib import Path

import pytest
from ordeal import Ordeal, is_alive
from servers import RedisServer


@pytest.mark.parametrize(
    "moment", ["before the forward pass", "after the forward pass", "before the acknowledgement"]
)
def test_what_a_killed_worker_had_in_hand_is_done_by_another(
    ordeal: Ordeal, moment: str, tmp_path: Path
) -> None:
    was_killed = tmp_path / "was-killed"
    ordeal.terminal.inject(kill_at=moment, once=was_killed)
    with ordeal.terminal.workers(2) as workers:
        job = ordeal.enqueue()
        ordeal.ends_well(job)
        assert was_killed.exists()
        assert sorted(is_alive(worker) for worker in workers) == [False, True]
        assert {worker.poll() for worker in workers} == {None, -signal.SIGKILL}
    assert max(ordeal.attempts(job)) <= 2


def test_every_photo_ends_once_though_a_worker_is_killed_and_redis_is_emptied(
    ordeal_on_each: Ordeal, redis_server: RedisServer
) -> None:
    ordeal = ordeal_on_each
    with ordeal.terminal.database() as database, ordeal.terminal.workers(2) as workers:
        with ordeal.terminal.frozen(workers):
            job = ordeal.enqueue()
        ordeal.terminal.freeze_with_a_lease(workers[0], database)
        os.kill(workers[0].pid, signal.SIGKILL)
        redis_server.flush()
        ordeal.ends_well(job)


def test_a_worker_that_is_started_again_and_again_comes_to_the_end(ordeal: Ordeal) -> None:
    job = ordeal.enqueue()
    for _ in range(2):
        with ordeal.terminal.workers(1) as (worker,):
            ordeal.wait_for_some(job, more_than=ordeal.stored(job))
            worker.kill()
            worker.wait()
    with ordeal.terminal.workers(1):
        ordeal.ends_well(job)
