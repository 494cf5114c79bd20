"""One HTTP request to a server that the operator named, within limits of time and size.

Redirects are not followed: only the server that the operator named gets the request. HTTP libraries limit the time of each read, not of
the whole request, and neither that of the resolver. So the request runs in a thread, which is left alone when the time is over.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import urlsplit

_END_S = 1.0
"""How long a request whose connection was shut down may take to return what it has."""


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
    connected: list[socket.socket] = []
    answer: Future[HttpAnswer] = Future()

    def run() -> None:
        try:
            answer.set_result(_request(method, url, headers, body, timeout_s, max_bytes, connected))
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            answer.set_exception(error)

    threading.Thread(target=run, name="http request", daemon=True).start()
    try:
        return answer.result(timeout_s)
    except TimeoutError as error:
        for each in connected:
            with suppress(OSError):  # it is closed already
                # The plain socket's shutdown: that of SSLSocket drops the state that the other thread is using.
                socket.socket.shutdown(each, socket.SHUT_RDWR)
        with suppress(Exception):
            return answer.result(_END_S)
        missing = "answer" if connected else "connection"
        raise NoAnswer(f"no {missing} within {timeout_s:.0f} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(_reason(error)) from error


def _request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
    max_bytes: int,
    connected: list[socket.socket],
) -> HttpAnswer:
    """Send the request and wait; `connected` gets the socket, with which another thread ends that."""
    until = time.monotonic() + timeout_s
    address = urlsplit(url)
    is_https = address.scheme == "https"
    host, port = str(address.hostname), address.port or (443 if is_https else 80)
    # A host can have several addresses, and the first ones may not answer.
    plain = socket.create_connection((host, port), timeout_s / 3)
    plain.settimeout(timeout_s)
    with closing(plain), closing(http.client.HTTPConnection(host, port)) as connection:
        connection.sock = plain
        if is_https:
            connection.sock = ssl.create_default_context().wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
        connected.append(connection.sock)
        if isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.do_handshake()
        target = f"{address.path or '/'}{f'?{address.query}' if address.query else ''}"
        general = {
            "host": address.netloc.rpartition("@")[2],
            "user-agent": f"landmark-tagger/{version('landmark-tagger')}",
            "connection": "close",
        }
        connection.request(method, target, body, general | dict(headers))
        with connection.getresponse() as response:
            if time.monotonic() >= until:  # the connection was shut down amid the headers
                raise TimeoutError
            return HttpAnswer(response.status, response.read(max_bytes), time.monotonic() >= until)


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
