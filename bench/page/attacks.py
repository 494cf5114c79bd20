"""Attacks on the page by clients that send or read slowly, or not at all, and what is left for others meanwhile.

    python -m bench.page.attacks [--attacks half-sent,...] [--hold 70]

Each attack comes from 127.0.0.1 and runs against a `tagger serve` of its own, which requires a token. During the attack,
19 requests come from another address and 19 from the same one; half of them are signed in. The table shows how many were
answered, the most memory and temporary files of the server, and how many connections of the attack are open after `--hold`
seconds. Linux only.
"""

import argparse
import http.client
import io
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import psutil
from PIL import Image

from bench.models import SHIPPED
from bench.options import names_of
from bench.page.library import Library, make_library
from bench.page.server import Server
from bench.report import note, print_heading, print_table
from tests.rig.large_library import JOBS

TOKEN = "a-token-for-this-benchmark"
ATTACKER, OTHER = "127.0.0.1", "127.0.0.2"
CONNECTIONS = 515
READERS = 120
UPLOADS = 15
UPLOAD_BYTES = 63 * 2**20
REQUESTS = 19
REQUEST_TIMEOUT_S = 20.0
SETTLE_S = 5.0
DRIP_S = 2.0
PHOTO_SIDE_PX = 2600
COLUMNS = (
    "attack",
    "connections",
    f"of {REQUESTS} from another address",
    f"of {REQUESTS} from the same",
    "slowest s",
    "memory added MiB",
    "temporary files MiB",
    "open at the end",
)


def main() -> None:
    """Attack the page in several ways."""
    args = _arguments()
    print_heading("Attacks on the page")
    rows = []
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        photo = Path(name) / "large.jpg"
        photo.write_bytes(_large_photo())
        library = make_library(Path(name), 50 * JOBS, 1, [photo])
        settings = {"model": str(SHIPPED), "device": "cpu", "web_token": TOKEN}
        for attack in args.attacks:
            note(f"attack: {attack}")
            with library.new_server(settings) as server:
                rows.append(_measure(attack, ATTACKS[attack](library), server, args.hold))
    print_table(COLUMNS, rows)


@dataclass(frozen=True)
class Attack:
    """Each connection sends `start`, then `drip` every `DRIP_S` for as long as it is open; it reads nothing."""

    connections: int
    start: bytes
    drip: bytes = b""


def _half_sent(_library: Library) -> Attack:
    return Attack(CONNECTIONS, _head("POST /sign-in", _FORM, "Content-Length: 8000") + b"token=")


def _slow_heads(_library: Library) -> Attack:
    return Attack(CONNECTIONS, b"GET / HTTP/1.1\r\n", b"X-Slow: 1\r\n")


def _slow_bodies(_library: Library) -> Attack:
    return Attack(CONNECTIONS, _head("POST /sign-in", _FORM, "Content-Length: 8000"), b"a")


def _silent(_library: Library) -> Attack:
    return Attack(CONNECTIONS, b"")


def _photo_readers(library: Library) -> Attack:
    return Attack(READERS, _head(f"GET /api/photos/{library.large[0]}/image", _SIGNED_IN))


def _list_readers(_library: Library) -> Attack:
    return Attack(READERS, _head("GET /api/photos?limit=1000", _SIGNED_IN))


def _page_readers(_library: Library) -> Attack:
    """Several requests in one connection, so that responses fill what the system buffers."""
    return Attack(READERS, _head("GET /sign-in") * 400)


def _slow_uploads(_library: Library) -> Attack:
    head = _head("POST /api/predict", _SIGNED_IN, "Content-Type: image/jpeg", f"Content-Length: {2**26}")
    return Attack(UPLOADS, head + bytes(UPLOAD_BYTES), b"a")


def _pipelined(_library: Library) -> Attack:
    return Attack(READERS, _head("GET /sign-in") + _head("GET /static/app.css") * 20_000)


def _endless_chunks(_library: Library) -> Attack:
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    return Attack(CONNECTIONS, _head("POST /sign-in", _FORM, "Transfer-Encoding: chunked"), chunk)


def _huge_heads(_library: Library) -> Attack:
    return Attack(CONNECTIONS, b"GET / HTTP/1.1\r\nX-Long: ", b"a" * 2000)


ATTACKS: dict[str, Callable[[Library], Attack]] = {
    "half-sent": _half_sent,
    "slow-bodies": _slow_bodies,
    "slow-heads": _slow_heads,
    "huge-heads": _huge_heads,
    "silent": _silent,
    "endless-chunks": _endless_chunks,
    "pipelined": _pipelined,
    "page-readers": _page_readers,
    "photo-readers": _photo_readers,
    "list-readers": _list_readers,
    "slow-uploads": _slow_uploads,
}
_FORM = "Content-Type: application/x-www-form-urlencoded"
_SIGNED_IN = f"Authorization: Bearer {TOKEN}"


