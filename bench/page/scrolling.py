"""Scrolling through a grid of photos in a browser.

Users notice frames longer than 50 ms. For comparison, the same page is measured without scrolling, because other load on the
machine also causes long frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.page.browsers import Browser, Window, wait_until_quiet
from bench.page.library import Library
from bench.page.views import request_complete
from bench.report import note

PATH = "/photos"
FRAMES_PER_SCREEN = 12
"""Five screens per second at sixty frames per second."""
LONG_FRAME_MS = 50.0
IDLE_FRAMES = 180
COLUMNS = (
    "",
    "browser",
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
)

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
    browser: str
    screens: float
    frames_ms: list[float]
    waiting: int
    start_nodes: int
    max_nodes: int
    end_nodes: int

    def row(self) -> list[object]:
        """A row of a table with COLUMNS."""
        long_frames_ms = [frame_ms for frame_ms in self.frames_ms if frame_ms > LONG_FRAME_MS]
        total_ms = sum(self.frames_ms)
        times = (
            total_ms / 1000,
            len(self.frames_ms),
            len(long_frames_ms),
            100 * sum(long_frames_ms) / total_ms,
            max(self.frames_ms),
        )
        nodes = (self.start_nodes, self.max_nodes, self.end_nodes)
        return [self.name, self.browser, round(self.screens), *times, self.waiting, *nodes]


def measure_scrolling(
    library: Library, browsers: Mapping[str, Browser], screens: int, settings: Mapping[str, str]
) -> list[Scrolling]:
    """Measure a grid whose thumbnails the server creates first and has cached then, and the grid without scrolling."""
    scrolling = []
    for browser_name, browser in browsers.items():
        with library.new_server(dict(settings)) as server:
            request_complete(server, PATH)
            for name, count in (
                ("without scrolling", 0),
                ("thumbnails created", screens),
                ("thumbnails cached", screens),
            ):
                note(f"a grid in {browser_name}, {name}")
                with browser.window(server.url + PATH) as window:
                    wait_until_quiet(window)
                    scrolling.append(_scroll(window, name, browser_name, count))
    return scrolling


def _scroll(window: Window, name: str, browser: str, screens: int) -> Scrolling:
    result = window.evaluate(_SCROLL, [screens, FRAMES_PER_SCREEN, IDLE_FRAMES])
    return Scrolling(
        name=name,
        browser=browser,
        screens=result["screens"],
        frames_ms=result["frames"],
        waiting=result["waiting"],
        start_nodes=result["first"],
        max_nodes=result["most"],
        end_nodes=result["end"],
    )
