"""One HTTP request to a server that the operator named, within limits of time and size.

Redirects are not followed: only the server that the operator named gets the request.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from urllib.parse import SplitResult, urlsplit


@dataclass(frozen=True)
class HttpAnswer:
    """`body`: only the beginning, if the answer is longer than the limit or `late`. `late`: the time ended before the answer did."""

    status: int
    body: bytes
    late: bool


class NoAnswer(Exception):
    """The server did not answer; the text says why."""


def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    timeout_s: float,
    max_bytes: int,
) -> HttpAnswer:
    """Send one request. The time limit is for all of it, however slowly the server answers.

    Raises:
        NoAnswer: there was no answer in time, or none that is HTTP.
    """
    until = time.monotonic() + timeout_s
    try:
        address = urlsplit(url)
        target = f"{address.path or '/'}{f'?{address.query}' if address.query else ''}"
        with _connected(address, until) as connection:
            connection.request(method, target, body, _with_defaults(headers, address))
            response = connection.getresponse()
            if time.monotonic() >= until:  # the connection was shut down amid the headers
                raise TimeoutError
            beginning = response.read(max_bytes)
            return HttpAnswer(response.status, beginning, time.monotonic() >= until)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= until or isinstance(error, TimeoutError):
            raise NoAnswer(f"no answer within {timeout_s:.0f} s") from error
        raise NoAnswer(_reason(error)) from error


def _with_defaults(headers: Mapping[str, str], address: SplitResult) -> dict[str, str]:
    return {
        "host": address.netloc.rpartition("@")[2],
        "user-agent": f"landmark-tagger/{version('landmark-tagger')}",
        "connection": "close",
        **headers,
    }


@contextmanager
def _connected(address: SplitResult, until: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that is shut down at `until`, so that a server that sends a byte now and then cannot extend the time."""
    host, is_https = str(address.hostname), address.scheme == "https"
    port = address.port or (443 if is_https else 80)
    connected = _connect(host, port, until)
    try:
        if is_https:
            context = ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
        timer = threading.Timer(until - time.monotonic(), _shut_down, [connected])
        timer.daemon = True
        timer.start()
        try:
            if isinstance(connected, ssl.SSLSocket):
                connected.do_handshake()
            connection = http.client.HTTPConnection(host, port)
            connection.sock = connected
            yield connection
        finally:
            timer.cancel()
    finally:
        connected.close()


def _connect(host: str, port: int, until: float) -> socket.socket:
    """Connect to one of the host's addresses. Each may take its share of the time that is left: some may not answer."""
    addresses = _resolve(host, port, until)
    problem: OSError = TimeoutError()
    for n, (family, kind, protocol, _, address) in enumerate(addresses):
        connected = socket.socket(family, kind, protocol)
        connected.settimeout(_remaining_s(until) / (len(addresses) - n))
        try:
            connected.connect(address)
        except OSError as error:
            connected.close()
            problem = error
        else:
            connected.settimeout(_remaining_s(until))
            return connected
    raise problem


def _resolve(host: str, port: int, until: float) -> list[tuple[Any, ...]]:
    """The host's addresses. The system's resolver has no time limit, so it runs in a thread, which is abandoned if it hangs."""
    found: Future[list[tuple[Any, ...]]] = Future()

    def resolve() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            found.set_exception(error)

    started_at = time.monotonic()
    threading.Thread(target=resolve, name="resolver", daemon=True).start()
    try:
        return found.result(max(0.0, until - started_at))
    except TimeoutError as error:
        if found.done():  # the resolver's own error
            raise
        raise NoAnswer(f"its name was not resolved within {until - started_at:.0f} s") from error


def _remaining_s(until: float) -> float:
    return max(0.01, until - time.monotonic())  # 0 would not wait at all


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        # The plain socket's shutdown: that of SSLSocket drops the state that the other thread is using.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the connection was closed'}"
    if isinstance(error, UnicodeError):
        return "its name is not valid"
    if isinstance(error, OSError):
        return f"no connection: {error.strerror or type(error).__name__}"
    return f"its answer is not HTTP: {type(error).__name__}"
