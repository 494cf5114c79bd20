"""`tagger tag` in several processes: one output and one outcome for each photo, whoever is killed when."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.commands import Process, Terminal, child_processes, draw, draw_many, wait_until_gone
from support.fault_scenario import SHORT_DURATIONS

PHOTOS = 110  # In three chunks
SLOW = {"slow_pass_s": "0.5"}


@pytest.fixture
def terminal(tmp_path) -> Terminal:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_PROCESSES": "2", "TAGGER_BATCH_SIZE": "4"})
    draw_many(terminal.folder / "photos", PHOTOS)
    return terminal


@pytest.fixture
def started(terminal) -> Iterator[Process]:
    """A slow `tagger tag`, which has stored photos."""
    terminal.inject(**SLOW)
    with terminal.running("tag", "photos") as process:
        terminal.wait_until(lambda: any(job.tagged for job in terminal.jobs()))
        terminal.wait_until(lambda: len(children(process)) == 2)
        yield process


def children(parent: Process) -> list[psutil.Process]:
    return child_processes(parent, "--job")


def has_driver(process: psutil.Process) -> bool:
    """Whether the process is about to connect to PostgreSQL, or has done so."""
    return any("libpq" in each.path for each in process.memory_maps())


def assert_complete(terminal: Terminal, photos: int = PHOTOS) -> None:
    (job,) = terminal.jobs()
    assert (job.state, job.done) == ("finished", photos)
    terminal.assert_consistent()


def test_the_output_is_that_of_one_process(terminal):
    for number in range(3):
        (terminal.folder / "photos" / f"broken{number}.jpg").write_bytes(b"no photo")
    done = terminal.run_process("tag", "photos", code=3)
    assert_complete(terminal, PHOTOS + 3)
    terminal.environment["TAGGER_PROCESSES"] = "1"
    again = terminal.run("tag", "photos", "--again", code=3)
    assert sorted(done.stdout.splitlines()) == sorted(again.stdout.splitlines())
    assert numbers(done.stderr) == numbers(again.stderr)
    assert "process" not in done.stderr


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+ photos:.*failed|^ .*", text, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interruption_ends_all_processes(terminal, started, number):
    processes = children(started)
    began = time.monotonic()
    os.killpg(started.pid, number) if number is signal.SIGINT else started.send_signal(number)
    assert started.wait(10) == 130
    assert time.monotonic() - began < 5
    wait_until_gone(terminal, processes)
    text = terminal.log.read_text()
    assert text.count("interrupted") == 1
    assert "warning" not in text
    (job,) = terminal.jobs()
    assert job.state == "cancelled"
    assert job.done + job.cancelled == PHOTOS


def test_the_processes_end_when_their_parent_is_killed(terminal, started):
    processes = children(started)
    started.kill()
    started.wait()
    wait_until_gone(terminal, processes)
    terminal.environment["TAGGER_PROCESSES"] = "1"
    terminal.run("tag", "photos")
    assert {job.state for job in terminal.jobs()} == {"finished", "cancelled"}
    assert len(terminal.json("query")) == PHOTOS * 4 // 5


@pytest.mark.slow
def test_the_error_of_a_process_is_that_of_the_command(terminal):
    ends = []
    terminal.environment["TAGGER_BACKEND"] = "openvino-int8"
    for processes in ("1", "2"):
        (terminal.folder / "tiny.pt").touch()
        terminal.environment["TAGGER_PROCESSES"] = processes
        done = terminal.run("tag", "photos", "--again", code=1)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        ends.append((errors, terminal.jobs()[0].note))
    assert ends[0] == ends[1]
    assert len(ends[0][0]) == 1


@pytest.fixture
def terminal_on_postgres(terminal, postgres) -> Terminal:
    terminal.environment["TAGGER_DATABASE_URL"] = postgres.url
    return terminal


@pytest.mark.parametrize(
    "moment",
    [
        "while a new process opens its session",
        pytest.param("while the last chunks are claimed", marks=pytest.mark.slow),
        pytest.param("while the processes start", marks=pytest.mark.slow),
        pytest.param("while the last step is due", marks=pytest.mark.slow),
    ],
)
def test_an_outage_of_the_database_ends_no_process_and_a_killed_one_is_replaced(
    terminal_on_postgres, postgres, durations, moment
):
    terminal = terminal_on_postgres
    terminal.inject(**SLOW)
    with terminal.running("tag", "photos") as tag:
        terminal.wait_until(lambda: len(children(tag)) == 2, every_s=0.02)
        if moment != "while the processes start":
            terminal.wait_until(lambda: terminal.jobs()[0].tagged)
        if moment == "while a new process opens its session":
            former = children(tag)
            former[1].kill()
            terminal.wait_until(lambda: set(children(tag)) - set(former), every_s=0.02)
        if moment == "while the last step is due":
            terminal.wait_until(lambda: terminal.jobs()[0].done > PHOTOS - 12, every_s=0.02)
        postgres.kill()
        terminal.wait_until(lambda: all(map(has_driver, children(tag))))
        time.sleep(durations.away_s)
        postgres.start()
        assert tag.wait(150) == 0, terminal.log.read_text()[-2000:]
    assert_complete(terminal)
    text = terminal.log.read_text()
    killed = int(moment == "while a new process opens its session")
    warning = "the tag.2 process was ended by signal 9; restarting it"
    assert text.count(warning) == text.count("restarting it") == killed
    lines = [line.partition(": ")[0] for line in text.splitlines() if line.startswith("/")]
    assert len(lines) == len(set(lines)) <= PHOTOS


@pytest.mark.parametrize(
    "moment",
    ["while it classifies photos", pytest.param("while it starts", marks=pytest.mark.slow)],
)
def test_a_process_that_is_stopped_does_not_hold_up_the_job(terminal_on_postgres, moment):
    """As by SIGSTOP, or a debugger: another process takes its chunks, and it is ended."""
    terminal = terminal_on_postgres
    terminal.inject(**SLOW, values=SHORT_DURATIONS.values or "")
    with terminal.running("tag", "photos") as tag:
        terminal.wait_until(lambda: len(children(tag)) == 2, every_s=0.02)
        if moment == "while it classifies photos":
            terminal.wait_until(lambda: terminal.jobs()[0].tagged)
        stopped = children(tag)[1]
        with terminal.frozen([stopped]):
            assert tag.wait(150) == 0, terminal.log.read_text()[-2000:]
            assert not stopped.is_running()
    assert_complete(terminal)


@pytest.mark.slow
def test_a_photo_that_kills_processes_fails_alone(terminal):
    photo = draw(terminal.folder / "photos" / "kills.jpg", 0, seed=5000)
    photo.write_bytes(photo.read_bytes() + b"kills")
    terminal.inject(kill_on_decode="kills")
    assert terminal.start("tag", "photos").wait(240) == 3, terminal.log.read_text()[-2000:]
    assert_complete(terminal, PHOTOS + 1)
    (failed,) = terminal.json("job", "failures")
    assert (Path(failed["path"]).name, failed["kind"]) == ("kills.jpg", "crashed")


@pytest.mark.slow
def test_processes_that_always_die_end_the_command(terminal):
    terminal.environment["TAGGER_PROCESSES"] = "2"
    terminal.inject(kill_on_open="conversions.lock")  # before a model is loaded
    assert terminal.start("tag", "photos").wait(240) == 1
    assert "error: The processes that classify photos keep ending" in terminal.log.read_text()
    (job,) = terminal.jobs()
    assert (job.state, job.cancelled) == ("cancelled", PHOTOS)
