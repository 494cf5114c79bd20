"""Workers are killed at critical moments: every photo still gets exactly one outcome."""

import os
import signal
import time
from pathlib import Path

import pytest
from rig.servers import RedisServer
from sqlalchemy import select
from support.commands import Terminal, draw_many, stop
from support.fault_scenario import FaultScenario, is_alive

from tagger.database.tables import chunks


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment",
    [
        "before the forward pass",
        "after the forward pass",
        "before the acknowledgement",
    ],
)
def test_the_chunk_of_a_killed_worker_is_processed_by_another(
    scenario: FaultScenario, moment: str, tmp_path: Path
) -> None:
    was_killed = tmp_path / "was-killed"
    scenario.terminal.inject(kill_at=moment, once=was_killed)
    with scenario.terminal.workers(2) as workers:
        job = scenario.enqueue()
        scenario.assert_complete(job)
        assert was_killed.exists()
        assert sorted(is_alive(worker) for worker in workers) == [False, True]
        assert {worker.poll() for worker in workers} == {None, -signal.SIGKILL}
    assert max(scenario.attempts(job)) <= 2


def test_each_photo_has_one_outcome_after_a_killed_worker_and_a_flush(
    scenario_on_each_database: FaultScenario, redis_server: RedisServer
) -> None:
    scenario = scenario_on_each_database
    with scenario.terminal.database() as database, scenario.terminal.workers(2) as workers:
        with scenario.terminal.frozen(workers):
            job = scenario.enqueue()
        scenario.terminal.freeze_with_a_lease(workers[0], database)
        os.kill(workers[0].pid, signal.SIGKILL)
        redis_server.flush()
        scenario.assert_complete(job)


@pytest.mark.slow
def test_photos_of_workers_that_are_killed_soon_after_each_claim_do_not_fail(scenario: FaultScenario) -> None:
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", 32)
    terminal.inject(slow_pass_s="0.5")  # the chunk is not done within a second
    job = int(terminal.run("enqueue", "few").stdout)
    workers = {worker.pid: worker for worker in (terminal.start("worker"), terminal.start("worker"))}
    try:
        for delay_s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            terminal.wait_until(lambda: workers.keys() & claiming_processes(terminal), every_s=0.02)
            (pid,) = workers.keys() & claiming_processes(terminal)
            time.sleep(delay_s)
            killed = workers.pop(pid)
            killed.kill()
            killed.wait()
            started = terminal.start("worker")
            workers[started.pid] = started
        terminal.wait_until(lambda: terminal.progress(job).is_over, timeout_s=400)
    finally:
        for worker in workers.values():
            stop(worker)
    progress = terminal.progress(job)
    assert (progress.done, progress.failed) == (32, 0), terminal.json("job", "failures")


def claiming_processes(terminal: Terminal) -> set[int]:
    """The ids of the processes that hold a claim, or held one when they were killed."""
    with terminal.database() as database, database.read() as connection:
        names = connection.scalars(select(chunks.c.worker).where(chunks.c.worker.is_not(None)))
        return {int(name.partition("@")[0].removeprefix("tagger-")) for name in names}
