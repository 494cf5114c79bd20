"""A forked command finds what one finds that the program `tagger` has started, and is a process of its own."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.commands import Process, Terminal
from support.forked_commands import ForkedProcess
from support.injection import injecting_path

SURROUNDINGS = """
import json, locale, os, signal, sys, threading, time
import tagger.cli.main

def show():
    found = {
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "is a session": os.getsid(0) == os.getpid(),
        "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1],  # the last one is of the list
        "streams": [
            (each.name, each.mode, each.encoding, each.errors, each.line_buffering, each.write_through, str(each.buffer))
            for each in (sys.stdin, sys.stdout, sys.stderr)
        ],
        "path": sys.path,
        "flags": str(sys.flags),
        "warnings": sys.warnoptions,
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": len(os.listdir("/proc/self/task")),
        "thread": threading.current_thread() is threading.main_thread(),
        "locale": locale.setlocale(locale.LC_ALL, None),
        "zone": time.tzname,
        "tagger": sorted(name for name in sys.modules if name.partition(".")[0] in {"tagger", "worker"}),
    }
    print(json.dumps(found))
    print("on stderr", file=sys.stderr)
    sys.exit(3)

tagger.cli.main.main = show
"""
PRODUCTS = """
import sys
import tagger.cli.main

def show():
    import torch
    torch.set_num_threads(3)
    ones = torch.ones(600, 600)
    print(float((ones @ ones).sum()), torch.get_num_threads())

tagger.cli.main.main = show
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_TOP_K": "2"})


def program(terminal: Terminal, code: str) -> None:
    """Let processes that start from now on run this code, which replaces what `tagger` runs."""
    folder = terminal.folder / "program"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    paths = [str(folder), os.environ.get("PYTHONPATH")]
    terminal.environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)


def output(terminal: Terminal, process: Process, code: int = 0) -> str:
    assert process.wait(60) == code, terminal.log.read_text()
    text = terminal.log.read_text()
    terminal.log.unlink()
    return text


def test_a_forked_command_has_the_surroundings_of_a_started_one(terminal: Terminal) -> None:
    program(terminal, SURROUNDINGS)
    forked = terminal.start("tag", "photos")
    assert isinstance(forked, ForkedProcess)
    found = output(terminal, forked, code=3)
    terminal.environment["OMP_DYNAMIC"] = "false"  # libraries read it at their start
    started = terminal.start("tag", "photos")
    assert isinstance(started, subprocess.Popen)
    expected = output(terminal, started, code=3)
    assert "on stderr" in found
    assert "on stderr" in expected
    ours, theirs = document(found), document(expected)
    assert theirs["environment"].pop("OMP_DYNAMIC")
    assert ours == theirs


def document(text: str) -> dict[str, Any]:
    (line,) = (line for line in text.splitlines() if line.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_forked_command_computes_in_several_threads(terminal: Terminal) -> None:
    program(terminal, PRODUCTS)
    for _ in range(2):
        process = terminal.start("tag")
        assert isinstance(process, ForkedProcess)
        assert output(terminal, process) == f"{float(600**3)} 3\n"


def test_a_forked_command_gets_signals_and_tells_how_it_ended(terminal: Terminal) -> None:
    program(terminal, "import time, tagger.cli.main\ntagger.cli.main.main = lambda: time.sleep(3600)\n")
    killed, terminated, other = (terminal.start("tag") for _ in range(3))
    assert len({killed.pid, terminated.pid, other.pid, os.getpid()}) == 4
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(0.01)
    killed.kill()
    terminated.terminate()
    assert (killed.wait(60), terminated.wait(60)) == (-signal.SIGKILL, -signal.SIGTERM)
    assert other.poll() is None
    other.kill()
    assert other.wait(60) == -signal.SIGKILL
    other.kill()  # without an effect on another process
    with pytest.raises(ProcessLookupError):
        os.kill(other.pid, 0)


def test_a_forked_command_has_its_injected_faults_alone(terminal: Terminal) -> None:
    terminal.inject(values="tagger.processing.claimed_chunk.SLICE_S=1.5")
    folder = terminal.folder / "shows"
    folder.mkdir()
    injected = Path(injecting_path(None)) / "sitecustomize.py"
    shows = "from tagger.processing import claimed_chunk\nprint(claimed_chunk.SLICE_S)\n"
    (folder / "sitecustomize.py").write_text(f"exec(compile({injected.read_text()!r}, '', 'exec'))\n{shows}")
    terminal.injected["PYTHONPATH"] = os.pathsep.join([str(folder), terminal.injected["PYTHONPATH"]])
    assert output(terminal, terminal.start("--help")).startswith("1.5\n")
    del terminal.injected["INJECT_VALUES"]
    assert output(terminal, terminal.start("--help")).startswith("15.0\n")


def test_a_fault_in_what_the_server_has_imported_gets_a_new_interpreter(terminal: Terminal) -> None:
    program(terminal, "")
    terminal.inject(clock_ahead_s="5")
    process = terminal.start("--help")
    assert isinstance(process, subprocess.Popen)
    assert process.wait(60) == 0
