"""What a user waits for in a browser: the first paint, the map, suggestions, and the answer for a dropped photo.

Each time is measured in the page, since a driver takes some milliseconds of its own. Rounds alternate between the browsers.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.page.browsers import Browser, wait_until_quiet
from bench.page.library import Library
from bench.page.views import request_complete
from bench.report import note, value_range

COLUMNS = ("from … until …", "browser", "median ms", "range")
PREFIXES = ("e", "eif", "tower", "france", "2019", "img_000001")
"""Typed for suggestions."""
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
_SUGGESTIONS = """async (prefixes) => {
    const input = document.querySelector("#search");
    const list = document.querySelector("[data-search] [role=listbox]");
    const times = [];
    input.focus();
    for (const prefix of prefixes) {
        const drawn = new Promise((resolve) => {
            const observer = new MutationObserver(() => { observer.disconnect(); resolve(); });
            observer.observe(list, { childList: true });
        });
        const start = performance.now();
        input.value = prefix;
        input.dispatchEvent(new InputEvent("input", { bubbles: true }));
        await drawn;
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - start);
    }
    return times;
}"""
_DROP = """async (photos) => {
    const input = document.querySelector("#photo");
    const announcement = document.querySelector("#announcement");
    const times = [];
    for (const [at, text] of photos.entries()) {
        const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
        const dropped = new DataTransfer();
        dropped.items.add(new File([bytes], `photo ${at}.jpg`, { type: "image/jpeg" }));
        const before = announcement.textContent;
        const start = performance.now();
        input.files = dropped.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
        while (announcement.textContent === before) await new Promise(requestAnimationFrame);
        times.push(performance.now() - start);
    }
    return times;
}"""


@dataclass(frozen=True)
class Interaction:
    """`function` returns times in ms on a view, with `argument` as its argument."""

    name: str
    path: str
    function: str
    argument: object = None


def interactions(photos: Sequence[Path]) -> list[Interaction]:
    """All of them; `photos` are dropped one after another."""
    dropped = [base64.b64encode(photo.read_bytes()).decode() for photo in photos]
    return [
        Interaction("opening /library until its first contentful paint", "/library", _PAINT),
        Interaction("opening /photos until its first contentful paint", "/photos", _PAINT),
        Interaction("opening /map until all photos are drawn on it", "/map", _MAP),
        Interaction("typing until suggestions are drawn", "/library", _SUGGESTIONS, PREFIXES),
        Interaction("dropping a photo until its answer", "/try", _DROP, dropped),
    ]


def measure_interactions(
    library: Library,
    browsers: Mapping[str, Browser],
    photos: Sequence[Path],
    rounds: int,
    settings: Mapping[str, str],
) -> dict[str, dict[str, list[float]]]:
    """The times in ms of each interaction by browser. One round before the others is not measured."""
    times_ms: dict[str, dict[str, list[float]]] = {}
    with library.new_server(dict(settings)) as server:
        for each in interactions(photos):
            request_complete(server, each.path)
            for number in range(rounds + 1):
                note(f"{each.name}: round {number} of {rounds}")
                for name, browser in browsers.items():
                    with browser.window(server.url + each.path) as window:
                        if each.argument is not None:
                            wait_until_quiet(window)
                        measured = window.evaluate(each.function, each.argument)
                    if number:
                        times_ms.setdefault(each.name, {}).setdefault(name, []).extend(measured)
    return times_ms


def rows(times_ms: Mapping[str, Mapping[str, list[float]]]) -> list[list[object]]:
    """The rows of a table with COLUMNS."""
    return [
        [name, browser, median(times), value_range(times)] if times else [name, browser, "not drawn", ""]
        for name, by_browser in times_ms.items()
        for browser, times in by_browser.items()
    ]
