"""A program ends in time after Ctrl-C or SIGTERM, whatever its threads do, and at once on a second signal."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

AN_HOUR_S = 3600
"""No program below ends by itself."""
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
from tagger.processes.process import handle_own_signals
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
    """A running program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.send_signal = process.send_signal
        self.wait_for("ready")

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, word: str) -> None:
        assert self._process.stdout is not None
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
        "from tagger.processes import process",
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


def test_a_second_signal_ends_a_program_at_once():
    with started(STORES_FOR_AN_HOUR, end_s=AN_HOUR_S) as program:
        program.send_signal(signal.SIGINT)
        program.wait_for("storing")
        program.send_signal(signal.SIGINT)
        assert program.output() == (130, "", "interrupted; continue\n")


def test_a_service_ends_as_it_likes():
    with started(SERVICE, end_s=0.1) as program:
        program.send_signal(signal.SIGTERM)
        assert program.output() == (0, "served\n", "")


def test_a_signal_that_is_ignored_at_the_start_stays_ignored():
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    with started(STORES_FOR_AN_HOUR, end_s=0.1, before=ignoring) as program:
        program.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert program.is_running
        program.send_signal(signal.SIGTERM)
        assert program.output() == (130, "storing\n", "interrupted; continue\n")
