"""Processes that stall, are interrupted, or share the cores and memory of a group."""

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

from tagger.model import devices
from tagger.model.devices import Device, core_count, cpu_limit, memory_limit, process_count, thread_share
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
    assert Settings.model_fields["stall_timeout_s"].default == stall.START_TIMEOUT_S


def test_a_process_that_was_stopped_for_longer_than_the_limit_ends_when_it_continues(tmp_path):
    with running(tmp_path, "time.sleep(60)") as process:
        for stop_s in (0.5 * LIMIT_S, 1.5 * LIMIT_S):
            assert process.poll() is None
            process.send_signal(signal.SIGSTOP)
            time.sleep(stop_s)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.2)
        # The timer ends it, or the thread that would renew the timer, whichever runs first.
        assert process.wait(10 * LIMIT_S) in (1, stall.EXIT_CODE)
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


AN_HOUR_S = 3600  # No program below ends by itself

BLOCKED_IN_SQLITE = f"""
import sqlite3, tempfile
with tempfile.NamedTemporaryFile() as file:
    one, two = (sqlite3.connect(file.name, isolation_level=None, timeout={AN_HOUR_S}) for _ in range(2))
    one.execute("BEGIN IMMEDIATE")
    print("ready", flush=True)
    two.execute("BEGIN IMMEDIATE")
"""

BLOCKED_BY_A_THREAD = f"""
import threading, time
threading.Thread(target=time.sleep, args=({AN_HOUR_S},)).start()
print("ready", flush=True)
time.sleep({AN_HOUR_S})
"""

STORES_FOR_AN_HOUR = f"""
import time
try:
    print("ready", flush=True)
    time.sleep({AN_HOUR_S})
except KeyboardInterrupt:
    print("storing", flush=True)
    time.sleep({AN_HOUR_S})
"""

SERVICE = """
import time
from tagger.processes import handle_own_signals
handle_own_signals()
try:
    print("ready", flush=True)
    time.sleep(3600)
except KeyboardInterrupt:
    time.sleep(0.4)
    print("served", flush=True)
"""


MISSES_THE_SIGNAL = """
import signal, threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # another thread receives it
print("ready", flush=True)
threading.Event().wait()
"""

DESTROYS_AN_OBJECT = f"""
import time

class Model:
    def __del__(self):
        print("ready", flush=True)
        while True:
            time.sleep(0.01)

Model()
time.sleep({AN_HOUR_S})
"""

IMPORTS_TYPER = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


class Program:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.send_signal = process.send_signal
        self.wait_for("ready")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, word: str) -> None:
        assert self._process.stdout.readline() == f"{word}\n"

    def output(self) -> tuple[int, str, str]:
        """The exit code, stdout and stderr after its end."""
        out, err = self._process.communicate(timeout=60)
        return self._process.returncode, out, err


@contextmanager
def started(body: str, *, end_s: float, before: str = "") -> Iterator[Program]:
    """A program of this body, which may take `end_s` to end; `before` runs first."""
    lines = [
        before,
        "from tagger import processes as process",
        f"process.END_S = {end_s}",
        f"process.run_interruptible(lambda: exec({body!r}, {{}}), 'continue')",
    ]
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (BLOCKED_IN_SQLITE, signal.SIGINT),
        (BLOCKED_IN_SQLITE, signal.SIGTERM),
        (BLOCKED_BY_A_THREAD, signal.SIGINT),
        (STORES_FOR_AN_HOUR, signal.SIGTERM),
        (MISSES_THE_SIGNAL, signal.SIGINT),
        (DESTROYS_AN_OBJECT, signal.SIGINT),
    ],
)
def test_a_program_ends_when_its_time_is_over(body, number):
    with started(body, end_s=0.2) as program:
        program.send_signal(number)
        code, _, err = program.output()
    assert code == 130
    assert err.endswith("interrupted; continue\n")


@pytest.mark.parametrize("program", ["tagger", "trainer"])
def test_a_program_that_is_interrupted_while_it_is_imported_prints_one_line(program):
    script = f"{IMPORTS_TYPER}\nfrom {program}.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert done.stderr.startswith("interrupted; ")


def test_services_end_as_they_like_and_ignored_signals_stay_ignored():
    with started(SERVICE, end_s=0.1) as program:
        program.send_signal(signal.SIGTERM)
        assert program.output() == (0, "served\n", "")
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    with started(STORES_FOR_AN_HOUR, end_s=0.1, before=ignoring) as program:
        program.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert program.is_running
        program.send_signal(signal.SIGTERM)
        assert program.output() == (130, "storing\n", "interrupted; continue\n")
    with started(STORES_FOR_AN_HOUR, end_s=AN_HOUR_S) as program:
        program.send_signal(signal.SIGINT)
        program.wait_for("storing")
        program.send_signal(signal.SIGINT)
        assert program.output() == (130, "", "interrupted; continue\n")


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root with this /proc/self/cgroup, and files of /sys/fs/cgroup."""
    paths = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, **paths}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "limits"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, (1.5, None)),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, (None, None)),
        ("0::/system.slice/t.service\n", {"system.slice/t.service/cpu.max": "400000 100000"}, (4, None)),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "300000 100000"}, (2, None)),
        ("0::/of/the/host\n", {"cpu.max": "50000 100000"}, (0.5, None)),
        ("0::/a/b\n", {"a/memory.max": "4096\n", "a/b/memory.max": "8192\n"}, (None, 4096)),
        ("5:memory:/docker/a\n3:cpu:/x\n", {"memory/memory.limit_in_bytes": "8192\n"}, (None, 8192)),
    ],
)
def test_the_lowest_limits_of_the_groups_count(tmp_path, groups, files, limits):
    assert (cpu_limit(tmp_path), memory_limit(tmp_path)) == (None, None)
    root = machine(tmp_path, groups, files)
    assert (cpu_limit(root), memory_limit(root)) == limits


def test_cores_processes_and_threads_are_those_of_the_limits(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for limit, cores in ((None, 8), (0.2, 1), (1.0, 1), (2.5, 3), (64.0, 8)):
        monkeypatch.setattr(devices, "cpu_limit", lambda limit=limit: limit)
        assert core_count() == cores
    for cores, gib, threads, count in (
        *((2, 8, None, 1), (7, 64, None, 1), (8, 64, None, 2)),
        *((64, 512, None, 16), (64, 1, None, 1), (64, 512, 8, 2)),
    ):
        monkeypatch.setattr(devices, "core_count", lambda cores=cores: cores)
        monkeypatch.setattr(devices, "_memory_bytes", lambda gib=gib: gib * 2**30)
        assert process_count(threads) == count
    for threads, processes in ((8, 2), (19, 4), (2, 3), (64, 16)):
        shares = [thread_share(threads, processes, number) for number in range(1, processes + 1)]
        assert sum(shares) == max(threads, processes)
        assert max(shares) - min(shares) <= 1


def test_a_system_that_refuses_memory_for_machine_code_is_named():
    # systemd's MemoryDenyWriteExecute (PR_SET_MDWE), which cannot be taken back.
    code = """
import ctypes
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    raise SystemExit("Turn off MemoryDenyWriteExecute (this kernel has none)")
from tagger.model.devices import Device
Device("cpu", "float32", 8).require_machine_code()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert "Turn off MemoryDenyWriteExecute" in ended.stderr
    Device("cpu", "float32", 8).require_machine_code()
