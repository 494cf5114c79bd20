"""Measures the web page of a large library: response times and CPU time of its views.

    python -m bench.page [--photos 100000] [--rounds 5]
    python -m bench.page --phone http://127.0.0.1:8080/photos

Creates a SQLite database with so many photos (see tests/rig/large_library.py), and sends requests to a real
`tagger serve`: each view as the first response of a new server, and repeatedly. With --phone, it opens a view
of your own page as a phone on a slow line.
"""

import argparse
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from playwright.sync_api import BrowserContext, sync_playwright

from bench.processes import SHIPPED, TAGGER, tagger_environment
from bench.report import note, print_heading, print_table
from tagger.database.connection import Database
from tagger.query.counts import landmark_counts
from tagger.query.cursors import encode_cursor
from tagger.query.find import find_tagged_page
from tagger.query.options import PhotoQuery
from tests.rig.large_library import JOBS, ROOT, make_library

TARGET_MS = 300.0
INCOMPLETE = (b"Photos are being counted", b"Covers are being chosen")
"""A page with one of these texts reloads after a second, until it has its numbers."""
RELOAD_S = 1.0
PAGE_SIZE = 1000
FAR = 100_000
"""Photos before "a middle page", or a third of a smaller library."""
START_TIMEOUT_S = 120.0
RESPONSE_TIMEOUT_S = 600.0
POLL_S = 0.02
LINE_BYTES_S, LATENCY_MS, CPU_SLOWDOWN = 50_000, 100, 4
"""A slow line, and how much slower a phone is than this machine."""
FIRST_SCREEN = """() => document.readyState !== "loading" && [...document.images].every((image) => {
  const { top, bottom, width } = image.getBoundingClientRect();
  return top > innerHeight || bottom < 0 || !width || (image.complete && image.naturalWidth);
})"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
COLUMNS = (
    *("view", "cold ms", "complete ms", "warm ms", "minimum ms", "maximum ms", "CPU ms"),
    f"minimum within {TARGET_MS:.0f} ms",
)


def main() -> None:
    """Measure the web page over a large library."""
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=main.__doc__)
    parser.add_argument("--photos", type=int, default=100_000, help=f"a multiple of {JOBS} [100000]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument(
        "--phone", metavar="ADDRESS", help="a view of a running page, as a phone on a slow line loads it"
    )
    args = parser.parse_args()
    if args.phone:
        print_heading("The page on a slow line")
        measure_phone(args.phone, args.rounds)
        return
    if args.photos % JOBS:
        parser.error(f"--photos: use a multiple of {JOBS}")
    print_heading("The page")
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        note(f"creating {args.photos} photos")
        url = f"sqlite:///{name}/tagger.sqlite"
        with closing(make_library(url, args.photos)) as database:
            views = views_of(database, args.photos)
        timings = measure(url, views, args.rounds)
    print_table(COLUMNS, [each.row() for each in timings])
    print(f"Cold: the first response of a new server. Warm: medians of {args.rounds} rounds over all views.")
    print("The minimum is compared with the target, because other load on the machine slows some rounds.\n")


@dataclass
class ViewTiming:
    """The responses of a view. `complete_s` is the time until a new server's page has all its numbers."""

    view: str
    path: str
    cold_s: float = 0.0
    complete_s: float = 0.0
    warm_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def row(self) -> list[object]:
        warm = (median(self.warm_ms), min(self.warm_ms), max(self.warm_ms), median(self.cpu_ms))
        is_within = "yes" if min(self.warm_ms) <= TARGET_MS else "**no**"
        return [self.view, self.cold_s * 1000, self.complete_s * 1000, *warm, is_within]


def measure(url: str, views: dict[str, str], rounds: int) -> Sequence[ViewTiming]:
    """Time each view: cold, with a new server for each, and warm, all views in each round with one server."""
    timings = [ViewTiming(view, path) for view, path in views.items()]
    for number, timing in enumerate(timings, start=1):
        note(f"view {number} of {len(timings)}, cold: {timing.view}")
        with running_server(url) as server:
            start = time.perf_counter()
            server.get(timing.path)
            timing.cold_s = time.perf_counter() - start
            server.get_complete(timing.path)
            timing.complete_s = time.perf_counter() - start
    with running_server(url) as server:
        for timing in timings:
            server.get_complete(timing.path)
        note("all views, warm")
        for _ in range(rounds):
            for timing in timings:
                start, cpu_before_s = time.perf_counter(), server.cpu_s()
                server.get(timing.path)
                timing.warm_ms.append((time.perf_counter() - start) * 1000)
                timing.cpu_ms.append((server.cpu_s() - cpu_before_s) * 1000)
    return timings


@dataclass(frozen=True)
class Server:
    """A running `tagger serve`."""

    process: subprocess.Popen[bytes]
    url: str

    def get(self, path: str) -> bytes:
        """Return the body of a view.

        Raises:
            HTTPError: the status is not 200.
        """
        with urllib.request.urlopen(self.url + path, timeout=RESPONSE_TIMEOUT_S) as response:
            body: bytes = response.read()
        return body

    def get_complete(self, path: str) -> None:
        """Request a view until it has its numbers."""
        while any(text in self.get(path) for text in INCOMPLETE):
            time.sleep(RELOAD_S)

    def cpu_s(self) -> float:
        """Return the CPU time of the process, including ended threads, more precisely than /proc."""
        # The clock id that clock_getcpuclockid(3), which Python lacks, returns for a process.
        return time.clock_gettime((~self.process.pid << 3) | 2)


