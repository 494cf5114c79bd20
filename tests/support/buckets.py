"""An S3 server that tests may fill, and a proxy in front of it that delays, cuts and refuses answers."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from rig.servers import Server, free_port, start_child
from support.local_servers import Quiet, running

SECRET = "w9JhSecretKeyOfTheTests"


class BucketServer(Server):
    """moto's S3 server. Objects are written with another client than the one that the program reads with."""

    def __init__(self) -> None:
        super().__init__("s3")
        self.port = free_port()

    def _launch(self) -> "subprocess.Popen[bytes]":
        return start_child([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)])

    def _connection_error(self) -> Exception | None:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError as error:
            return error
        return None

    def client(self) -> Any:
        import boto3  # takes half a second, in each process that collects tests

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="us-east-1",
            aws_access_key_id="writer",
            aws_secret_access_key="writer",
        )


@dataclass(frozen=True)
class Bucket:
    """One bucket of the server, and the proxy through which the program reaches it."""

    name: str
    client: Any
    proxy: "BucketProxy"

    @property
    def address(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes | Path) -> str:
        data = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.name, Key=key, Body=data)
        return f"{self.address}/{key}"

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def environment(self) -> dict[str, str]:
        """The variables with which the program reaches the bucket."""
        return {
            "AWS_ENDPOINT_URL_S3": self.proxy.url,
            "AWS_ACCESS_KEY_ID": "reader",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }


@contextmanager
def open_bucket(server: BucketServer) -> Iterator[Bucket]:
    name = f"photos-{uuid4().hex[:12]}"
    client = server.client()
    client.create_bucket(Bucket=name)
    with BucketProxy(server.port) as proxy:
        yield Bucket(name, client, proxy)


@dataclass(frozen=True)
class Call:
    method: str
    target: str
    headers: dict[str, str]


@dataclass
class Fault:
    """What happens to the next `times` requests of a method whose target has a text, instead of an answer.

    `status` and `code` refuse the request, with `headers`, `cut_after` closes the connection after so many
    bytes of the body, `delay_s` waits first, and `then` runs before the request is passed on.
    """

    contains: str = ""
    method: str = "GET"
    times: int = 1
    status: int | None = None
    code: str = ""
    cut_after: int | None = None
    delay_s: float = 0.0
    then: Callable[[], object] = lambda: None


class BucketProxy:
    """Passes requests on to the server. `calls` lists them; `faults` apply in order until they are used up.

    `page_keys`: the server's listings have at most this many keys per answer.
    """

    def __init__(self, port: int) -> None:
        self.page_keys = 1000
        self.calls: list[Call] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, port))
        self._server.daemon_threads = True
        self._running = ExitStack()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._running.enter_context(running(self._server))
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    def inject(self, *faults: Fault) -> None:
        with self._lock:
            self._faults += faults

    def count(self, method: str, contains: str = "") -> int:
        return sum(call.method == method and contains in call.target for call in self.calls)

    @contextmanager
    def refusing(self, status: int = 403, code: str = "AccessDenied") -> Iterator[None]:
        faults = [Fault(method=method, times=10**9, status=status, code=code) for method in ("GET", "HEAD")]
        self.inject(*faults)
        try:
            yield
        finally:
            with self._lock:
                self._faults = [fault for fault in self._faults if fault not in faults]

    def fault_of(self, call: Call) -> Fault | None:
        with self._lock:
            self.calls.append(call)
            for fault in self._faults:
                if fault.times and fault.method == call.method and fault.contains in call.target:
                    fault.times -= 1
                    return fault
        return None


def _handler(proxy: BucketProxy, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fault = proxy.fault_of(Call(self.command, self.path, dict(self.headers))) or Fault()
            time.sleep(fault.delay_s)
            fault.then()
            if fault.status is not None:
                self._answer(fault.status, f"<Error><Code>{fault.code}</Code></Error>".encode(), {})
                return
            server = http.client.HTTPConnection("127.0.0.1", port)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            is_listing = "list-type=2" in self.path
            target = f"{self.path}&max-keys={proxy.page_keys}" if is_listing else self.path
            headers = dict(self.headers.items())
            server.request(self.command, target, body, headers)
            answer = server.getresponse()
            data = answer.read()
            server.close()
            self._answer(answer.status, data, dict(answer.headers), fault.cut_after)

        do_HEAD = do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815 - http.server's names

        def _answer(
            self, status: int, data: bytes, headers: dict[str, str], cut_after: int | None = None
        ) -> None:
            self.send_response(status)
            length = headers.pop("Content-Length", str(len(data)))
            for name, value in headers.items():
                if name not in {"Connection", "Transfer-Encoding", "Server", "Date"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:cut_after])
            if cut_after is not None:
                self._close()

        def _close(self) -> None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler
