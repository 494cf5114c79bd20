"""The lightbox in a browser: the time from a key press until the next photo is painted.

Measured in the page, since a key press through the driver takes some milliseconds of its own. A photo is preloaded if its
preview was loaded before the key was pressed; otherwise the filmstrip is clicked far enough away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from bench.page.browsers import Browser, wait_until_quiet
from bench.page.library import Library
from bench.report import note, value_range

GRID_PATH = "/photos?any_rank=1"
TARGET_MS = 100.0
"""A response within this time seems immediate."""
FAR = 6
"""Photos so far away in the filmstrip are not preloaded."""
COLUMNS = ("the next photo", "browser", "photos", "median ms", "range", f"longer than {TARGET_MS:.0f} ms")

_OPEN = """async () => {
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


@dataclass(frozen=True)
class Steps:
    """Times from an action to the painted photo."""

    name: str
    browser: str
    times_ms: list[float]

    def row(self) -> list[object]:
        times = self.times_ms
        slow = sum(time_ms > TARGET_MS for time_ms in times)
        return [self.name, self.browser, len(times), median(times), value_range(times), slow]


def measure_lightbox(
    library: Library, browsers: Mapping[str, Browser], count: int, settings: Mapping[str, str]
) -> list[Steps]:
    """Measure steps to photos that are not preloaded, the first time and once more, and to photos that are."""
    results = []
    for browser_name, browser in browsers.items():
        with library.new_server(dict(settings)) as server:
            for name, far in (
                ("created by the server", FAR),
                ("cached by the server", FAR),
                ("preloaded", 0),
            ):
                note(f"the lightbox in {browser_name}: {name}")
                with browser.window(server.url + GRID_PATH) as window:
                    wait_until_quiet(window)
                    window.evaluate(_OPEN)
                    wait_until_quiet(window)
                    results.append(Steps(name, browser_name, window.evaluate(_STEPS, [count, far])))
    return results
