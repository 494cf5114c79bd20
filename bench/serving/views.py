"""Each view of the page, and of the API: as a server's first answer, and again and again."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from bench.report import note
from bench.serving.library import Library
from bench.serving.server import Answer, Server, serving
from tagger.database.connection import open_database
from tagger.query import PhotoQuery, find_tagged_page
from tagger.query.cursors import encode_cursor

TARGET_MS = 300.0
COUNTING = (b"Photos are being counted", b"Covers are being chosen")
"""A page that says one of these asks for itself again after a second, until it has the numbers."""
ASKED_AGAIN_S = 1.0


@dataclass(frozen=True)
class View:
    name: str
    address: str


@dataclass
class Timed:
    """A view's times. `counted_s`: from the first request until the page has all its numbers."""

    view: View
    cold: Answer
    counted_s: float
    peak_mib: float
    ready_s: float
    warm: list[Answer] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def warm_ms(self) -> list[float]:
        return [answer.whole_s * 1000 for answer in self.warm]

    def row(self) -> list[object]:
        first_ms = median(answer.first_s * 1000 for answer in self.warm)
        cold = (self.cold.first_s * 1000, self.cold.whole_s * 1000, self.counted_s * 1000)
        warm = (first_ms, median(self.warm_ms), min(self.warm_ms), max(self.warm_ms), median(self.cpu_ms))
        size = (len(self.cold.body) / 1024, round(self.peak_mib))
        return [self.view.name, *cold, *warm, *size, "yes" if min(self.warm_ms) <= TARGET_MS else "**no**"]

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.view.name,
            "cold_first_ms": self.cold.first_s * 1000,
            "cold_ms": self.cold.whole_s * 1000,
            "cold_counted_ms": self.counted_s * 1000,
            "warm_first_ms": [answer.first_s * 1000 for answer in self.warm],
            "warm_ms": self.warm_ms,
            "warm_cpu_ms": self.cpu_ms,
            "bytes": len(self.cold.body),
            "peak_mib": self.peak_mib,
            "ready_s": self.ready_s,
        }


TITLES = (
    "view",
    "cold: first byte ms",
    "whole ms",
    "counted ms",
    "warm: first byte ms",
    "whole ms",
    "least ms",
    "most ms",
    "CPU ms",
    "KiB",
    "peak MiB",
    f"least within {TARGET_MS:.0f} ms",
)


def measure_views(
    library: Library, views: Sequence[View], rounds: int, settings: dict[str, str]
) -> list[Timed]:
    """Cold, each view from a server of its own; warm, all of them in turn from one server."""
    timed = []
    for number, view in enumerate(views, start=1):
        note(f"view {number} of {len(views)}, cold: {view.name}")
        with started(library, settings) as server:
            cold, counted_s = until_counted(server, view.address)
            timed.append(Timed(view, cold, counted_s, server.peak_mib(), server.ready_s))
    with started(library, settings) as server:
        for view in views:
            until_counted(server, view.address)
        for number in range(rounds):
            note(f"all views, warm: round {number + 1} of {rounds}")
            for each in timed:
                before_s = server.cpu_s()
                each.warm.append(server.get(each.view.address))
                each.cpu_ms.append((server.cpu_s() - before_s) * 1000)
    return timed


@contextmanager
def started(library: Library, settings: dict[str, str]) -> Iterator[Server]:
    """A server that nobody has asked anything, with nothing in its data folder."""
    with TemporaryDirectory(prefix="tagger-bench-") as data:
        environment = library.environment(Path(data), **settings)
        with serving(environment, Path(data)) as server:
            yield server


def until_counted(server: Server, address: str) -> tuple[Answer, float]:
    """The first answer, and when an answer was complete."""
    began = time.perf_counter()
    first = answer = server.get(address)
    while any(words in answer.body for words in COUNTING):
        time.sleep(ASKED_AGAIN_S)
        answer = server.get(address)
    return first, time.perf_counter() - began


def views_of(library: Library) -> list[View]:
    """What there is to look at in this library."""
    most, country = library.counts[0].landmark, next(each.country for each in library.counts if each.country)
    after, middle = _deep_page(library)
    cursor = {"after": after}
    month = {"taken_after": "2001-03-01", "taken_before": "2001-04-01"}
    folder = {"under": str(library.root / "y2010" / "m15")}
    return [
        View("/", "/"),
        View("/library", "/library"),
        View("/library, one country", f"/library?{urlencode({'country': country})}"),
        View("/map", "/map"),
        View("/search", "/search?q=tower"),
        View("/unknown", "/unknown"),
        View("/photos", "/photos"),
        View("/photos, all looked at", "/photos?any_rank=1"),
        View("/photos, amid", f"/photos?{urlencode(cursor)}"),
        View("/landmarks/…, the most photos", f"/landmarks/{most}"),
        View("/landmarks/…, the fewest", f"/landmarks/{library.counts[-1].landmark}"),
        View("/photos, a country", f"/photos?{urlencode({'country': country})}"),
        View("/photos, a month", f"/photos?{urlencode(month)}"),
        View("/photos, a folder", f"/photos?{urlencode(folder)}"),
        View("/photos, a month of a landmark", f"/photos?{urlencode({**month, 'landmark': most})}"),
        View("/photos, never looked at", "/photos?untagged=1"),
        View("/photos/…, amid", f"/photos/{middle}"),
        View("/photos/…, with its neighbours", f"/photos/{middle}?{urlencode({'within': 1, **cursor})}"),
        View("/jobs", "/jobs"),
        View("/api/photos", "/api/photos"),
        View("/api/photos, amid", f"/api/photos?{urlencode(cursor)}"),
        View("/api/landmarks", "/api/landmarks"),
    ]


def _deep_page(library: Library) -> tuple[str, int]:
    """The cursor of a page in the middle of all photos, and the first photo in it."""
    note("going to the middle, page by page")
    database, query = open_database(library.url), PhotoQuery()
    try:
        page = find_tagged_page(database, query, None, None, _page(library))
        while page.next and page.photos[-1].id < library.photos // 2:
            page = find_tagged_page(database, query, None, page.next, _page(library))
        if page.next is None:
            raise SystemExit("there are too few photos for a page in the middle; take more with --photos")
        following = find_tagged_page(database, query, None, page.next, 1)
    finally:
        database.close()
    return encode_cursor(page.next, query), following.photos[0].id


def _page(library: Library) -> int:
    return min(1000, library.photos // 10)


@dataclass(frozen=True)
class Export:
    """All photos as CSV."""

    answer: Answer
    cpu_s: float
    peak_mib: float

    @property
    def rows(self) -> int:
        return self.answer.body.count(b"\n") - 1

    def row(self) -> list[object]:
        return [
            "/api/photos.csv",
            self.rows,
            self.answer.first_s * 1000,
            self.answer.whole_s,
            self.rows / self.answer.whole_s,
            self.cpu_s,
            round(self.peak_mib),
        ]

    def as_json(self) -> dict[str, object]:
        return {
            "rows": self.rows,
            "first_ms": self.answer.first_s * 1000,
            "s": self.answer.whole_s,
            "cpu_s": self.cpu_s,
            "peak_mib": self.peak_mib,
        }


EXPORT_TITLES = ("export", "rows", "first byte ms", "s", "rows/s", "CPU s", "peak MiB")


def measure_export(library: Library, settings: dict[str, str]) -> Export:
    """The whole export, by a server that did nothing before."""
    note("everything as CSV")
    with started(library, settings) as server:
        before_s = server.cpu_s()
        answer = server.get("/api/photos.csv")
        return Export(answer, server.cpu_s() - before_s, server.peak_mib())
