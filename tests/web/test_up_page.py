"""`tagger up` serves the page too: where it says, for as long as it runs, and in nobody's way where it cannot."""

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
import pytest
from support.commands import Terminal, draw

ENDS_S = 60
WITHOUT_EXTRA = (
    "import sys; sys.modules['uvicorn'] = None; sys.argv = ['tagger', 'up']; "
    "from tagger.cli.main import main; main()"
)
NO_PAGE_COMES_UP = "import os, sys\nif '--fd' in sys.orig_argv:\n    os.write(2, b'it does not come up\\n')\n    os._exit(1)\n"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "home")
    yield made
    made.end_embedded_redis()


@contextmanager
def up(terminal: Terminal, *words: str, ends_by: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """A running `tagger up` that has said all it says at its start; gives the page's address. At its end nothing is left of it."""
    process = terminal.start("up", *words)
    try:
        terminal.wait_until(lambda: process.poll() is not None or "until Ctrl-C" in terminal.log.read_text())
        address = address_in(terminal)
        yield address
        process.send_signal(ends_by)
        assert process.wait(ENDS_S) == 130
    finally:
        process.kill()
        process.wait()
    with pytest.raises(httpx.ConnectError):
        is_there(address)
    assert terminal.active_workers() == []
    assert "Traceback" not in terminal.log.read_text() + (terminal.data / "page.log").read_text()


def address_in(terminal: Terminal) -> str:
    (address,) = re.findall(r"the web page is at (http://127\.0\.0\.1:\d+/)", terminal.log.read_text())
    return str(address)


def is_there(address: str) -> bool:
    return httpx.get(f"{address}api/status", timeout=60).status_code == 200


def page_process(terminal: Terminal) -> int:
    """The latest that said it serves."""
    started = re.findall(r"Started server process \[(\d+)\]", (terminal.data / "page.log").read_text())
    return int(started[-1])


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_up_from_its_message_to_the_end_and_restarted_after_a_kill(
    terminal: Terminal, asked: signal.Signals
) -> None:
    with up(terminal, "--port", "0", ends_by=asked) as address:
        assert is_there(address)  # however early: who asks while it starts is answered when it has
        terminal.wait_until(terminal.active_workers)
        killed = page_process(terminal)
        os.kill(killed, signal.SIGKILL)
        assert is_there(address)  # who asks meanwhile waits, and is not turned away
        page = page_process(terminal)
        assert page != killed
        assert "the page process exited with code -9; restarting it in 1 s" in terminal.log.read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(page, 0)


def test_with_the_port_in_use_the_next_free_one_is_used_and_printed(terminal: Terminal) -> None:
    with ExitStack() as taken:
        with suppress(OSError):  # somebody else has it already
            taken.enter_context(closing(socket.create_server(("127.0.0.1", 8080))))
        with up(terminal, ends_by=signal.SIGHUP) as address:
            assert address != "http://127.0.0.1:8080/"
            assert f"{address}, because another program listens at port 8080\n" in terminal.log.read_text()
            assert is_there(address)


def test_a_requested_port_in_use_is_an_error_and_nothing_starts(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        output = terminal.run("up", "--port", str(other.getsockname()[1]), "photos", code=1).stderr
    assert output.startswith("error: Another program listens at 127.0.0.1, port ")
    assert output.count("\n") == 1
    assert not terminal.data.exists()


def test_once_serves_no_page(terminal: Terminal) -> None:
    draw(terminal.folder / "photos/a.jpg", 0)
    assert "web page" not in terminal.run("up", "--once", "photos").stderr
    assert not (terminal.data / "page.log").exists()
    assert "no web page is served" in terminal.run("up", "--once", "photos", "--port", "9000", code=2).stderr


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
    assert "pip install 'landmark-tagger[web]'" in output[0]


def test_up_continues_without_a_page_that_does_not_start(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/sitecustomize.py").write_text(NO_PAGE_COMES_UP)
    terminal.injected["PYTHONPATH"] = str(tmp_path / "broken")
    with up(terminal, "--port", "0") as address:
        terminal.wait_until(lambda: "no longer served" in terminal.log.read_text())
        output = terminal.log.read_text()
        assert output.count("the page process exited with code 1; restarting it") == 4
        assert (
            "The page process keeps exiting right after its start: it does not come up The full log" in output
        )
        with pytest.raises(httpx.ConnectError):
            is_there(address)
        assert len(terminal.active_workers()) == 1
