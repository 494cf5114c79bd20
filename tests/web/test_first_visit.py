"""What a browser loads when it opens a view for the first time, and in which order, with real photos."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from support.browser import DESKTOP, PHONE, WINDOW, Screen, open_page, serving
from support.library_photos import EIFFEL, GATE, LibraryPhotos
from support.page_server import settings_in
from support.trip_photos import TRIP, add_trip

from tagger.database.connection import open_database

GRID, MAP = "/landmarks/eiffel-tower", f"/trips/{TRIP}"
VIEWS = (
    "/try", "/places", "/search?q=france", GRID, "/photos?any_rank=1", "/photos/1", "/photos/1/similar",
    "/trips", MAP, "/photos?unknown=1", "/review", "/jobs", "/jobs/new",
)  # fmt: skip
PHOTOS = 60
MOST_BYTES = 1_000_000
DRAWN = """() => document.readyState === "complete" && !document.querySelector("[data-grid]:not([data-drawn])")
  && [...document.images].every((image) => image.complete || image.getBoundingClientRect().top > innerHeight)"""
MAP_DRAWN = "() => document.querySelector('.map-live:not([hidden]) [data-photos]')"
LOADED = """() => performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
  .map((entry) => [entry.name.replace(location.origin, ""), entry.transferSize])"""


@pytest.fixture(scope="module")
def address(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("first")
    settings = settings_in(folder)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / "photos")
        paths = sorted((test_data / "landmarks/test").rglob("*.jpg"))[:PHOTOS]
        assert len(paths) == PHOTOS
        for number, path in enumerate(paths):
            slug, score = (EIFFEL, GATE)[number % 2], 0.2 if number % 5 == 0 else 0.95
            taken_at = datetime(2024, 1, 1) + timedelta(days=number)  # noqa: DTZ001 - local time
            library.file(
                f"{number}.jpg", (slug, score, score > 0.5), data=path.read_bytes(), taken_at=taken_at
            )
        add_trip(library)
    with serving(settings) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_first_visit_of_a_view_loads_less_than_a_megabyte_and_maps_alone_the_map(
    browser: Browser, address: str, screen: Screen
) -> None:
    sums = {}
    for view in VIEWS:
        with open_page(browser, f"{address}{view}", screen=screen) as page:  # with an empty cache
            page.wait_for_function(DRAWN)
            if view.startswith("/trips/"):
                page.wait_for_function(MAP_DRAWN)  # its library is loaded after the page
            loaded = dict(page.evaluate(LOADED))
        has_map = any("vendor/map" in name for name in loaded)
        assert has_map == view.startswith("/trips/"), view
        sums[view] = sum(loaded.values())
    assert min(sums.values()) > 10_000
    assert max(sums.values()) < MOST_BYTES, sums


def test_the_grid_of_photos_is_drawn_before_the_scripts_that_it_does_not_need(
    browser: Browser, address: str
) -> None:
    with open_page(browser, f"{address}/photos?any_rank=1", screen=WINDOW) as page:
        page.wait_for_function(DRAWN)
        names = [name for name, _ in page.evaluate(LOADED)]
    scripts = [name.rsplit("/")[-1] for name in names if ".js" in name]
    assert scripts.index("grid.js") < min(map(scripts.index, ("select.js", "search.js", "lightbox.js")))
    assert not any("vendor/" in name for name in names)
    timeline = [name for name in names if "/timeline" in name]
    assert len(timeline) == len(set(timeline)) >= 2  # those that the page preloads are used
