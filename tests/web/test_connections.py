"""Clients that send or read slowly, or not at all, keep nobody else out: attacks on a real server."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

import psutil
import pytest
from PIL import Image
from support.colour_folders import TaggedFolder
from support.page_server import TOKEN, served
from support.waiting import wait_until

from tagger.database.connection import Database
from tagger.settings import Settings
from tagger.web.http.uploads import OPEN_BYTES, SMALL_BYTES, ClientLimits

MOST = 6
ASK = b"HEAD /static/app.css HTTP/1.1\r\nHost: page\r\n\r\n"
SIGNED_IN = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
UPLOAD = (
    b"POST /api/predict HTTP/1.1\r\nHost: page\r\n"
    + SIGNED_IN
    + b"Content-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 7\r\nConnection: close\r\n\r\n--x"
)
FORM = b"POST /sign-in HTTP/1.1\r\nHost: page\r\nContent-Type: application/x-www-form-urlencoded\r\n"
HALF_SENT = FORM + b"Content-Length: 8000\r\n\r\ntoken="
ANSWER_S = 30


@contextmanager
def page(settings: Settings, database: Database, limits: ClientLimits) -> Iterator[tuple[int, ExitStack]]:
    """The server's port, and the stack that closes the connections to it before it ends."""
    with served(settings, database, TOKEN, limits=limits) as port, ExitStack() as opened:
        yield port, opened


def connected(
    port: int, opened: ExitStack, sent: bytes = b"", *, source: str = "127.0.0.1", buffer_bytes: int = 0
) -> socket.socket:
    connection = opened.enter_context(socket.socket())
    if buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    connection.bind((source, 0))
    connection.settimeout(ANSWER_S)
    connection.connect(("127.0.0.1", port))
    connection.sendall(sent)
    return connection


