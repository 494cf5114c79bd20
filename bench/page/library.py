"""A large library for the page, the rows of `tests.rig.large_library` with real files for its first photos, and its server.

The very first files are as large as camera photos, so that their thumbnails cost as much; the others are small.
"""

import http.client
import io
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from sqlalchemy import Row, bindparam, select, update

from bench.photos import QUALITY, draw_image
from bench.processes import TAGGER, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.database.tables import contents, photos
from tagger.library.query.counts import LandmarkCount, landmark_counts
from tagger.photos.containers import digest_photo
from tests.rig.large_library import ROOT
from tests.rig.large_library import make_library as make_rows

SMALL, LARGE = (320, 240), (1600, 1200)
LARGE_FILES = 50
_FILE_STATE = ("size_bytes", "mtime_ns")
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
    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Response:
        """Raises:
        SystemExit: the status is not 200.
        """
        start = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=RESPONSE_TIMEOUT_S)
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            first_byte_s = time.perf_counter() - start
            content = b"".join(iter(lambda: response.read(_BLOCK_BYTES), b""))
            total_s = time.perf_counter() - start
        if response.status != http.client.OK:
            raise SystemExit(f"GET {path} returned {response.status}: {content[:500]!r}")
        return Response(first_byte_s, total_s, content)

    def cpu_s(self) -> float:
        """Return the CPU time of the process, including ended threads, more precisely than /proc."""
        # The clock id that clock_getcpuclockid(3), which Python lacks, returns for a process.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def peak_mib(self) -> float:
        """Return the peak resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


@contextmanager
def running_server(environment: Mapping[str, str], data: Path) -> Iterator[Server]:
    """Start `tagger serve` as a user does; stop it with SIGTERM at the end."""
    data.mkdir(parents=True, exist_ok=True)
    log = data / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*TAGGER, "serve", "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield Server(process, _wait_for_port(process, log))
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


@dataclass(frozen=True)
class Library:
    """`url` is the database, `root` the folder of the photos."""

    url: str
    root: Path
    photos: int
    counts: tuple[LandmarkCount, ...]

    def environment(self, data: Path, **settings: str) -> dict[str, str]:
        """Return the environment of a user of this library with an empty data folder."""
        roots = json.dumps({ROOT.name: str(self.root)})
        return tagger_environment(data, database_url=self.url, roots=roots, **settings)

    def opened(self) -> closing[Database]:
        return closing(open_database(self.url))

    @contextmanager
    def new_server(self, settings: Mapping[str, str]) -> Iterator[Server]:
        """Start a server with an empty data folder, which has received no request."""
        with TemporaryDirectory(prefix="tagger-bench-") as name:
            data = Path(name)
            with running_server(self.environment(data, **settings), data) as server:
                yield server


def make_library(folder: Path, count: int, files: int) -> Library:
    """Create a library of `count` photos, of which about `files` have a file."""
    url, root = f"sqlite:///{folder / 'tagger.sqlite'}", folder / "photos"
    with closing(make_rows(url, count)) as database:
        _write_files(database, root, files)
        return Library(url, root, count, tuple(landmark_counts(database)))


def _write_files(database: Database, root: Path, count: int) -> None:
    """Write the files, and to the database what a scan and a model would store."""
    with database.read() as connection:
        rows = connection.execute(
            select(photos.c.id, photos.c.path, photos.c.content_id).where(
                photos.c.id <= count, photos.c.gone_since.is_(None), photos.c.content_id.is_not(None)
            )
        ).all()
    values = [_write_file(row, root / row.path) for row in rows]
    originals = [each for each in values if each["photo"] == each["content"]]
    states: dict[str, Any] = {
        f"{prefix}{name}": bindparam(name) for prefix in ("", "classified_") for name in _FILE_STATE
    }
    image: dict[str, Any] = {
        "digest": bindparam("image"),
        "width": bindparam("wide"),
        "height": bindparam("high"),
    }
    with database.write() as connection:
        connection.execute(update(photos).where(photos.c.id == bindparam("photo")).values(states), values)
        connection.execute(
            update(contents).where(contents.c.id == bindparam("content")).values(image), originals
        )


def _write_file(row: Row[Any, Any, Any], file: Path) -> dict[str, Any]:
    number = row.content_id
    data = _jpeg(number, LARGE if number <= LARGE_FILES else SMALL)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    status = file.stat()
    with Image.open(io.BytesIO(data)) as image:
        wide, high = image.size
    values = {"photo": row.id, "content": number, "image": digest_photo(data), "wide": wide, "high": high}
    return {**values, "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _jpeg(seed: int, size: tuple[int, int]) -> bytes:
    output = io.BytesIO()
    draw_image(seed, size).save(output, "JPEG", quality=QUALITY)
    return output.getvalue()
