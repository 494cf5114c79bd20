"""A receiver of webhooks: a real HTTP or HTTPS server that answers as a test wants."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat
from typing import Any, Self

from support.http_servers import Quiet, running

SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
OTHER_SECRET = f"whsec_{base64.b64encode(bytes(range(32, 64))).decode()}"


@dataclass
class Behaviour:
    """How the receiver answers. `hangs`: not before this is set; `drips`: a byte of a header now and then, until it is set.

    `loses_answer`: the connection is cut after the request was handled. `raw`: these bytes instead, the last ones for ever, unless they are empty.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"thanks"
    hangs: threading.Event | None = None
    drips: threading.Event | None = None
    loses_answer: bool = False
    raw: Sequence[bytes] | None = None


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class WebhookReceiver:
    """A context manager. `received` has the requests in their order."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = Behaviour()
        self.received: list[Received] = []
        receiver = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append(Received(self.path, dict(self.headers), body))
                receiver._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._scheme = "http" if tls is None else "https"
        self._running = ExitStack()

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self._server.server_port}/hook?team=7"

    def __enter__(self) -> Self:
        self._running.enter_context(running(self._server))
        return self

    def __exit__(self, *_error: object) -> None:
        for event in (self.behaviour.hangs, self.behaviour.drips):
            if event is not None:
                event.set()
        self._running.close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        behaviour = self.behaviour
        if behaviour.hangs is not None:
            behaviour.hangs.wait(300)
            return
        if behaviour.drips is not None:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            while not behaviour.drips.wait(0.05):
                handler.wfile.write(b"x")
            return
        if behaviour.loses_answer:
            return
        if behaviour.raw is not None:
            *first, last = behaviour.raw
            for part in chain(first, repeat(last) if last else ()):
                handler.wfile.write(part)
            return
        handler.send_response(behaviour.status)
        for name, value in behaviour.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(behaviour.body)


def is_signed(received: Received, secret: str = SECRET) -> bool:
    """Check a request as the specification of Standard Webhooks says."""
    headers = {name.lower(): value for name, value in received.headers.items()}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{received.body.decode()}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{expected}"
