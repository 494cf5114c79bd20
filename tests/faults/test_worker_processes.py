"""`tagger worker` in several processes: one worker to those who look at it, which starts, goes on and ends as one."""

import os
import re
import signal
from collections.abc import Iterator
from urllib.request import urlopen

import psutil
import pytest
from rig.servers import free_port
from sqlalchemy import func, select
from support.commands import Process, Terminal, child_processes, draw_many, stop, wait_until_gone

from tagger.database.tables import workers

PHOTOS = 110


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_PROCESSES": "2", "TAGGER_BATCH_SIZE": "4"}
    terminal = Terminal(tmp_path / "terminal", settings)
    terminal.inject(values="worker.tasks.SWEEP_S=1 tagger.processes.pool.RESTART_PAUSES_S=[0.1,0.1]")
    return terminal


@pytest.fixture
def worker(terminal) -> Iterator[Process]:
    terminal.environment["TAGGER_METRICS_PORT"] = str(free_port())
    with terminal.running("worker", "-v") as process:
        terminal.wait_until(lambda: has_two(terminal))
        yield process


def has_two(terminal: Terminal) -> bool:
    with terminal.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).where(workers.c.waits_for.is_(None))) == 2


def children(parent: Process) -> list[psutil.Process]:
    return child_processes(parent, "worker")


def photos_at(port: int) -> int:
    """The photos that a process has stored, by its metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        counts = re.findall(r"^tagger_photos_total\{.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
    return int(sum(map(float, counts)))


def test_two_processes_are_one_worker(terminal, worker):
    draw_many(terminal.folder / "photos", PHOTOS)
    (status,) = terminal.json("status")["workers"]
    assert status["name"].startswith(f"tagger-{worker.pid}@")
    assert status["processes"] == 2
    assert "(cpu, 2 processes, idle)" in terminal.run("status").stdout
    assert terminal.log.read_text().count("is ready on cpu") == 1
    terminal.run("enqueue", "--wait", "photos")
    port = int(terminal.environment["TAGGER_METRICS_PORT"])
    counts = [photos_at(port + number) for number in range(2)]
    assert sum(counts) == PHOTOS
    assert sum(count > 0 for count in counts) > 1
    terminal.assert_consistent()

    killed = children(worker)[1]
    killed.kill()
    terminal.wait_until(lambda: len({each.pid for each in children(worker)} - {killed.pid}) == 2)
    text = f"WARNING the tagger-{worker.pid}.2 process was ended by signal 9; restarting it"
    assert terminal.log.read_text().count(text) == 1
    processes = children(worker)
    assert stop(worker) == 0
    wait_until_gone(terminal, processes)
    terminal.wait_until(lambda: not terminal.active_workers())  # one was killed, one perhaps while it started
    assert terminal.log.read_text().count("stopping: ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_stops_them_once(terminal, worker, number):
    """As a terminal and systemd send it."""
    processes = children(worker)
    os.killpg(worker.pid, number)
    assert worker.wait(60) == 0
    wait_until_gone(terminal, processes)
    assert "second signal" not in terminal.log.read_text()


def test_the_processes_end_when_the_worker_is_killed(terminal, worker):
    processes = children(worker)
    worker.kill()
    worker.wait()
    wait_until_gone(terminal, processes)


def test_a_worker_that_cannot_start_says_so_once(terminal):
    (terminal.folder / "wrong.pt").write_bytes(b"no model")
    terminal.environment["TAGGER_MODEL"] = str(terminal.folder / "wrong.pt")
    done = terminal.run("worker", code=1)
    terminal.environment["TAGGER_PROCESSES"] = "1"
    alone = terminal.run("worker", code=1)
    assert done.stderr.count("cannot be used") == alone.stderr.count("cannot be used") == 1
