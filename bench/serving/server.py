"""A real `tagger serve` in a process of its own, asked as programs ask it, and what it costs."""

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
ANSWER_TIMEOUT_S = 600.0
POLL_S = 0.02
_SAYS_WHERE = "the web page is at "
_BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class Answer:
    """What came, and when: seconds from the connection to the first byte, and to the last."""

    first_s: float
    whole_s: float
    body: bytes


@dataclass(frozen=True)
class Server:
    """`ready_s` is from the command to the first answer it could have given."""

    process: subprocess.Popen[bytes]
    port: int
    ready_s: float

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Answer:
        """Raises:
        SystemExit: it answers anything but 200.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> Answer:
        """The same, with a body."""
        return self._ask("POST", path, body)

    def cpu_s(self) -> float:
        """CPU time of the process so far, of threads that ended too; finer than /proc counts it."""
        # The number that clock_getcpuclockid(3) gives for a process, which Python does not have.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def cpu_of_all_s(self) -> float:
        """The same with the processes that decode for it, by /proc's hundredths of a second."""
        return cpu_seconds(self.process.pid)

    def peak_mib(self) -> float:
        """The most that the process had in memory so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        began = time.perf_counter()
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_TIMEOUT_S)) as asking:
            asking.request(method, path, body, {"Content-Type": "application/octet-stream"} if body else {})
            answer = asking.getresponse()
            first_s = time.perf_counter() - began
            said = b"".join(iter(lambda: answer.read(_BLOCK_BYTES), b""))
            whole_s = time.perf_counter() - began
        if answer.status != http.client.OK:
            raise SystemExit(f"{method} {path} was answered with {answer.status}: {said[:500]!r}")
        return Answer(first_s, whole_s, said)


@contextmanager
def serving(environment: Mapping[str, str], data: Path) -> Iterator[Server]:
    """`tagger serve` as a user starts it, ended with SIGTERM."""
    data.mkdir(parents=True, exist_ok=True)
    log = data / "serve.log"
    began = time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*TAGGER, "serve", "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        yield Server(process, _port(process, log), time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        _, found, rest = log.read_text(errors="replace").partition(_SAYS_WHERE)
        if found and "\n" in rest:
            return int(rest.partition("\n")[0].split()[0].rstrip("/;").rpartition(":")[2])
        time.sleep(POLL_S)
    raise SystemExit(f"the page is not served:\n{log.read_text(errors='replace')[-2000:]}")
