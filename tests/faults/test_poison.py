"""Photos that crash or hang the process that reads them: they fail alone."""

from pathlib import Path

import pytest
from support.commands import Process, Terminal, draw, draw_many
from support.fault_scenario import is_alive

pytestmark = pytest.mark.slow

PHOTOS = 20


def supervise(terminal: Terminal, job: int, worker: Process) -> int:
    """Restart the worker when it dies, until the job is over. Returns how often."""
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


@pytest.fixture
def terminal(scenario_on_each_database) -> Terminal:
    terminal = scenario_on_each_database.terminal
    terminal.environment["TAGGER_BATCH_SIZE"] = "4"
    return terminal


def test_a_photo_that_crashes_the_process_fails_alone(terminal):
    draw_many(terminal.folder / "mixed", 4 * PHOTOS)
    # In two chunks, so that one is isolated while the other still kills.
    for number, seed in ((7, 1001), (40, 1002)):
        photo = draw(terminal.folder / "mixed" / "00" / f"{number:05}-kills.jpg", 0, seed=seed)
        photo.write_bytes(photo.read_bytes() + b"kills")
    terminal.inject(fault_on_decode="kills")
    job = int(terminal.run("enqueue", "mixed").stdout)
    restarts = supervise(terminal, job, terminal.start("worker"))
    assert 2 <= restarts <= 4  # the third claim of a chunk reads in a child process
    progress = terminal.progress(job)
    assert (progress.tagged, progress.unknown, progress.failed) == (64, 16, 2)
    failed = {Path(each["path"]).name: each for each in terminal.json("job", "failures")}
    assert {each["kind"] for each in failed.values()} == {"crashed"}
    assert set(failed) == {"00007-kills.jpg", "00040-kills.jpg"}
    assert all("SIGSEGV" in str(each["text"]) for each in failed.values())
    terminal.assert_consistent()


def test_a_worker_with_too_many_hanging_reads_exits(scenario):
    terminal = scenario.terminal
    draw_many(terminal.folder / "mixed", PHOTOS)
    for number in range(24):
        draw(terminal.folder / "mixed" / f"{number:02}-hangs.jpg", 0, seed=1000 + number)
    terminal.environment |= {"TAGGER_READ_TIMEOUT_S": "1", "TAGGER_THREADS": "4"}
    terminal.inject(hang_on_open="hangs")
    job = int(terminal.run("enqueue", "mixed").stdout)
    worker = terminal.start("worker")
    assert worker.wait(timeout=120) == 75
    assert "Check the disk, the share" in terminal.log.read_text()
    assert supervise(terminal, job, terminal.start("worker")) < 4
    assert (terminal.progress(job).tagged, terminal.progress(job).failed) == (16, 24)
    terminal.assert_consistent()


def test_a_stopping_worker_does_not_wait_for_a_hanging_read(scenario):
    terminal = scenario.terminal
    draw_many(terminal.folder / "mixed", PHOTOS)
    draw(terminal.folder / "mixed" / "hangs.jpg", 0, seed=1000)
    terminal.inject(hang_on_open="hangs")
    job = int(terminal.run("enqueue", "mixed").stdout)
    worker = terminal.start("worker")
    terminal.wait_until(lambda: terminal.progress(job).done == PHOTOS)
    worker.terminate()
    assert worker.wait(timeout=25) == 0  # it takes 7 s
    progress = terminal.progress(job)
    assert (progress.done, progress.queued, progress.running) == (PHOTOS, 1, 0)


def test_a_worker_whose_forward_pass_hangs_exits_and_another_takes_over(scenario):
    terminal = scenario.terminal
    draw_many(terminal.folder / "few", PHOTOS)
    terminal.environment |= {"TAGGER_READ_TIMEOUT_S": "2", "TAGGER_STALL_TIMEOUT_S": "10"}
    job = int(terminal.run("enqueue", "few").stdout)
    healthy = dict(terminal.injected)
    terminal.inject(slow_pass_s="3600")
    stuck = terminal.start("worker")
    assert stuck.wait(timeout=120) == 75
    assert "the current work has made no progress for 10 s" in terminal.log.read_text()
    terminal.injected = healthy
    assert supervise(terminal, job, terminal.start("worker")) == 0
    assert (terminal.progress(job).tagged, terminal.progress(job).unknown) == (16, 4)
    terminal.assert_consistent()
