"""A real `tagger serve` process, HTTP requests to it, and its CPU time and memory."""

import http.client
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.process_tree import cpu_seconds
from bench.processes import TAGGER

START_TIMEOUT_S = 120.0
RESPONSE_TIMEOUT_S = 600.0
POLL_S = 0.02
_URL_MESSAGE = "the web page is at "
_BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class Response:
    """A response body, and the seconds from the connection to its first byte and to its last."""

    first_byte_s: float
    total_s: float
    body: bytes


@dataclass(frozen=True)
class Server:
    """`start_s` is the time from the command until the server listens."""

    process: subprocess.Popen[bytes]
    port: int
    start_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Response:
        """Raises:
        SystemExit: the status is not 200.
        """
        return self._request("GET", path, None)

    def post(self, path: str, body: bytes) -> Response:
        """Raises:
        SystemExit: the status is not 200.
        """
        return self._request("POST", path, body)

    def cpu_s(self) -> float:
        """Return the CPU time of the process, including ended threads, more precisely than /proc."""
        # The clock id that clock_getcpuclockid(3), which Python lacks, returns for a process.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def cpu_s_with_children(self) -> float:
        """Return the CPU time of the process and its decoder processes, to a hundredth of a second."""
        return cpu_seconds(self.process.pid)

    def peak_mib(self) -> float:
        """Return the peak resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def _request(self, method: str, path: str, body: bytes | None) -> Response:
        headers = {"Content-Type": "application/octet-stream"} if body else {}
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=RESPONSE_TIMEOUT_S)
        with closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            first_byte_s = time.perf_counter() - start
            content = b"".join(iter(lambda: response.read(_BLOCK_BYTES), b""))
            total_s = time.perf_counter() - start
        if response.status != http.client.OK:
            raise SystemExit(f"{method} {path} returned {response.status}: {content[:500]!r}")
        return Response(first_byte_s, total_s, content)


@contextmanager
def running_server(environment: Mapping[str, str], data: Path) -> Iterator[Server]:
    """Start `tagger serve` as a user does; stop it with SIGTERM at the end."""
    data.mkdir(parents=True, exist_ok=True)
    log = data / "serve.log"
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*TAGGER, "serve", "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Server(process, _wait_for_port(process, log), time.monotonic() - start)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        _, message, rest = log.read_text(errors="replace").partition(_URL_MESSAGE)
        if message and "\n" in rest:
            return int(rest.partition("\n")[0].split()[0].rstrip("/;").rpartition(":")[2])
        time.sleep(POLL_S)
    raise SystemExit(f"`tagger serve` did not start:\n{log.read_text(errors='replace')[-2000:]}")