@contextmanager
def running_server(database_url: str) -> Iterator[Server]:
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
            yield Server(process, f"http://127.0.0.1:{_wait_for_port(process, log)}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        _, message, rest = log.read_text(errors="replace").partition("the web page is at ")
        if message and "\n" in rest:
            return int(rest.partition("\n")[0].split()[0].rstrip("/;").rpartition(":")[2])
        time.sleep(POLL_S)
    raise SystemExit(f"`tagger serve` did not start:\n{log.read_text(errors='replace')[-2000:]}")


def measure_phone(address: str, rounds: int) -> None:
    """Print when a view is painted, and its first screen complete, on a phone with an empty cache."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
        )
        loads = [
            _load_slowly(browser.new_context(**playwright.devices["iPhone 13"]), address)
            for _ in range(rounds)
        ]
        browser.close()
    rows = [(f"round {number}", *times) for number, (times, _) in enumerate(loads, start=1)]
    medians = [median(column) for column in zip(*(times for times, _ in loads), strict=True)]
    print_table(("", "first paint s", "first screen s", "loaded s"), [*rows, ("median", *medians)])
    _, sizes = loads[-1]
    print_table(("until the first screen", "KB"), [(kind, size / 1000) for kind, size in sizes.most_common()])


def _load_slowly(context: BrowserContext, address: str) -> tuple[tuple[float, ...], Counter[str]]:
    """Return the three times, and the bytes of each kind of response until the second."""
    page = context.new_page()
    devices = context.new_cdp_session(page)
    kinds: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    devices.on("Network.requestWillBeSent", lambda event: kinds.update({event["requestId"]: event["type"]}))
    devices.on(
        "Network.dataReceived",
        lambda event: sizes.update({kinds[event["requestId"]]: event["encodedDataLength"]}),
    )
    devices.send("Network.enable")
    line = {"latency": LATENCY_MS, "downloadThroughput": LINE_BYTES_S, "uploadThroughput": LINE_BYTES_S}
    devices.send("Network.emulateNetworkConditions", {"offline": False, **line})
    devices.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWDOWN})
    start = time.perf_counter()
    page.goto(address, wait_until="commit", timeout=60_000)
    page.wait_for_function(FIRST_SCREEN, polling=50, timeout=60_000)
    seconds, until_then = time.perf_counter() - start, sizes.copy()
    page.wait_for_function("() => document.readyState === 'complete'", polling=50, timeout=60_000)
    times = page.evaluate(PAINTED) / 1000, seconds, time.perf_counter() - start
    context.close()
    return times, until_then


def views_of(database: Database, photos: int) -> dict[str, str]:
    """Return the paths of the views of a library of so many photos, by name."""
    counts = landmark_counts(database)
    landmark = counts[0].landmark
    country = {"country": next(each.country for each in counts if each.country)}
    after, photo_id = _middle_page(database, photos, PhotoQuery(sort="newest", distinct=True))
    api_after, _ = _middle_page(database, photos, PhotoQuery())
    month = {"taken_after": "2001-03-01", "taken_before": "2001-04-01"}
    folder = {"under": str(ROOT / "y2010" / "m15")}
    return {
        "/try": "/try",
        "/places": "/places",
        "/map": "/map",
        "/search, nothing understood": "/search?q=qwertz",
        "/photos?unknown=1": "/photos?unknown=1",
        "/review": "/review",
        "/trips": "/trips",
        "/photos": "/photos",
        "/photos, all classified": "/photos?any_rank=1",
        "/photos, a middle page": f"/photos?{urlencode(after)}",
        "/landmarks/…, the most photos": f"/landmarks/{landmark}",
        "/landmarks/…, the fewest photos": f"/landmarks/{counts[-1].landmark}",
        "/photos, a country": f"/photos?{urlencode(country)}",
        "/photos, a month": f"/photos?{urlencode(month)}",
        "/photos, a folder": f"/photos?{urlencode(folder)}",
        "/photos, a month of a landmark": f"/photos?{urlencode({**month, 'landmark': landmark})}",
        "/photos, untagged": "/photos?untagged=1",
        "/photos/…": f"/photos/{photo_id}",
        "/photos/…/details": f"/photos/{photo_id}/details",
        "/jobs": "/jobs",
        "/api/photos": "/api/photos",
        "/api/photos, a middle page": f"/api/photos?{urlencode(api_after)}",
        "/api/landmarks": "/api/landmarks",
        "/api/timeline": "/api/timeline",
        "/api/status": "/api/status",
    }


def _middle_page(database: Database, photos: int, query: PhotoQuery) -> tuple[dict[str, str], int]:
    """Return the option for a page in the middle of a query's photos, and the page's first photo."""
    note("reading photos to get a cursor")
    size = min(PAGE_SIZE, photos // 10)
    page = find_tagged_page(database, query, None, None, size)
    for _ in range(min(photos // 3, FAR) // size):
        if page.next is not None:
            page = find_tagged_page(database, query, None, page.next, size)
    if page.next is None:
        raise SystemExit("there are too few photos for a page in the middle; increase --photos")
    following = find_tagged_page(database, query, None, page.next, 1)
    return {"after": encode_cursor(page.next, query)}, following.photos[0].id


if __name__ == "__main__":
    main()
