"""What people see of it: a real Chromium, how soon something is painted, and a grid scrolled through.

A frame longer than 50 ms is one that is felt. How many of them the machine makes by itself is measured beside it: the same
page, standing still.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.report import note, value_range
from bench.serving.library import Library
from bench.serving.server import Server
from bench.serving.views import started, until_counted

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
WINDOW = {"width": 1440, "height": 900}
PAINTED = ("/library", "/photos")
SCROLLED = "/photos"
FRAMES_A_SCREEN = 12
"""Five screens a second, where a second has sixty frames: as fast as one looks."""
LONG_MS = 50.0
STILL_FRAMES = 180
PAINT_TITLES = ("first contentful paint", "ms", "range")
SCROLL_TITLES = (
    "",
    "screens",
    "s",
    "frames",
    f"longer than {LONG_MS:.0f} ms",
    "% of time in them",
    "longest ms",
    "without a photo to show",
    "nodes at first",
    "nodes at most",
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
_SCROLL = """async ([screens, framesAScreen, stillFrames]) => {
    const nodes = () => document.getElementsByTagName("*").length;
    const [first, goal, frames] = [nodes(), screens * innerHeight, []];
    let [stuck, most, last] = [0, first, await new Promise(requestAnimationFrame)];
    const began = last;
    while (screens ? scrollY < goal && last - began < 1000 * (screens + 60) : frames.length < stillFrames) {
        const before = scrollY;
        if (screens) {
            scrollBy({ top: innerHeight / framesAScreen, behavior: "instant" });
            if (scrollY === before) stuck++;
        }
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
        most = Math.max(most, nodes());
    }
    return { screens: scrollY / innerHeight, frames, stuck, first, most, end: nodes() };
}"""


@dataclass(frozen=True)
class Scrolled:
    """A page scrolled through, or left alone. `stuck`: frames in which it was at its end, waiting for more photos."""

    name: str
    screens: float
    frames_ms: list[float]
    stuck: int
    first_nodes: int
    most_nodes: int
    end_nodes: int
    heap_mib: float

    def row(self) -> list[object]:
        long_ms = [each for each in self.frames_ms if each > LONG_MS]
        total_ms = sum(self.frames_ms)
        nodes = (self.first_nodes, self.most_nodes, self.end_nodes)
        times = (total_ms / 1000, len(self.frames_ms), len(long_ms), 100 * sum(long_ms) / total_ms)
        return [
            self.name,
            round(self.screens),
            *times,
            max(self.frames_ms),
            self.stuck,
            *nodes,
            self.heap_mib,
        ]


@dataclass(frozen=True)
class Seen:
    """`paints` are milliseconds by address, of each round."""

    version: str
    paints: Mapping[str, list[float]]
    scrolled: list[Scrolled]

    def paint_rows(self) -> list[list[object]]:
        return [[address, median(each), value_range(each)] for address, each in self.paints.items()]

    def as_json(self) -> dict[str, object]:
        return {
            "version": self.version,
            "first_contentful_paint_ms": dict(self.paints),
            "scrolled": [asdict(each) for each in self.scrolled],
        }


def why_not() -> str | None:
    """What is missing to look at the page with; None: nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: make setup installs it"
    return None if _program() else "there is no Chromium on this machine"


def measure_browser(library: Library, rounds: int, screens: int, settings: dict[str, str]) -> Seen:
    """Paints with nothing in the browser's cache; a grid whose thumbnails have to be made, then the same again."""
    with started(library, settings) as server, _browser() as browser:
        paints: dict[str, list[float]] = {address: [] for address in PAINTED}
        for address in PAINTED:
            until_counted(server, address)
        for number in range(rounds):
            note(f"first paints: round {number + 1} of {rounds}")
            for address, each in paints.items():
                with _page(browser, server, address) as page:
                    each.append(page.evaluate(_PAINT))
        scrolled = []
        for name, count in (
            ("standing still", 0),
            ("thumbnails made", screens),
            ("thumbnails there", screens),
        ):
            note(f"a grid, {name}")
            with _page(browser, server, SCROLLED) as page:
                scrolled.append(_scrolled(page, name, count))
        return Seen(browser.version, paints, scrolled)


def _scrolled(page: "Page", name: str, screens: int) -> Scrolled:
    asking = page.context.new_cdp_session(page)
    page.wait_for_load_state("networkidle")
    came = page.evaluate(_SCROLL, [screens, FRAMES_A_SCREEN, STILL_FRAMES])
    page.wait_for_load_state("networkidle")
    asking.send("HeapProfiler.collectGarbage")
    heap = asking.send("Runtime.getHeapUsage")
    return Scrolled(
        name=name,
        screens=came["screens"],
        frames_ms=came["frames"],
        stuck=came["stuck"],
        first_nodes=came["first"],
        most_nodes=came["most"],
        end_nodes=came["end"],
        heap_mib=heap["usedSize"] / 2**20,
    )


@contextmanager
def _browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=list(OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _page(browser: "Browser", server: Server, address: str) -> Iterator["Page"]:
    """In a window of its own, with an empty cache."""
    window: Any = dict(WINDOW)
    context = browser.new_context(viewport=window, base_url=server.address)
    try:
        page = context.new_page()
        page.goto(address)
        yield page
    finally:
        context.close()


def _program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)
