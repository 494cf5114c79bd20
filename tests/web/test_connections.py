"""Silent and slow connections are closed first; real requests are answered."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from support.page_server import TOKEN, served

from tagger.database.connection import Database
from tagger.settings import Settings
from tagger.web.http import body_limits, connections

MOST = 6
ASK = b"HEAD /static/app.css HTTP/1.1\r\nHost: page\r\n\r\n"
UPLOAD = (
    b"POST /api/predict HTTP/1.1\r\nHost: page\r\nAuthorization: Bearer " + TOKEN.encode() + b"\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 7\r\nConnection: close\r\n\r\n--x"
)


@contextmanager
def page(settings: Settings, database: Database) -> Iterator[tuple[int, ExitStack]]:
    """The server's port, and the stack that closes the connections to it before it ends."""
    with served(settings, database, TOKEN) as port, ExitStack() as opened:
        yield port, opened


def connected(port: int, opened: ExitStack, sent: bytes = b"") -> socket.socket:
    connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
    connection.sendall(sent)
    return connection


def status(connection: socket.socket) -> int:
    """Of the answer that is next."""
    return int(connection.recv(65536)[9:12])


def is_ended(connection: socket.socket) -> bool:
    """Waits for more, or for the end."""
    with suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def drip(connection: socket.socket, part: bytes) -> bytes:
    """Send the part repeatedly until the server responds or closes the connection."""
    connection.settimeout(0.05)
    for _ in range(600):
        with suppress(TimeoutError, ConnectionError):
            return connection.recv(65536)
        try:
            connection.sendall(part)
        except ConnectionError:
            return b""
    raise TimeoutError


def test_silent_connections_block_no_others(
    web_settings: Settings, web_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", MOST)
    with page(web_settings, web_database) as (port, opened):
        idle = [connected(port, opened) for _ in range(3 * MOST)]
        asks = connected(port, opened, ASK)
        assert status(asks) == 200
        assert is_ended(idle[0])
        asks.sendall(ASK)
        assert status(asks) == 200


def test_connections_in_a_request_stay_and_new_ones_are_refused(
    web_settings: Settings, web_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", MOST)
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.2)
    with page(web_settings, web_database) as (port, opened):
        asks = connected(port, opened, ASK)
        assert status(asks) == 200
        uploads = [connected(port, opened, UPLOAD) for _ in range(MOST - 1)]
        assert is_ended(asks)
        assert all(is_ended(connected(port, opened)) for _ in range(3))
        uploads[0].settimeout(3 * connections.HEAD_TIMEOUT_S)
        with pytest.raises(TimeoutError):
            uploads[0].recv(1)
        for upload in uploads:
            upload.settimeout(30)
            upload.sendall(b"--\r\n")
            assert status(upload) == 422  # its form holds no file


@pytest.mark.parametrize("before", [b"", ASK])
def test_head_that_drips_is_not_waited_for(
    web_settings: Settings, web_database: Database, monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.2)
    with page(web_settings, web_database) as (port, opened):
        connection = connected(port, opened, before)
        assert not before or status(connection) == 200
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert drip(connection, b"X-Slow: 1\r\n") == b""


def test_a_silent_connection_is_closed(
    web_settings: Settings, web_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.2)
    with page(web_settings, web_database) as (port, opened):
        assert is_ended(connected(port, opened))


def test_small_body_that_drips_is_not_waited_for(
    web_settings: Settings, web_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limits, "IDLE_S", 0.3)
    head = (
        b"POST /sign-in HTTP/1.1\r\nHost: page\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 9999\r\n\r\n"
    )
    with page(web_settings, web_database) as (port, opened):
        assert drip(connected(port, opened, head), b"a")[9:12] == b"408"


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(200, 2000, (512, 2000)), (200, 200, (100, 200)), (8000, 8000, (512, 8000))],
)
def test_there_are_files_for_all_connections_or_fewer_connections(
    soft: int, hard: int, expected: tuple[int, int]
) -> None:
    resource = pytest.importorskip("resource")
    if hard > resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 0:
        pytest.skip("this process may not have so many files")
    program = (
        "import resource; from tagger.web.http.connections import connection_limit as most; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        "print((most(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
