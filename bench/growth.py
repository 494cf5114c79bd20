"""Measures what queries and views of the page cost in libraries of growing size.

    python -m bench.growth [--photos 10000 100000 1000000] [--postgresql]

Creates databases with so many photos (see tests/rig/large_library.py), and prints the CPU time of commands
with their start, of new servers until their first response, with what they count meanwhile, and of the same
view again; on PostgreSQL with that of its processes. Time should follow the result: a row says FAIL if it
takes more than 1.5 times as long in the largest library as in the one before, for a result that is as long;
or for a photo, if the command reads all.
"""

import argparse
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import psutil

from bench.rig import (
    SHIPPED,
    TAGGER,
    note,
    print_heading,
    run,
    table,
    tagger_environment,
)
from tests.rig.large_library import JOBS, ROOT, make_library
from tests.rig.servers import PostgresServer

MOST_GROWTH = 1.5
# Results are as long as others if their lengths differ by at most this share.
EQUAL = 0.1
ROUNDS = 2
PAGE = "--limit 100 --format csv"
PHOTO = f"{ROOT}/y2006/m10/IMG_10000006.jpg"
# A photo whose verdict says nothing of others.
UNDATED = f"{ROOT}/y2018/m10/IMG_10000018.jpg"
COMMANDS = (
    "query",
    "query --sort score",
    "query --year 2010",
    "query --job 1",
    "query --position none",
    "query --country France --year 2010 --min-score 0.9",
    f"similar {PHOTO}",
)
ONCE = (
    "trips",
    "trips --year 2010",
    f"confirm eiffel-tower {UNDATED}",
    f"confirm --withdraw eiffel-tower {UNDATED}",
)
ALL_PHOTOS = ("query --format csv", "db check")
# The library is vacuumed when it is created; later, it would be at any time.
_SERVER_SETTINGS = ("shared_buffers=1GB", "fsync=off", "autovacuum=off")
# The exit code of a check: the older model has no labels.
PROBLEMS = 1
VIEWS = (
    *(
        "/photos",
        "/photos?q=paris",
        "/photos/filter",
        "/photos?untagged=1",
        "/photos?any_rank=1",
    ),
    *("/places", "/map", "/trips", "/review", "/jobs"),
    *("/api/photos", "/api/landmarks", "/api/timeline", "/api/status"),
)
START_TIMEOUT_S = 120.0
POLL_S = 0.02


