"""One attempt to deliver a message: the signed request, within limits, and its answer.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body. Redirects are not
followed: what the operator named gets the message, and nobody else.
"""

import base64
import hashlib
import hmac
import http.client
import json
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
from urllib.parse import SplitResult, unquote, urlsplit

from tagger.settings import Settings
from tagger.webhooks.events import Event
from tagger.webhooks.messages import Message

TIMEOUT_S = 15.0
"""For a whole attempt, however slowly the receiver answers."""
MAX_ANSWER_BYTES = 4096
GONE = 410
"""The receiver wants no more messages."""


@dataclass(frozen=True)
class Receiver:
    """Where messages go. `web_url`: the address of the page, for links."""

    url: str
    secret: str
    web_url: str

    @property
    def name(self) -> str:
        """The address without user, password and path, which can be secrets."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True)
class Answer:
    """What the receiver answered: the status, and the beginning of its text."""

    status: int
    text: str

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def problem(self) -> str:
        """Why the message is not accepted, in words."""
        if 300 <= self.status < 400:
            return f"it answered with {self.status}, and redirects are not followed"
        return f"it answered with {self.status}"


class NotDelivered(Exception):
    """The receiver did not answer; the text says why."""


def receiver_of(settings: Settings) -> Receiver | None:
    """The receiver of the settings; None if they name none."""
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    return Receiver(settings.webhook_url, settings.webhook_secret, settings.web_url or "")


def deliver(receiver: Receiver, message: Message) -> Answer:
    """Send the message once.

    Raises:
        NotDelivered: the host's name was not resolved or there was no answer within TIMEOUT_S, or none that is HTTP.
    """
    address = urlsplit(receiver.url)
    body = _body(receiver, message)
    headers = _headers(address, body) | signature_headers(receiver.secret, message.id, body, int(time.time()))
    until = time.monotonic() + TIMEOUT_S
    try:
        with _connected(address, until) as connection:
            path = f"{address.path or '/'}{f'?{address.query}' if address.query else ''}"
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            if time.monotonic() >= until:  # the connection was shut down amid the headers
                raise TimeoutError
            text = response.read(MAX_ANSWER_BYTES).decode(errors="replace")
            return Answer(response.status, text)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= until or isinstance(error, TimeoutError):
            raise NotDelivered(f"no answer within {TIMEOUT_S:.0f} s") from error
        raise NotDelivered(_reason(error)) from error


def signature_headers(secret: str, message_id: str, body: bytes, at: int) -> dict[str, str]:
    """The headers of Standard Webhooks for a message that is sent at this time."""
    signed = f"{message_id}.{at}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _headers(address: SplitResult, body: bytes) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "user-agent": f"landmark-tagger/{version('landmark-tagger')}",
        "connection": "close",
    }
    if address.username is not None:
        user = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return headers


def _body(receiver: Receiver, message: Message) -> bytes:
    document = {
        "id": message.id,
        "type": message.event,
        "timestamp": message.at.isoformat(),
        "data": message.data,
        "links": {name: receiver.web_url + path for name, path in _links(message).items()},
    }
    return json.dumps(document).encode()


def _links(message: Message) -> Mapping[str, str]:
    data = message.data
    match message.event:
        case Event.JOB_FINISHED | Event.JOB_FAILURES:
            return {"job": f"/jobs/{data['job']}"}
        case Event.LANDMARK_FOUND:
            return {"landmark": f"/landmarks/{data['landmark']}"}
    return {"jobs": "/jobs"}


@contextmanager
def _connected(address: SplitResult, until: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that is shut down at `until`: a receiver that sends a byte now and then keeps nobody waiting."""
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
        left_s = max(0.01, until - time.monotonic())  # 0 would not wait at all
        connected = socket.socket(family, kind, protocol)
        connected.settimeout(left_s / (len(addresses) - n))
        try:
            connected.connect(address)
        except OSError as error:
            connected.close()
            problem = error
        else:
            connected.settimeout(TIMEOUT_S)
            return connected
    raise problem


def _resolve(host: str, port: int, until: float) -> list[tuple[Any, ...]]:
    """The host's addresses. In a thread, which is left behind if it hangs: the system's resolver has no time limit."""
    found: Future[list[tuple[Any, ...]]] = Future()

    def resolve() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - raised in the other thread
            found.set_exception(error)

    threading.Thread(target=resolve, name="resolver", daemon=True).start()
    try:
        return found.result(max(0.0, until - time.monotonic()))
    except TimeoutError as error:
        if found.done():  # the resolver's own error
            raise
        raise NotDelivered(f"its name was not resolved within {TIMEOUT_S:.0f} s") from error


def _shut_down(connected: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        # Not that of SSLSocket, which drops what the other thread is using.
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