def uploading(port: int, opened: ExitStack) -> socket.socket:
    """A connection of which the server has read the request's head, and waits for the rest of the body."""
    connection = connected(port, opened, UPLOAD.replace(b"\r\n\r\n--x", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert status(connection) == 100
    connection.sendall(b"--x")
    return connection


def status(connection: socket.socket) -> int:
    """Of the answer that is next."""
    return int(connection.recv(65536)[9:12])


def is_ended(connection: socket.socket) -> bool:
    """Waits for more, or for the end."""
    with suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def is_open(connection: socket.socket) -> bool:
    """Whether the server, in this process, holds its end open, which a client that does not read does not learn."""
    client = connection.getsockname()
    return any(each.raddr == client for each in psutil.Process().net_connections("tcp4"))


def drip(connection: socket.socket, part: bytes) -> bytes:
    """Send the part until the server responds or closes the connection. Returns the whole answer."""
    connection.settimeout(0.05)
    for _ in range(600):
        with suppress(TimeoutError, ConnectionError):
            return _answer(connection)
        try:
            connection.sendall(part)
        except ConnectionError:  # the server closed it; its answer may have come just before
            with suppress(ConnectionError):
                return _answer(connection)
            return b""
    raise TimeoutError


def _answer(connection: socket.socket) -> bytes:
    answer = connection.recv(65536)
    connection.settimeout(5)
    with suppress(ConnectionError):
        while more := connection.recv(65536):
            answer += more
    return answer


def read_all(connection: socket.socket, pause_s: float = 0) -> int:
    """Read until the end, with a pause after each read; return the number of bytes."""
    size_bytes = 0
    with suppress(ConnectionError):
        while part := connection.recv(2**18):
            size_bytes += len(part)
            time.sleep(pause_s)
    return size_bytes


# --- how many


@pytest.mark.parametrize(
    ("sent", "source"),
    [
        (b"GET / HT", "127.0.0.1"),
        (HALF_SENT, "127.0.0.2"),
        *(
            pytest.param(sent, "127.0.0.1", marks=pytest.mark.slow)
            for sent in (b"", FORM + b"Transfer-Encoding: chunked\r\n\r\n")
        ),
    ],
)
def test_unfinished_requests_without_access_keep_nobody_out(
    web_settings: Settings, web_database: Database, sent: bytes, source: str
) -> None:
    limits = ClientLimits(connections=MOST, connections_per_client=MOST - 2)
    with page(web_settings, web_database, limits) as (port, opened):
        unfinished = [connected(port, opened, sent) for _ in range(3 * MOST)]
        asks = connected(port, opened, ASK, source=source)
        assert status(asks) == 200
        assert is_ended(unfinished[0])
        asks.sendall(ASK)
        assert status(asks) == 200


def test_half_an_upload_on_the_same_machine_keeps_nobody_out(
    web_settings: Settings, web_database: Database
) -> None:
    """Without a token, everybody on the machine may upload."""
    limits = ClientLimits(connections=MOST)
    with served(web_settings, web_database, limits=limits) as port, ExitStack() as opened:
        host = f"127.0.0.1:{port}".encode()
        for _ in range(3 * MOST):
            connected(port, opened, UPLOAD.replace(b"Host: page", b"Host: " + host))
        assert status(connected(port, opened, ASK.replace(b"page", host))) == 200


def test_requests_of_signed_in_clients_stay_and_new_ones_are_asked_to_return(
    web_settings: Settings, web_database: Database
) -> None:
    limits = ClientLimits(connections=MOST - 1, refused_connections=2, head_s=0.2)
    with page(web_settings, web_database, limits) as (port, opened):
        asks = connected(port, opened, ASK)
        assert status(asks) == 200
        uploads = [uploading(port, opened) for _ in range(MOST - 1)]
        assert is_ended(asks)
        assert all(is_ended(connected(port, opened)) for _ in range(3))
        answer = connected(port, opened, ASK).recv(65536)
        assert answer[9:12] == b"503"
        assert b"retry-after: 5" in answer.lower()
        uploads[0].settimeout(3 * limits.head_s)
        with pytest.raises(TimeoutError):
            uploads[0].recv(1)
        for upload in uploads:
            upload.settimeout(ANSWER_S)
            upload.sendall(b"--\r\n")
            assert status(upload) == 422  # its form holds no file


def test_one_address_takes_only_its_own_connections(web_settings: Settings, web_database: Database) -> None:
    limits = ClientLimits(connections=MOST, connections_per_client=2)
    with page(web_settings, web_database, limits) as (port, opened):
        for _ in range(2):
            uploading(port, opened)
        assert status(connected(port, opened, ASK)) == 503
        assert status(connected(port, opened, ASK, source="127.0.0.2")) == 200


def test_a_trusted_proxy_is_not_taken_for_one_client(web_settings: Settings, web_database: Database) -> None:
    limits = ClientLimits(connections=MOST, connections_per_client=2)
    settings = web_settings.model_copy(update={"web_trusted_proxies": [ip_network("127.0.0.1")]})
    with page(settings, web_database, limits) as (port, opened):
        for _ in range(MOST - 1):
            uploading(port, opened)
        assert status(connected(port, opened, ASK)) == 200


def test_requests_without_end_are_not_stored(web_settings: Settings, web_database: Database) -> None:
    """They wait for an event stream. The server closes the connection, or reads no more."""
    events = b"GET /api/events HTTP/1.1\r\nHost: page\r\n" + SIGNED_IN + b"\r\n"
    with page(web_settings, web_database, ClientLimits()) as (port, opened):
        stream = connected(port, opened, events)
        assert status(stream) == 200
        stream.settimeout(3)
        with pytest.raises((ConnectionError, TimeoutError)):
            stream.sendall(ASK * 1_000_000)  # 47 MB are more than the system buffers


# --- how long


def test_heads_that_drip_and_silent_connections_are_not_waited_for(
    web_settings: Settings, web_database: Database
) -> None:
    with page(web_settings, web_database, ClientLimits(head_s=0.2)) as (port, opened):
        for before in (b"", ASK):
            connection = connected(port, opened, before)
            assert not before or status(connection) == 200
            connection.sendall(b"GET / HTTP/1.1\r\n")
            assert drip(connection, b"X-Slow: 1\r\n") == b""
        assert is_ended(connected(port, opened))


@pytest.mark.parametrize(
    ("head", "limits"),
    [
        (FORM, ClientLimits(open_body_s=0.3)),
        (FORM.replace(b"/sign-in", b"/jobs/new") + SIGNED_IN, ClientLimits(body_s=0.3, open_body_s=60)),
    ],
)
def test_small_body_that_drips_is_not_waited_for(
    web_settings: Settings, web_database: Database, head: bytes, limits: ClientLimits
) -> None:
    with page(web_settings, web_database, limits) as (port, opened):
        connection = connected(port, opened, head + b"Content-Length: 7999\r\n\r\n")
        assert drip(connection, b"a")[9:12] == b"408"


@pytest.mark.parametrize(
    "limits",
    [
        ClientLimits(upload_pause_s=0.3, upload_bytes_per_s=10_000),
        ClientLimits(upload_pause_s=60, upload_s=0.3, upload_bytes_per_s=1),
    ],
    ids=["rate", "total"],
)
def test_slow_upload_is_refused_with_the_reason(
    web_settings: Settings, web_database: Database, limits: ClientLimits
) -> None:
    head = UPLOAD.replace(b"multipart/form-data; boundary=x", b"image/png").replace(b": 7\r", b": 99999\r")
    with page(web_settings, web_database, limits) as (port, opened):
        answer = drip(connected(port, opened, head), b"a")
        assert answer[9:12] == b"408"
        assert b"bytes/s" in answer


@pytest.fixture
def large_photo(web_settings: Settings, web_database: Database, tmp_path: Path) -> bytes:
    """The request of a photo of several megabytes."""
    (tmp_path / "library").mkdir()
    library = TaggedFolder(web_database, tmp_path / "library")
    Image.new("RGB", (1400, 1000)).save(library.folder / "large.bmp")
    library.record()
    return b"GET /api/photos/1/image HTTP/1.1\r\nHost: page\r\nConnection: close\r\n" + SIGNED_IN + b"\r\n"


def test_reader_that_does_not_read_is_closed(
    web_settings: Settings, web_database: Database, large_photo: bytes
) -> None:
    with page(web_settings, web_database, ClientLimits(write_s=0.5)) as (port, opened):
        reader = connected(port, opened, large_photo, buffer_bytes=4096)
        wait_until(lambda: is_open(reader))
        wait_until(lambda: not is_open(reader))
        assert read_all(reader) < 2**20


# --- how much


def test_form_to_sign_in_is_small(web_settings: Settings, web_database: Database) -> None:
    chunked = FORM + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"a" * 4096 + b"\r\n"
    with page(web_settings, web_database, ClientLimits()) as (port, opened):
        assert status(connected(port, opened, FORM + b"Content-Length: 8193\r\n\r\n")) == 413
        assert drip(connected(port, opened, chunked), b"1000\r\n" + b"a" * 4096 + b"\r\n")[9:12] == b"413"


def test_uploads_share_the_space_for_temporary_files(
    web_settings: Settings, web_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    size_bytes = web_settings.web_upload_bytes
    head = UPLOAD.replace(b"multipart/form-data; boundary=x", b"image/png").removesuffix(b"--x")
    large = head.replace(b": 7\r", f": {size_bytes}\r".encode())
    with page(web_settings, web_database, ClientLimits(spooled_uploads=1)) as (port, opened):
        upload = connected(port, opened, large + bytes(size_bytes - 100_000))
        wait_until(lambda: answer_within(1, port, large) == 503)
        chunked = head.replace(b"Content-Length: 7", b"Transfer-Encoding: chunked")
        part = b"8000\r\n" + bytes(0x8000) + b"\r\n"
        answer = drip(connected(port, opened, chunked), part)
        assert answer[9:12] == b"503"
        assert b"retry-after" in answer.lower()
        assert not list(temporary.iterdir())  # so nothing is left of a server that is killed
        upload.close()
        wait_until(lambda: answer_within(ANSWER_S, port, large + bytes(size_bytes)) == 422)


def answer_within(timeout_s: float, port: int, sent: bytes) -> int | None:
    """The status on a connection of its own; None if the server is silent or closes it before all is sent."""
    with ExitStack() as opened, suppress(ConnectionError, TimeoutError):
        connection = connected(port, opened, sent)
        connection.settimeout(timeout_s)
        return status(connection)
    return None


def test_a_low_limit_of_open_files_is_raised() -> None:
    pytest.importorskip("resource")
    program = (
        "import resource; from tagger.web.http.uploads import raise_file_limit; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 900)); raise_file_limit(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "900\n"


def test_documented_limits_are_those_of_the_server() -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "serve-the-page.md").read_text()
    limits = ClientLimits()
    for shown in (
        f"| connections | {limits.connections},",
        f"| connections of one address | {limits.connections_per_client} ",
        f"| head of a request | {limits.head_s:g} s,",
        f"| between two requests of a connection | {limits.keep_alive_s} s |",
        f"| form to sign in | {limits.open_body_s:g} s, {OPEN_BYTES // 1024} KiB |",
        f"| other small bodies: JSON and forms | {limits.body_s:g} s, {SMALL_BYTES // 2**20} MiB |",
        f"{limits.upload_s / 60:g} min; pauses up to {limits.upload_pause_s:g} s,",
        f"at least {limits.upload_bytes_per_s / 1024:g} KiB/s",
        f"must be read within {limits.write_s:g} s",
    ):
        assert shown in text
    assert limits.spooled_uploads == 8  # "eight times"
