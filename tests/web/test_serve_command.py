"""`tagger serve` and the page of `tagger up`: address, token, errors, and their end after a signal."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx2 as httpx
import psutil
import pytest
from support.command_line import run_command
from support.commands import Process, Terminal, draw

from tagger.cli.commands.services import access_policy, listen
from tagger.cli.main import main
from tagger.settings import Settings

TOKEN = "sixteen-or-more-letters"


@contextmanager
def serving(terminal: Terminal, *arguments: str) -> Iterator[tuple[Process, str]]:
    """Start `tagger serve` at a free port; yield the process and its output until the page was there."""
    process = terminal.start("serve", "--port", "0", *arguments)
    try:
        terminal.wait_until(lambda: process.poll() is not None or "Ctrl-C" in terminal.log.read_text())
        yield process, terminal.log.read_text()
    finally:
        process.kill()
        process.wait()


def port_in(output: str) -> int:
    (port,) = re.findall(r"http://\S+:(\d+)/", output)
    return int(port)


def test_network_address_prints_the_token_once_and_serves_until_ctrl_c(terminal):
    with serving(terminal, "--host", "0.0.0.0", "-q") as (process, output):
        (token,) = re.findall(r"token to sign in, valid until the command stops: (\S+)", output)
        address = f"http://127.0.0.1:{port_in(output)}/api/openapi.json"
        assert httpx.get(address).status_code == 401
        assert httpx.get(address, headers={"authorization": f"Bearer {token}"}).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(ENDS_S) == 0
    assert terminal.log.read_text().count(token) == 1
    assert "Traceback" not in terminal.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("has_token", [True, False], ids=["of the settings", "where a proxy names people"])
def test_a_token_is_printed_unless_the_settings_have_one(terminal, has_token):
    proxy = {"TAGGER_WEB_USER_HEADER": "Remote-User", "TAGGER_WEB_TRUSTED_PROXIES": '["10.0.0.1"]'}
    terminal.environment.update({"TAGGER_WEB_TOKEN": TOKEN} if has_token else proxy)
    with serving(terminal, *(("--host", "0.0.0.0") if has_token else ())) as (_process, output):
        printed = re.findall(r"token to sign in, valid until the command stops: (\S+)", output)
        assert len(printed) == (0 if has_token else 1)
        assert "TAGGER_WEB_TOKEN" in output or not has_token
        assert TOKEN not in output
        address = f"http://127.0.0.1:{port_in(output)}/api/openapi.json"
        assert httpx.get(address).status_code == 401
        (token,) = printed or [TOKEN]
        assert httpx.get(address, headers={"authorization": f"Bearer {token}"}).status_code == 200


@pytest.mark.parametrize("token", ["short", "with spaces in between", "späte-umlaute-im-wort"])
def test_an_invalid_token_is_refused_and_not_printed(terminal, token):
    terminal.environment["TAGGER_WEB_TOKEN"] = token
    output = run_refused(terminal, "serve", code=1)
    assert "TAGGER_WEB_TOKEN" in output
    assert token not in output


def test_an_address_that_cannot_be_used_is_reported_in_one_line(terminal):
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = run_refused(terminal, "serve", "--port", str(other.getsockname()[1]), code=1)
    foreign = run_refused(terminal, "serve", "--host", "203.0.113.7", "--port", "0", code=1)
    assert used.startswith("error: Another program listens at 127.0.0.1, port ")
    assert foreign.startswith("error: The web page cannot be served at 203.0.113.7")
    assert used.count("\n") == foreign.count("\n") == 1


def test_a_descriptor_that_is_no_socket_is_reported(terminal, tmp_path):
    with (tmp_path / "file").open("wb") as file:
        output = run_refused(terminal, "serve", "--fd", str(file.fileno()), code=2)
        assert f"{file.fileno()} is not a listening socket" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("host", "needs_token"), [("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_token_is_needed_by_where_the_socket_really_listens(tmp_path, host, needs_token):
    with listen(host, 0) as listener:
        policy = access_policy(listener, Settings(data_folder=tmp_path))
        assert (policy.token is not None) is needs_token
        assert policy.port == listener.getsockname()[1]
        with_view_token = Settings(data_folder=tmp_path, web_view_token="a-token-to-look-only")
        assert access_policy(listener, with_view_token).token is not None


def test_a_low_limit_of_open_files_is_raised():
    program = (
        "import resource; from tagger.cli.commands.services import raise_file_limit; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 900)); raise_file_limit(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "900\n"


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
def terminal(tmp_path) -> Iterator[Terminal]:
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
def test_with_the_port_in_use_the_page_is_at_the_next_one_and_restarted_after_a_kill(terminal):
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
def test_up_and_its_page_end_when_the_terminal_is_closed(terminal):
    with up(terminal, "--port", "0", end_signal=signal.SIGHUP) as address:
        assert responds(address)


def run_refused(terminal: Terminal, *arguments: str, code: int) -> str:
    """Run a command that ends with this exit code before it starts anything; return its stderr."""
    output = run_command(main, *arguments, environment=terminal.environment, folder=terminal.folder)
    assert output.code == code, output.err
    return output.err


def test_ports_in_use_and_ports_without_a_page_are_refused(terminal):
    draw(terminal.folder / "photos/a.jpg", 0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        output = run_refused(terminal, "up", "--port", str(other.getsockname()[1]), "photos", code=1)
    assert output.startswith("error: Another program listens at 127.0.0.1, port ")
    assert output.count("\n") == 1
    assert not terminal.data.exists()
    output = run_refused(terminal, "up", "--once", "photos", "--port", "9000", code=2)
    assert "cannot be combined with --watch or --port" in output


@pytest.mark.slow
def test_without_the_web_extra_the_rest_runs_and_one_line_names_it(terminal):
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
def test_up_continues_without_a_page_that_does_not_start(terminal, tmp_path):
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
