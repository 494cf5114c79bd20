"""What a user of Chromium waits for: the first paint, the map, thumbnails, and the next photo.

Each time is measured in the page, since a driver takes some milliseconds of its own.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.page.library import Library
from bench.page.views import request_complete
from bench.report import note, print_table, value_range

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
WINDOW: Any = {"width": 1440, "height": 900}
GRID = "/photos"
FRAMES_PER_SCREEN = 12
"""Five screens per second at sixty frames per second."""
LONG_FRAME_MS = 50.0
"""Users notice longer frames."""
IDLE_FRAMES = 180
LIGHTBOX_TARGET_MS = 100.0
"""A response within this time seems immediate."""
LIGHTBOX_STEPS = 10
"""Photos to step through in a round."""
FAR = 6
"""Photos so far away in the filmstrip are not preloaded."""
_QUIET_MS = 500
_IS_QUIET = """async (quietMs) => {
    const count = () => performance.getEntriesByType("resource").length;
    for (let before = -1; before !== count();) {
        before = count();
        await new Promise((resolve) => setTimeout(resolve, quietMs));
    }
}"""
_PAINT = """async () => {
    for (;;) {
        const [paint] = performance.getEntriesByName("first-contentful-paint");
        if (paint) return [paint.startTime];
        await new Promise(requestAnimationFrame);
    }
}"""
_MAP = """async () => {
    const webGL = () => document.createElement("canvas").getContext("webgl2");
    while (!document.querySelector(".map-live [data-photos]")) {
        if (document.readyState === "complete" && !webGL()) return [];
        await new Promise(requestAnimationFrame);
    }
    return [performance.now()];
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
    return { screens: scrollY / innerHeight, frames, waiting, nodes: [first, most, nodes()] };
}"""
_OPEN_LIGHTBOX = """async () => {
    performance.setResourceTimingBufferSize(100_000);
    document.querySelector("[data-grid] [data-photo] > a").click();
    while (!document.querySelector("#lightbox [data-stage] img")) await new Promise(requestAnimationFrame);
}"""
_STEPS = """async ([count, far]) => {
    const frame = () => new Promise(requestAnimationFrame);
    const link = (step) => {
        let item = document.querySelector("#lightbox [aria-current]").parentElement;
        for (let at = 0; item && at < step; at++) item = item.nextElementSibling;
        return item?.firstElementChild;
    };
    const photoOf = (link) => new URL(link.href).pathname.split("/")[2];
    const isLoaded = (photo) => performance.getEntriesByType("resource").some(({ name }) => name.includes(`/photos/${photo}/preview`));
    const isShown = (photo) => {
        const image = document.querySelector("#lightbox [data-stage] img");
        return location.pathname === `/photos/${photo}` && image?.complete && image.naturalWidth > 0;
    };
    const times = [];
    while (times.length < count) {
        const next = link(far || 1);
        if (!next) break;
        const photo = photoOf(next);
        while (!far && !isLoaded(photo)) await frame();
        for (let at = 0; at < 10; at++) await frame(); // the last step is drawn, and the next photo decoded
        const start = performance.now();
        if (far) next.click();
        else document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
        while (!isShown(photo)) await frame();
        await frame();
        times.push(performance.now() - start);
    }
    return times;
}"""


def measure_browser(library: Library, rounds: int, screens: int, settings: Mapping[str, str]) -> None:
    """Print what is measured in Chromium, or a note if it is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        print("Not measured in a browser: Chromium is not installed.\n")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        print(f"### Chromium {browser.version}, {WINDOW['width']} x {WINDOW['height']}\n")
        _print_interactions(library, browser, rounds, settings)
        _print_scrolling(library, browser, screens, settings)
        _print_lightbox(library, browser, LIGHTBOX_STEPS * rounds, settings)
        browser.close()


@contextmanager
def _page(browser: "Browser", url: str) -> Iterator["Page"]:
    """Open a page with an empty cache and wait until it is loaded."""
    context = browser.new_context(viewport=WINDOW)
    try:
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()


def _wait_until_quiet(page: "Page") -> None:
    """Wait until the page has loaded nothing for half a second."""
    page.evaluate(_IS_QUIET, _QUIET_MS)


def _print_interactions(
    library: Library, browser: "Browser", rounds: int, settings: Mapping[str, str]
) -> None:
    interactions = (
        ("opening /places until its first contentful paint", "/places", _PAINT),
        ("opening /photos until its first contentful paint", GRID, _PAINT),
        ("opening /map until all photos are drawn on it", "/map", _MAP),
    )
    rows = []
    with library.new_server(settings) as server:
        for name, path, function in interactions:
            request_complete(server, path)
            times_ms: list[float] = []
            for number in range(rounds + 1):  # the first is not measured
                note(f"{name}: round {number} of {rounds}")
                with _page(browser, server.url + path) as page:
                    measured = page.evaluate(function)
                times_ms += measured if number else []
            figures = (median(times_ms), value_range(times_ms)) if times_ms else ("not drawn", "")
            rows.append((name, *figures))
    print_table(("from … until …", "median ms", "range"), rows)


def _print_scrolling(library: Library, browser: "Browser", screens: int, settings: Mapping[str, str]) -> None:
    """Scroll through a grid whose thumbnails the server creates first and has cached then.

    For comparison, the same page is measured without scrolling, because other load on the machine also causes long frames.
    """
    rows = []
    with library.new_server(settings) as server:
        request_complete(server, GRID)
        for name, count in (
            ("without scrolling", 0),
            ("thumbnails created", screens),
            ("thumbnails cached", screens),
        ):
            note(f"a grid, {name}")
            with _page(browser, server.url + GRID) as page:
                _wait_until_quiet(page)
                result = page.evaluate(_SCROLL, [count, FRAMES_PER_SCREEN, IDLE_FRAMES])
            frames_ms = result["frames"]
            long_frames_ms = [frame_ms for frame_ms in frames_ms if frame_ms > LONG_FRAME_MS]
            times = (sum(frames_ms) / 1000, len(frames_ms), len(long_frames_ms), max(frames_ms))
            rows.append((name, round(result["screens"]), *times, result["waiting"], *result["nodes"]))
    names = ("", "screens", "s", "frames", f"longer than {LONG_FRAME_MS:.0f} ms", "longest ms")
    nodes = ("nodes at the start", "maximum nodes", "nodes at the end")
    print_table((*names, "frames waiting for photos", *nodes), rows)


def _print_lightbox(library: Library, browser: "Browser", count: int, settings: Mapping[str, str]) -> None:
    """The time from a key press until the next photo is painted.

    A photo is preloaded if its preview was loaded before the key was pressed; otherwise the filmstrip is clicked far enough away.
    """
    rows = []
    with library.new_server(settings) as server:
        for name, far in (("created by the server", FAR), ("cached by the server", FAR), ("preloaded", 0)):
            note(f"the lightbox: {name}")
            with _page(browser, f"{server.url}{GRID}?any_rank=1") as page:
                _wait_until_quiet(page)
                page.evaluate(_OPEN_LIGHTBOX)
                _wait_until_quiet(page)
                times_ms = page.evaluate(_STEPS, [count, far])
            slow = sum(time_ms > LIGHTBOX_TARGET_MS for time_ms in times_ms)
            rows.append((name, len(times_ms), median(times_ms), value_range(times_ms), slow))
    names = ("photos", "median ms", "range", f"longer than {LIGHTBOX_TARGET_MS:.0f} ms")
    print_table(("the next photo in the lightbox", *names), rows)