def _head(request: str, *lines: str) -> bytes:
    return "\r\n".join([f"{request} HTTP/1.1", "Host: page", *lines, "", ""]).encode()


def _measure(name: str, attack: Attack, server: Server, hold_s: float) -> Sequence[object]:
    with _Usage(server.process.pid) as usage, _Attackers(attack, server.port):
        time.sleep(SETTLE_S)
        other = [_request_s(server.port, OTHER, is_signed_in=bool(n % 2)) for n in range(REQUESTS)]
        same = [_request_s(server.port, ATTACKER, is_signed_in=bool(n % 2)) for n in range(REQUESTS)]
        time.sleep(hold_s)
        left = usage.connections()
    answered = [[seconds for seconds in each if seconds is not None] for each in (other, same)]
    slowest_s = max((seconds for each in answered for seconds in each), default=REQUEST_TIMEOUT_S)
    counts = [len(each) for each in answered]
    return (name, attack.connections, *counts, slowest_s, usage.memory_mib, usage.files_mib, left)


def _request_s(port: int, source: str, *, is_signed_in: bool) -> float | None:
    """Return the duration of a request over its own connection, or None if it was not answered."""
    path, headers = (
        ("/api/models", {"Authorization": f"Bearer {TOKEN}"}) if is_signed_in else ("/sign-in", {})
    )
    start = time.monotonic()
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=REQUEST_TIMEOUT_S, source_address=(source, 0)
    )
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        if response.status == http.client.OK:
            return time.monotonic() - start
    return None


class _Attackers:
    """The connections of an attack, within a `with` block. A thread sends for all of them."""

    def __init__(self, attack: Attack, port: int) -> None:
        self._attack = attack
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        start, drip = memoryview(self._attack.start), memoryview(self._attack.drip)
        unsent = {self._connect(): start for _ in range(self._attack.connections)}
        drip_at_s = time.monotonic() + DRIP_S
        while not self._ended.wait(0.02):
            if time.monotonic() > drip_at_s:
                drip_at_s += DRIP_S
                unsent = {connection: rest or drip for connection, rest in unsent.items()}
            for connection, rest in unsent.items():
                if rest:
                    unsent[connection] = self._send(connection, rest)
        for connection in unsent:
            connection.close()

    def _connect(self) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.bind((ATTACKER, 0))
        connection.settimeout(REQUEST_TIMEOUT_S)
        with suppress(OSError):
            connection.connect(("127.0.0.1", self._port))
        connection.setblocking(False)
        return connection

    def _send(self, connection: socket.socket, data: memoryview) -> memoryview:
        """Return what the system does not accept yet; nothing of a closed connection."""
        try:
            return data[connection.send(data[: 2**20]) :]
        except BlockingIOError:
            return data
        except OSError:
            return data[:0]


class _Usage:
    """Samples the server inside a `with` block: the memory added, and the temporary files that it holds open."""

    def __init__(self, pid: int) -> None:
        self.memory_mib = self.files_mib = 0.0
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def connections(self) -> int:
        return sum(each.status == psutil.CONN_ESTABLISHED for each in self._process.net_connections("tcp"))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.memory_mib = max(self.memory_mib, (self._process.memory_info().rss - self._before) / 2**20)
            self.files_mib = max(self.files_mib, self._temporary_bytes() / 2**20)

    def _temporary_bytes(self) -> int:
        """Return the size of open files without a name."""
        total_bytes = 0
        for file in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()).startswith(tempfile.gettempdir()) and not file.stat().st_nlink:
                    total_bytes += file.stat().st_blocks * 512
        return total_bytes


def _large_photo() -> bytes:
    """Return a JPEG of several megabytes: noise compresses badly."""
    noise = np.random.default_rng(1).integers(0, 256, (PHOTO_SIDE_PX, PHOTO_SIDE_PX, 3), dtype=np.uint8)
    output = io.BytesIO()
    Image.fromarray(noise).save(output, "JPEG", quality=90)
    return output.getvalue()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.page.attacks", description=main.__doc__)
    attacks = names_of("attack", ATTACKS)
    parser.add_argument("--attacks", type=attacks, default=list(ATTACKS), help=f"[{','.join(ATTACKS)}]")
    parser.add_argument("--hold", type=float, default=70.0, metavar="S", help="how long to attack [70]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
