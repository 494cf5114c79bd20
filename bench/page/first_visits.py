"""How many bytes a view's first visit takes, with an empty cache: documents, scripts and styles as they are sent, and photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.page.browsers import Browser, wait_until_quiet
from bench.page.library import Library
from bench.page.views import request_complete
from bench.report import note

COLUMNS = ("first visit of", "browser", "KiB", "KiB of photos", "requests")
PATHS = (
    *("/library", "/photos", "/map", "/unknown", "/review", "/trips", "/search?q=tower", "/try", "/jobs"),
    "/photos/1",
)
_SENT = """() => {
    const all = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
    const isPhoto = (entry) => /\\/(thumbnail|preview|image)/.test(new URL(entry.name).pathname);
    const bytes = (entries) => entries.reduce((sum, entry) => sum + entry.transferSize, 0);
    return [bytes(all.filter((entry) => !isPhoto(entry))), bytes(all.filter(isPhoto)), all.length];
}"""


@dataclass(frozen=True)
class FirstVisit:
    """What a view took, with the headers of the responses."""

    path: str
    browser: str
    page_bytes: int
    photo_bytes: int
    requests: int

    def row(self) -> Sequence[object]:
        """The row of a table with COLUMNS."""
        return [self.path, self.browser, self.page_bytes / 1024, self.photo_bytes / 1024, self.requests]


def measure_first_visits(
    library: Library, browsers: Mapping[str, Browser], settings: Mapping[str, str]
) -> list[FirstVisit]:
    """Open each view in a new window, once its server has all its numbers."""
    visits = []
    with library.new_server(dict(settings)) as server:
        for path in PATHS:
            request_complete(server, path)
            for name, browser in browsers.items():
                note(f"first visit of {path} in {name}")
                with browser.window(server.url + path) as window:
                    wait_until_quiet(window)
                    visits.append(FirstVisit(path, name, *window.evaluate(_SENT)))
    return visits
