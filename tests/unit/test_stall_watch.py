"""Which processes are ended because they make no progress, with short limits, and what is reported of them."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tagger.processes import stall
from tagger.settings import Settings

LIMIT_S = 2.0
PROGRAM = f"""
import ctypes, sys, threading, time
from pathlib import Path
from tagger.processes import stall
stall.CHECK_S = 0.1

def fail():
    raise RuntimeError("no loop")

def freeze(seconds=60):
    act = lambda: ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # PyDLL keeps the interpreter's lock
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()

since = time.monotonic()

def slow():
    return "slow" if time.monotonic() - since > {LIMIT_S} else None
"""
WATCH = f'stall.watch("tag", Path(sys.argv[1]), {LIMIT_S})'


@contextmanager
def running(folder: Path, acts: str, watch: str = WATCH) -> Iterator["subprocess.Popen[str]"]:
    """A process that is watched, and then does what `acts` says at each line of its input."""
    program = (
        f"{PROGRAM}\n{watch}\nprint(flush=True)\nfor line in sys.stdin:\n    {acts}\n    print(flush=True)\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {stall.START_VARIABLE: str(LIMIT_S)}
    with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def act(process: "subprocess.Popen[str]") -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def report(folder: Path) -> str:
    return (folder / "stalled-tag.log").read_text()


def test_a_process_whose_interpreter_stands_still_is_ended_and_its_report_outlives_rounds_of_others(tmp_path):
    with running(tmp_path, "freeze()") as process, running(tmp_path, "time.sleep(60)"):
        began = time.monotonic()
        act(process)
        assert process.wait(10 * LIMIT_S) == 1
        assert LIMIT_S * 0.9 < time.monotonic() - began < LIMIT_S * 3
        time.sleep(0.5)  # the other process has its rounds
    for words in ("in freeze", ", line 11 in <lambda>"):
        assert words in report(tmp_path)


@pytest.mark.parametrize("knows_its_settings", [False, True])
def test_a_start_is_watched_before_its_settings_are_known(tmp_path, knows_its_settings):
    acts = f"{WATCH}; freeze()" if knows_its_settings else "freeze()"
    with running(tmp_path, acts, watch="stall.watch_start()") as process:
        act(process)
        assert process.wait(10 * LIMIT_S) == 1
        assert process.stderr
        text = report(tmp_path) if knows_its_settings else process.stderr.read()
    assert ", line 11 in <lambda>" in text


@pytest.mark.parametrize(
    ("value", "limit_s"), [(None, 300), ("20", 20), ("5", 300), ("soon", 300), ("inf", 300), ("nan", 300)]
)
def test_the_limit_of_a_start_is_in_the_environment(value, limit_s, monkeypatch):
    monkeypatch.delenv(stall.START_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(stall.START_VARIABLE, value)
    assert stall._start_timeout_s() == limit_s


def test_the_limit_of_a_start_is_that_of_the_settings_by_default():
    assert Settings.model_fields["stall_timeout_s"].default == stall.START_TIMEOUT_S


def test_a_process_that_was_stopped_for_longer_than_the_limit_ends_when_it_continues(tmp_path):
    with running(tmp_path, "time.sleep(60)") as process:
        for stop_s in (0.5 * LIMIT_S, 1.5 * LIMIT_S):
            assert process.poll() is None
            process.send_signal(signal.SIGSTOP)
            time.sleep(stop_s)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.2)
        assert process.wait(10 * LIMIT_S) == 1
    assert "most recent call first" in report(tmp_path)


def test_a_check_that_fails_ends_nothing_and_the_others_go_on(tmp_path):
    with running(tmp_path, f"with stall.stall_check(fail): time.sleep({2 * LIMIT_S})") as process:
        act(process)
        assert process.stdout
        assert process.stdout.readline() == "\n"
        process.kill()
        assert process.stderr
        assert process.stderr.read().count("What makes no progress could not be checked") == 1
    with running(
        tmp_path, "with stall.stall_check(fail), stall.stall_check(slow): time.sleep(60)"
    ) as process:
        act(process)
        assert process.wait(10 * LIMIT_S) == stall.EXIT_CODE
    assert report(tmp_path).startswith("slow\n")


def test_a_process_that_is_no_longer_watched_is_left_alone(tmp_path):
    with running(tmp_path, f"stall.unwatch(); freeze({2 * LIMIT_S})") as process:
        act(process)
        assert process.stdout
        assert process.stdout.readline() == "\n"


@pytest.fixture
def report_of_stall(tmp_path) -> Path:
    return tmp_path / "stalled-worker.log"


def test_however_often_a_process_stalls_one_earlier_report_is_kept(report_of_stall, caplog):
    for number in range(3):
        report_of_stall.write_text(f"stall {number}")
        with caplog.at_level(logging.WARNING):
            stall._opened(report_of_stall).close()
    earlier = report_of_stall.with_name("stalled-worker.earlier.log")
    assert earlier.read_text() == "stall 2"
    assert sorted(report_of_stall.parent.iterdir()) == [earlier, report_of_stall]
    assert list(stall.stalls(report_of_stall.parent)) == [earlier]
    assert len(caplog.messages) == 3
    assert "tagger worker made no progress and was ended on 2" in caplog.messages[0]
    assert str(earlier) in caplog.messages[0]


@pytest.mark.parametrize("obstacle", ["a link to nothing", "a folder"])
def test_what_is_no_report_is_passed_over(report_of_stall, obstacle):
    if obstacle == "a folder":
        report_of_stall.mkdir()
    else:
        report_of_stall.symlink_to(report_of_stall.with_name("nothing"))
    assert stall.stalls(report_of_stall.parent) == {}
    stall._opened(report_of_stall).close()
