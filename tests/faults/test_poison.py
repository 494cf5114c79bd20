"""Photos that take down the process that reads them, or never end being read: they fail, their neighbours do not."""

import subprocess
from pathlib import Path

import pytest
from artifacts import tiny_artifact
from commands import Terminal, draw, draw_many
from ordeal import Ordeal, is_alive

from bench.sums import wrong_library, wrong_sums

NEIGHBOURS = 20


def keep_a_worker(terminal: Terminal, job: int, worker: subprocess.Popen[bytes]) -> int:
    """Start a worker again whenever it dies, as a supervisor does, until the job is over; returns how often."""
    starts = [worker]

    def is_over() -> bool:
        if not is_alive(starts[-1]):
            starts.append(terminal.start("worker"))
        return terminal.progress(job).is_over

    try:
        terminal.wait_until(is_over, timeout_s=400, every_s=0.2)
    finally:
        starts[-1].terminate()
        starts[-1].wait(60)
    return len(starts) - 1


def failures(terminal: Terminal) -> dict[str, dict[str, object]]:
    return {Path(each["path"]).name: each for each in terminal.json("failures")}


def sums_are_right(terminal: Terminal, job: int) -> None:
    with terminal.database() as database:
        assert wrong_sums(database, job) == []
        assert wrong_library(database) == []


@pytest.fixture
def terminal(ordeal_on_each: Ordeal) -> Terminal:
    terminal = ordeal_on_each.terminal
    terminal.environment["TAGGER_BATCH_SIZE"] = "4"
    return terminal


def test_a_photo_that_kills_the_process_fails_and_its_neighbours_are_tagged(terminal: Terminal) -> None:
    draw_many(terminal.folder / "mixed", 4 * NEIGHBOURS)
    # In two chunks, so that one is gone through alone while the other still kills.
    draw(terminal.folder / "mixed" / "00" / "00007-kills.jpg", 0, seed=1001)
    draw(terminal.folder / "mixed" / "00" / "00040-kills.jpg", 0, seed=1002)
    terminal.inject(kill_on_open="kills")
    job = int(terminal.run("enqueue", "mixed").stdout)
    deaths = keep_a_worker(terminal, job, terminal.start("worker"))
    assert 2 <= deaths <= 4  # the third claim of a chunk reads in a child process
    progress = terminal.progress(job)
    assert (progress.tagged, progress.unknown, progress.failed) == (64, 16, 2)
    failing = failures(terminal)
    assert {each["kind"] for each in failing.values()} == {"crashed"}
    assert set(failing) == {"00007-kills.jpg", "00040-kills.jpg"}
    assert "SIGKILL" in str(failing["00007-kills.jpg"]["text"])
    sums_are_right(terminal, job)


def test_a_photo_whose_reading_hangs_fails_and_the_worker_goes_on(terminal: Terminal) -> None:
    draw_many(terminal.folder / "mixed", NEIGHBOURS)
    for number in range(3):
        draw(terminal.folder / "mixed" / f"{number}-hangs.jpg", 0, seed=1000 + number)
    terminal.environment["TAGGER_READ_TIMEOUT_S"] = "2"
    terminal.inject(hang_on_open="hangs")
    job = int(terminal.run("enqueue", "mixed").stdout)
    assert keep_a_worker(terminal, job, terminal.start("worker")) == 0
    assert (terminal.progress(job).tagged, terminal.progress(job).failed) == (16, 3)
    failing = failures(terminal)
    assert {each["kind"] for each in failing.values()} == {"timed-out"}
    assert "tagger retry --kind timed-out" in str(failing["0-hangs.jpg"]["text"])
    sums_are_right(terminal, job)


def test_where_too_many_reads_hang_the_worker_ends_for_its_supervisor(ordeal: Ordeal) -> None:
    terminal = ordeal.terminal
    draw_many(terminal.folder / "mixed", NEIGHBOURS)
    for number in range(24):
        draw(terminal.folder / "mixed" / f"{number:02}-hangs.jpg", 0, seed=1000 + number)
    terminal.environment |= {"TAGGER_READ_TIMEOUT_S": "1", "TAGGER_THREADS": "4"}
    terminal.inject(hang_on_open="hangs")
    job = int(terminal.run("enqueue", "mixed").stdout)
    worker = terminal.start("worker")
    assert worker.wait(timeout=120) == 75
    assert "Check the disk or share" in terminal.log.read_text()
    assert keep_a_worker(terminal, job, terminal.start("worker")) < 4
    assert (terminal.progress(job).tagged, terminal.progress(job).failed) == (16, 24)
    sums_are_right(terminal, job)


def test_a_worker_told_to_stop_does_not_wait_for_a_read_that_hangs(ordeal: Ordeal) -> None:
    terminal = ordeal.terminal
    draw_many(terminal.folder / "mixed", NEIGHBOURS)
    draw(terminal.folder / "mixed" / "hangs.jpg", 0, seed=1000)
    terminal.inject(hang_on_open="hangs")
    job = int(terminal.run("enqueue", "mixed").stdout)
    worker = terminal.start("worker")
    terminal.wait_until(lambda: terminal.progress(job).done == NEIGHBOURS)
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    progress = terminal.progress(job)
    assert (progress.done, progress.queued, progress.running) == (NEIGHBOURS, 1, 0)


def test_a_batch_too_large_for_the_device_is_halved_and_goes_on(ordeal: Ordeal) -> None:
    terminal = ordeal.terminal
    terminal.environment |= {"TAGGER_BATCH_SIZE": "32"}
    draw_many(terminal.folder / "many", 100)
    tiny_artifact(terminal.folder / "hungry.pt", name="hungry", most_in_memory=6)
    terminal.environment["TAGGER_MODEL"] = str(terminal.folder / "hungry.pt")
    with terminal.workers(1):
        done = terminal.json("enqueue", "--wait", "many")
    assert (done["tagged"], done["unknown"], done["failed"]) == (80, 20, 0)
    assert "too small for a batch of 32; going on with 16" in terminal.log.read_text()
    assert "too small for a batch of 8; going on with 4" in terminal.log.read_text()
    assert "going on with 2" not in terminal.log.read_text()


def test_a_worker_whose_forward_pass_hangs_ends_and_another_does_the_work(ordeal: Ordeal) -> None:
    terminal = ordeal.terminal
    draw_many(terminal.folder / "few", NEIGHBOURS)
    terminal.environment["TAGGER_READ_TIMEOUT_S"] = "2"
    job = int(terminal.run("enqueue", "few").stdout)
    healthy = dict(terminal.injected)
    soon = "worker.watchdog.STALL_S=5 worker.watchdog.CHECK_S=0.5"
    terminal.inject(slow_pass_s="3600", values=f"{healthy.get('INJECT_VALUES', '')} {soon}")
    stuck = terminal.start("worker")
    assert stuck.wait(timeout=120) == 75
    assert "nothing has come of the work in hand for 5 s" in terminal.log.read_text()
    terminal.injected = healthy
    assert keep_a_worker(terminal, job, terminal.start("worker")) == 0
    assert (terminal.progress(job).tagged, terminal.progress(job).unknown) == (16, 4)
    sums_are_right(terminal, job)