def main() -> None:
    """Measure what queries and views of the page cost in libraries of growing size."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.growth", description=main.__doc__
    )
    sizes = (10_000, 100_000, 1_000_000)
    help_text = f"at least two sizes, multiples of {JOBS} [{' '.join(map(str, sizes))}]"
    parser.add_argument("--photos", type=int, nargs="+", default=sizes, help=help_text)
    parser.add_argument(
        "--postgresql",
        action="store_true",
        help="measure PostgreSQL in place of SQLite",
    )
    args = parser.parse_args()
    if len(args.photos) < 2 or any(number % JOBS for number in args.photos):
        parser.error(f"--photos: use {help_text}")
    print_heading("Growth with the library")
    columns = [
        _measured(number, on_postgresql=args.postgresql)
        for number in sorted(args.photos)
    ]
    sizes_shown = (f"{number:,} photos" for number in sorted(args.photos))
    rows = [_row(costs) for costs in zip(*columns, strict=True)]
    print(table(("CPU s", *sizes_shown, "growth", ""), rows), flush=True)


@dataclass(frozen=True)
class Cost:
    """`length`: that of the result, in lines and commas, so that larger numbers do not count."""

    name: str
    cpu_s: float
    length: int


@dataclass(frozen=True)
class _Library:
    # A database, with the process of its server, if it has one, and a folder for data.
    url: str
    photos: int
    folder: Path
    server: psutil.Process | None = None

    def server_cpu_s(self) -> float:
        """The CPU time of the database server, with that of sessions that have ended."""
        if self.server is None:
            return 0.0
        sessions = sum(sum(each.cpu_times()[:2]) for each in self.server.children())
        return float(sessions + sum(self.server.cpu_times()[:4]))


def _measured(photos: int, *, on_postgresql: bool) -> list[Cost]:
    note(f"creating {photos} photos")
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="tagger-bench-"))
        )
        if on_postgresql:
            server = stack.enter_context(PostgresServer(_SERVER_SETTINGS))
            url = server.url.replace("postgresql:", "postgresql+psycopg:")
            library = _Library(url, photos, folder, psutil.Process(server.pid))
        else:
            library = _Library(f"sqlite:///{folder}/tagger.sqlite", photos, folder)
        make_library(library.url, photos).close()
        return [*_costs_of_commands(library), *_costs_of_views(library)]


def _costs_of_commands(library: _Library) -> Iterator[Cost]:
    environment = tagger_environment(
        library.folder, database_url=library.url, device="cpu"
    )

    def cost(words: str, options: str = "") -> Cost:
        note(f"tagger {words}")
        before_s = library.server_cpu_s()
        finished = run(
            (*TAGGER, *words.split(), *options.split()),
            environment,
        ).checked(0, PROBLEMS)
        cpu_s = finished.cpu_s + library.server_cpu_s() - before_s
        return Cost(
            words.partition(f" {ROOT}")[0],
            cpu_s,
            _length(finished.out),
        )

    for words in COMMANDS:
        yield _least(cost(words, PAGE) for _ in range(ROUNDS))
    for words in ONCE:
        yield cost(words)
    for words in ALL_PHOTOS:
        yield Cost(
            f"{words}, ms a photo",
            1000 * cost(words).cpu_s / library.photos,
            0,
        )


def _costs_of_views(library: _Library) -> Iterator[Cost]:
    for path in VIEWS:
        note(path)
        costs = [_costs_of_view(library, path) for _ in range(ROUNDS)]
        yield from map(_least, zip(*costs, strict=True))


def _costs_of_view(library: _Library, path: str) -> tuple[Cost, Cost]:
    # The costs of the first response of a new server, and of the next one.
    with running_server(library.url) as server:

        def cost(name: str) -> Cost:
            before_s = server.cpu_s() + library.server_cpu_s()
            body = server.get(path)
            cpu_s = server.cpu_s() + library.server_cpu_s() - before_s
            return Cost(name, cpu_s, _length(body.decode()))

        return cost(path), cost(f"{path}, again")


@dataclass(frozen=True)
class PageServer:
    process: subprocess.Popen[bytes]
    url: str

    def get(self, path: str) -> bytes:
        """Return the body of a view.

        Raises:
            HTTPError: the status is not 200.
        """
        with urllib.request.urlopen(self.url + path, timeout=600.0) as response:
            body: bytes = response.read()
        return body

    def cpu_s(self) -> float:
        """Return the CPU time of the process, including ended threads, more precisely than /proc."""
        # The clock id that clock_getcpuclockid(3), which Python lacks, returns for a process.
        return time.clock_gettime((~self.process.pid << 3) | 2)


@contextmanager
def running_server(database_url: str) -> Iterator[PageServer]:
    """Start `tagger serve` as a user does, with an empty data folder; stop it with SIGTERM at the end."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        log = Path(name) / "serve.log"
        environment = tagger_environment(
            Path(name), database_url=database_url, model=str(SHIPPED), device="cpu"
        )
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*TAGGER, "serve", "--port", "0"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield PageServer(
                process, f"http://127.0.0.1:{_wait_for_port(process, log)}"
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        _, message, rest = log.read_text(errors="replace").partition(
            "the web page is at "
        )
        if message and "\n" in rest:
            return int(
                rest.partition("\n")[0].split()[0].rstrip("/;").rpartition(":")[2]
            )
        time.sleep(POLL_S)
    raise SystemExit(
        f"`tagger serve` did not start:\n{log.read_text(errors='replace')[-2000:]}"
    )


def _least(rounds: Iterable[Cost]) -> Cost:
    return min(rounds, key=attrgetter("cpu_s"))


def _length(result: str) -> int:
    return result.count("\n") + result.count(",")


def _row(costs: Sequence[Cost]) -> list[object]:
    before, last = costs[-2:]
    growth = last.cpu_s / before.cpu_s
    is_equal = abs(last.length - before.length) <= EQUAL * before.length
    verdict = "**FAIL**" if growth > MOST_GROWTH else "pass"
    if not is_equal:
        verdict = "the result grows"
    return [last.name, *(cost.cpu_s for cost in costs), growth, verdict]


if __name__ == "__main__":
    main()
