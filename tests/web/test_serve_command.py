"""`tagger serve`: its address, its token, its errors, and its end after a signal."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from support.command_line import run_command
from support.commands import Process, Terminal

from tagger.cli.commands.services import access_policy, listen
from tagger.cli.main import main
from tagger.settings import Settings

ENDS_S = 20
TOKEN = "sixteen-or-more-letters"


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path / "home")


@contextlib.contextmanager
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


def run_refused(terminal: Terminal, *arguments: str, code: int = 1) -> str:
    """Run a command in this process that ends with this exit code before it serves; return its stderr."""
    output = run_command(main, *arguments, environment=terminal.environment, folder=terminal.folder)
    assert output.code == code, output.err
    return output.err


def test_network_address_prints_the_token_once_and_serves_until_ctrl_c(terminal: Terminal) -> None:
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
def test_a_token_is_printed_unless_the_settings_have_one(terminal: Terminal, has_token: bool) -> None:
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
def test_an_invalid_token_is_refused_and_not_printed(terminal: Terminal, token: str) -> None:
    terminal.environment["TAGGER_WEB_TOKEN"] = token
    output = run_refused(terminal, "serve")
    assert "TAGGER_WEB_TOKEN" in output
    assert token not in output


def test_an_address_that_cannot_be_used_is_reported_in_one_line(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = run_refused(terminal, "serve", "--port", str(other.getsockname()[1]))
    foreign = run_refused(terminal, "serve", "--host", "203.0.113.7", "--port", "0")
    assert used.startswith("error: Another program listens at 127.0.0.1, port ")
    assert foreign.startswith("error: The web page cannot be served at 203.0.113.7")
    assert used.count("\n") == foreign.count("\n") == 1


def test_a_descriptor_that_is_no_socket_is_reported(terminal: Terminal, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        output = run_refused(terminal, "serve", "--fd", str(file.fileno()), code=2)
        assert f"{file.fileno()} is not a listening socket" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("host", "needs_token"), [("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_token_is_needed_by_where_the_socket_really_listens(
    tmp_path: Path, host: str, needs_token: bool
) -> None:
    with listen(host, 0) as listener:
        policy = access_policy(listener, Settings(data_folder=tmp_path))
        assert (policy.token is not None) is needs_token
        assert policy.port == listener.getsockname()[1]
        with_view_token = Settings(data_folder=tmp_path, web_view_token="a-token-to-look-only")
        assert access_policy(listener, with_view_token).token is not None


def test_a_low_limit_of_open_files_is_raised() -> None:
    pytest.importorskip("resource")
    program = (
        "import resource; from tagger.cli.commands.services import raise_file_limit; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 900)); raise_file_limit(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "900\n"
