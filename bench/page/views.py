"""Each view of the page and of the API: as the first response of a new server, and repeatedly."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlencode

from bench.page.library import Library, Response, Server
from bench.report import note, print_table
from tagger.library.query.find import encode_cursor, find_tagged_page
from tagger.library.query.options import PhotoQuery

TARGET_MS = 300.0
INCOMPLETE = (b"Photos are being counted", b"Covers are being chosen")
"""A page with one of these texts reloads after a second, until it has its numbers."""
RELOAD_S = 1.0
PAGE_SIZE = 1000
FAR = 100_000
"""Photos before "a middle page", or a third of a smaller library: a page costs the same wherever it begins."""
VIEW_COLUMNS = (
    "view",
    "cold: first byte ms",
    "total ms",
    "complete ms",
    "warm: first byte ms",
    "total ms",
    "minimum ms",
    "maximum ms",
    "CPU ms",
    "KiB",
    "peak MiB",
    f"minimum within {TARGET_MS:.0f} ms",
)


@dataclass(frozen=True)
class View:
    name: str
    path: str


@dataclass
class ViewTiming:
    """The responses of a view. `complete_s` is the time until the page has all its numbers."""

    view: View
    cold: Response
    complete_s: float
    peak_mib: float
    warm: list[Response] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def row(self) -> list[object]:
        first_byte_ms = median(response.first_byte_s * 1000 for response in self.warm)
        cold = (self.cold.first_byte_s * 1000, self.cold.total_s * 1000, self.complete_s * 1000)
        warm_ms = [response.total_s * 1000 for response in self.warm]
        warm = (first_byte_ms, median(warm_ms), min(warm_ms), max(warm_ms), median(self.cpu_ms))
        size = (len(self.cold.body) / 1024, round(self.peak_mib))
        return [self.view.name, *cold, *warm, *size, "yes" if min(warm_ms) <= TARGET_MS else "**no**"]


def measure_views(library: Library, rounds: int, settings: Mapping[str, str]) -> None:
    """Print the times of each view: cold, with a new server for each, and warm, all views in each round with one server."""
    timings = []
    views = views_of(library)
    for number, view in enumerate(views, start=1):
        note(f"view {number} of {len(views)}, cold: {view.name}")
        with library.new_server(settings) as server:
            cold, complete_s = request_complete(server, view.path)
            timings.append(ViewTiming(view, cold, complete_s, server.peak_mib()))
    with library.new_server(settings) as server:
        for view in views:
            request_complete(server, view.path)
        for number in range(rounds):
            note(f"all views, warm: round {number + 1} of {rounds}")
            for timing in timings:
                cpu_before_s = server.cpu_s()
                timing.warm.append(server.get(timing.view.path))
                timing.cpu_ms.append((server.cpu_s() - cpu_before_s) * 1000)
    print(f"### {library.photos} photos: {len(library.counts)} landmarks\n")
    print_table(VIEW_COLUMNS, [each.row() for each in timings])
    print(f"Cold: the first response of a new server. Warm: medians of {rounds} rounds over all views.\n")
    print(
        "The minimum is compared with the target, because other load on the machine slows some rounds down.\n"
    )


def request_complete(server: Server, path: str) -> tuple[Response, float]:
    """Request a view until it has its numbers; return the first response, and the seconds until the complete one."""
    start = time.perf_counter()
    first = response = server.get(path)
    while any(text in response.body for text in INCOMPLETE):
        time.sleep(RELOAD_S)
        response = server.get(path)
    return first, time.perf_counter() - start


def views_of(library: Library) -> list[View]:
    """Return the views of this library."""
    landmark = library.counts[0].landmark
    country = {"country": next(each.country for each in library.counts if each.country)}
    after, photo_id = _middle_page(library, PhotoQuery(sort="newest", distinct=True))
    api_after, _ = _middle_page(library, PhotoQuery())
    month = {"taken_after": "2001-03-01", "taken_before": "2001-04-01"}
    folder = {"under": str(library.root / "y2010" / "m15")}
    return [
        View("/try", "/try"),
        View("/places", "/places"),
        View("/map", "/map"),
        View("/search, nothing understood", "/search?q=qwertz"),
        View("/review/unknown", "/review/unknown"),
        View("/review", "/review"),
        View("/trips", "/trips"),
        View("/photos", "/photos"),
        View("/photos, all classified", "/photos?any_rank=1"),
        View("/photos, a middle page", f"/photos?{urlencode(after)}"),
        View("/landmarks/…, the most photos", f"/landmarks/{landmark}"),
        View("/landmarks/…, the fewest photos", f"/landmarks/{library.counts[-1].landmark}"),
        View("/photos, a country", f"/photos?{urlencode(country)}"),
        View("/photos, a month", f"/photos?{urlencode(month)}"),
        View("/photos, a folder", f"/photos?{urlencode(folder)}"),
        View("/photos, a month of a landmark", f"/photos?{urlencode({**month, 'landmark': landmark})}"),
        View("/photos, untagged", "/photos?untagged=1"),
        View("/photos/…", f"/photos/{photo_id}"),
        View("/photos/…/details", f"/photos/{photo_id}/details"),
        View("/jobs", "/jobs"),
        View("/api/photos", "/api/photos"),
        View("/api/photos, a middle page", f"/api/photos?{urlencode(api_after)}"),
        View("/api/landmarks", "/api/landmarks"),
        View("/api/timeline", "/api/timeline"),
        View("/api/status", "/api/status"),
    ]


def _middle_page(library: Library, query: PhotoQuery) -> tuple[dict[str, str], int]:
    """Return the option for a page in the middle of the photos that a query finds, and the page's first photo."""
    note("reading photos to get a cursor")
    size = min(PAGE_SIZE, library.photos // 10)
    with library.opened() as database:
        page = find_tagged_page(database, query, None, None, size)
        for _ in range(min(library.photos // 3, FAR) // size):
            if page.next is not None:
                page = find_tagged_page(database, query, None, page.next, size)
        if page.next is None:
            raise SystemExit("there are too few photos for a page in the middle; increase --photos")
        following = find_tagged_page(database, query, None, page.next, 1)
    return {"after": encode_cursor(page.next, query)}, following.photos[0].id
