"""The page in a real Chromium: first contentful paint, and scrolling through a grid of photos.

Users notice frames longer than 50 ms. For comparison, the same page is measured without scrolling, because other load on the
machine also causes long frames.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.page.library import Library
from bench.page.server import Server
from bench.page.views import request_complete
from bench.report import note, value_range

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
WINDOW = {"width": 1440, "height": 900}
PAINT_PATHS = ("/library", "/photos")
SCROLL_PATH = "/photos"
FRAMES_PER_SCREEN = 12
"""Five screens per second at sixty frames per second."""
LONG_FRAME_MS = 50.0
IDLE_FRAMES = 180
PAINT_COLUMNS = ("first contentful paint", "ms", "range")
SCROLL_COLUMNS = (
    "",
    "screens",
    "s",
    "frames",
    f"longer than {LONG_FRAME_MS:.0f} ms",
    "% of time in long frames",
    "longest ms",
    "frames waiting for photos",
    "nodes at the start",
    "maximum nodes",
    "nodes at the end",
    "JS heap MiB at the end",
)

_PAINT = """async () => {
    for (;;) {
        const [paint] = performance.getEntriesByName("first-contentful-paint");
        if (paint) return paint.startTime;
        await new Promise(requestAnimationFrame);
    }
}"""
_SCROLL = """async ([screens, framesPerScreen, idleFrames]) => {
    const nodes = () => document.getElementsByTagName("*").length;
    const [first, target, frames] = [nodes(), screens * innerHeight, []];
    let [waiting, most, last] = [0, first, await new Promise(requestAnimationFrame)];
    const start = last;
    while (screens ? scrollY < target && last - start < 1000 * (screens + 60) : frames.length < idleFrames) {
        const before = scrollY;
        if (screens) {
            scrollBy({ top: innerHeight / framesPerScreen, behavior: "instant" });
            if (scrollY === before) waiting++;
        }
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
        most = Math.max(most, nodes());
    }
    return { screens: scrollY / innerHeight, frames, waiting, first, most, end: nodes() };
}"""


@dataclass(frozen=True)
class Scrolling:
    """A page during scrolling or without it. `waiting`: frames at the end of the page, while more photos were loading."""

    name: str
    screens: float
    frames_ms: list[float]
    waiting: int
    start_nodes: int
    max_nodes: int
    end_nodes: int
    heap_mib: float

    def row(self) -> list[object]:
        long_frames_ms = [frame_ms for frame_ms in self.frames_ms if frame_ms > LONG_FRAME_MS]
        total_ms = sum(self.frames_ms)
        nodes = (self.start_nodes, self.max_nodes, self.end_nodes)
        times = (
            total_ms / 1000,
            len(self.frames_ms),
            len(long_frames_ms),
            100 * sum(long_frames_ms) / total_ms,
        )
        return [
            self.name,
            round(self.screens),
            *times,
            max(self.frames_ms),
            self.waiting,
            *nodes,
            self.heap_mib,
        ]


@dataclass(frozen=True)
class BrowserTiming:
    """`paints_ms` has the first contentful paint of each round by path."""

    version: str
    paints_ms: Mapping[str, list[float]]
    scrolling: list[Scrolling]

    def paint_rows(self) -> list[list[object]]:
        return [[path, median(times), value_range(times)] for path, times in self.paints_ms.items()]

    def as_json(self) -> dict[str, object]:
        return {
            "version": self.version,
            "first_contentful_paint_ms": dict(self.paints_ms),
            "scrolling": [asdict(each) for each in self.scrolling],
        }


def missing_requirement() -> str | None:
    """Return what is missing to run a browser; None if nothing is."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: make setup installs it"
    return None if _program() else "there is no Chromium on this machine"


def measure_browser(library: Library, rounds: int, screens: int, settings: dict[str, str]) -> BrowserTiming:
    """Measure paints with an empty browser cache, and a grid whose thumbnails are created first and cached then."""
    with library.new_server(settings) as server, browser_process() as browser:
        for path in PAINT_PATHS:
            request_complete(server, path)
        paints_ms: dict[str, list[float]] = {path: [] for path in PAINT_PATHS}
        for number in range(rounds):
            note(f"first paints: round {number + 1} of {rounds}")
            for path, times in paints_ms.items():
                with browser_window(browser, server, path) as page:
                    times.append(page.evaluate(_PAINT))
        scrolling = []
        for name, count in (
            ("without scrolling", 0),
            ("thumbnails created", screens),
            ("thumbnails cached", screens),
        ):
            note(f"a grid, {name}")
            with browser_window(browser, server, SCROLL_PATH) as page:
                scrolling.append(_scroll(page, name, count))
        return BrowserTiming(browser.version, paints_ms, scrolling)


def _scroll(page: "Page", name: str, screens: int) -> Scrolling:
    session = page.context.new_cdp_session(page)
    page.wait_for_load_state("networkidle")
    result = page.evaluate(_SCROLL, [screens, FRAMES_PER_SCREEN, IDLE_FRAMES])
    page.wait_for_load_state("networkidle")
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")
    return Scrolling(
        name=name,
        screens=result["screens"],
        frames_ms=result["frames"],
        waiting=result["waiting"],
        start_nodes=result["first"],
        max_nodes=result["most"],
        end_nodes=result["end"],
        heap_mib=heap["usedSize"] / 2**20,
    )


@contextmanager
def browser_process() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def browser_window(browser: "Browser", server: Server, path: str) -> Iterator["Page"]:
    """Open a page in a new window with an empty cache."""
    window: Any = dict(WINDOW)
    context = browser.new_context(viewport=window, base_url=server.url)
    try:
        page = context.new_page()
        page.goto(path)
        yield page
    finally:
        context.close()


def _program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
