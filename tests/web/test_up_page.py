"""`tagger up` serves the page as long as it runs, and runs without it where it cannot be served."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest
from support.command_line import run_command
from support.commands import Terminal, draw

from tagger.cli.main import main

ENDS_S = 60
WITHOUT_EXTRA = (
    "import sys; sys.modules['uvicorn'] = None; sys.argv = ['tagger', 'up']; "
    "from tagger.cli.main import main; main()"
)
FAILING_PAGE = """
import os, sys
if "--fd" in sys.orig_argv:
    os.write(2, b"it does not come up\\n")
    os._exit(1)
if "up" in sys.orig_argv:
    from tagger.processes import pool
    pool.RESTART_PAUSES_S = (0.1, 0.2, 0.3, 0.4)
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "home")
    yield terminal
    terminal.end_embedded_redis()


@contextmanager
def up(terminal: Terminal, *arguments: str, end_signal: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """Start `tagger up` and yield the page's address. After the signal, all its processes have ended."""
    process = terminal.start("up", *arguments)
    try:
        terminal.wait_until(lambda: process.poll() is not None or "until Ctrl-C" in terminal.log.read_text())
        address = address_in(terminal)
        yield address
        process.send_signal(end_signal)
        assert process.wait(ENDS_S) == 130
        assert "stopped; unfinished jobs continue with: tagger up\n" in terminal.log.read_text()
        assert "interrupted" not in terminal.log.read_text()
    finally:
        process.kill()
        process.wait()
    with pytest.raises(httpx.ConnectError):
        responds(address)
    assert terminal.active_workers() == []
    assert "Traceback" not in terminal.log.read_text() + (terminal.data / "page.log").read_text()


def address_in(terminal: Terminal) -> str:
    (address,) = re.findall(r"the web page is at (http://127\.0\.0\.1:\d+/)", terminal.log.read_text())
    return str(address)


def responds(address: str) -> bool:
    return httpx.get(f"{address}api/status", timeout=60).status_code == 200


def page_process() -> int:
    """The id of the process that serves the page of this test's `up`."""
    children = psutil.Process().children(recursive=True)
    (page,) = [process.pid for process in children if "serve" in process.cmdline()]
    return page


@pytest.mark.slow
def test_with_the_port_in_use_the_page_is_at_the_next_one_and_restarted_after_a_kill(
    terminal: Terminal,
) -> None:
    with ExitStack() as stack:
        with suppress(OSError):  # another program already listens there
            stack.enter_context(closing(socket.create_server(("127.0.0.1", 8080))))
        with up(terminal, end_signal=signal.SIGINT) as address:
            assert address != "http://127.0.0.1:8080/"
            assert f"{address}\n" in terminal.log.read_text()
            assert responds(address)  # a request waits until the page process has started
            terminal.wait_until(terminal.active_workers)
            killed = page_process()
            os.kill(killed, signal.SIGKILL)
            assert responds(address)  # a request waits for the next page process
            page = page_process()
            assert page != killed
            assert "the page process was ended by signal 9; restarting it" in terminal.log.read_text()
        with pytest.raises(ProcessLookupError):
            os.kill(page, 0)


@pytest.mark.slow
def test_up_and_its_page_end_when_the_terminal_is_closed(terminal: Terminal) -> None:
    with up(terminal, "--port", "0", end_signal=signal.SIGHUP) as address:
        assert responds(address)


def run_refused(terminal: Terminal, *arguments: str, code: int) -> str:
    """Run a command that ends with this exit code before it starts anything; return its stderr."""
    output = run_command(main, *arguments, environment=terminal.environment, folder=terminal.folder)
    assert output.code == code, output.err
    return output.err


def test_a_requested_port_in_use_is_an_error_and_nothing_starts(terminal: Terminal) -> None:
    draw(terminal.folder / "photos/a.jpg", 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        output = run_refused(terminal, "up", "--port", str(other.getsockname()[1]), "photos", code=1)
    assert output.startswith("error: Another program listens at 127.0.0.1, port ")
    assert output.count("\n") == 1
    assert not terminal.data.exists()


def test_once_refuses_a_port_because_it_serves_no_page(terminal: Terminal) -> None:
    draw(terminal.folder / "photos/a.jpg", 0)
    output = run_refused(terminal, "up", "--once", "photos", "--port", "9000", code=2)
    assert "cannot be combined with --watch or --port" in output


@pytest.mark.slow
def test_without_the_web_extra_the_rest_runs_and_one_line_names_it(terminal: Terminal) -> None:
    with terminal.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", WITHOUT_EXTRA], env=terminal.environment, stderr=log
        )
    try:
        terminal.wait_until(terminal.active_workers)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(ENDS_S)
    output = [line for line in terminal.log.read_text().splitlines() if "page" in line]
    assert len(output) == 1
    assert output[0].startswith("the web page is not served. ")
    assert "needs the extra web, which is not installed" in output[0]


@pytest.mark.slow
def test_up_continues_without_a_page_that_does_not_start(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/sitecustomize.py").write_text(FAILING_PAGE)
    terminal.injected["PYTHONPATH"] = str(tmp_path / "broken")
    with up(terminal, "--port", "0") as address:
        terminal.wait_until(lambda: "no longer served" in terminal.log.read_text())
        output = terminal.log.read_text()
        assert output.count("the page process exited with code 1 (it does not come up); restarting it") == 4
        assert "The page process exits right after its start: it does not come up The full log" in output
        with pytest.raises(httpx.ConnectError):
            responds(address)
        terminal.wait_until(lambda: len(terminal.active_workers()) == 1)
