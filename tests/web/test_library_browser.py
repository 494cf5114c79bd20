"""The library in a browser: an endless grid, and accessible pages."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import Screen, open_page, serving
from support.large_library import make_library
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from support.page_server import settings_in

from tagger.database.connection import Database, open_database
from tagger.settings import Settings
from tagger.web.pages import overview

PHOTOS = 280
SHOWN = 270  # the others are gone or not classified
SMALL_WINDOW = Screen(720, 450)
SMALLER = {"PAGE = 200": "PAGE = 20", "MAX_PAGES = 30": "MAX_PAGES = 6"}
"""Constants of grid.js and their values in these tests, so that few photos are as many for it as 100,000 are with the real values."""
TILES = """() => [...document.querySelectorAll("[data-grid] > li")].map((tile) => ({
  number: Number(tile.getAttribute("aria-posinset")), photo: tile.dataset.photo, empty: !tile.firstChild }))"""
TILES_ON_SCREEN = """() => [...document.querySelectorAll("[data-grid] > li")].filter((tile) => {
  const box = tile.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight }).length"""

DRAWN = "() => document.querySelector('[data-grid]').style.paddingBottom !== ''"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a small library with files."""
    folder = tmp_path_factory.mktemp("small")
    settings = settings_in(folder)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / "photos")
        for n, slug in enumerate((EIFFEL, EIFFEL, GATE, VERSAILLES)):
            library.file(f"photo-{n}.jpg", (slug, 0.9, True), data=picture((60 * n, 120, 200 - 40 * n)))
        library.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((20, 20, 20)))
    with serving(settings) as url:
        yield url


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a library of PHOTOS photos without files."""
    folder = tmp_path_factory.mktemp("many")
    url = f"sqlite:///{folder / 'many.sqlite'}"
    make_library(url, PHOTOS).close()
    settings = settings_in(folder).model_copy(update={"database_url": url, "model": None})
    with serving(settings) as address:
        yield address


def open_grid(page: Page, address: str, **constants: str) -> None:
    """Open the grid of all photos with smaller constants of grid.js. Every thumbnail is the same picture."""
    script = (Path(__file__).parents[2] / "tagger/web/static/grid.js").read_text()
    for constant, replacement in {**SMALLER, **constants}.items():
        assert script.count(f"const {constant};") == 1
        script = script.replace(f"const {constant};", f"const {replacement};")
    page.route("**/grid.js?*", lambda route: route.fulfill(content_type="text/javascript", body=script))
    thumbnail = picture(kind="PNG")
    page.route("**/thumbnail?*", lambda route: route.fulfill(content_type="image/png", body=thumbnail))
    page.goto(f"{address}/photos?any_rank=1")
    page.wait_for_function(DRAWN)


def scroll_to_the_end(page: Page, photos: int) -> None:
    """Scroll down until the grid has this many photos."""
    page.wait_for_function(
        """(photos) => {
          scrollTo(0, document.documentElement.scrollHeight);
          return Number(document.querySelector("[data-grid] > li:last-child")?.getAttribute("aria-posinset")) >= photos;
        }""",
        arg=photos,
        timeout=60_000,
    )


# ---------- the grid ----------


def test_the_grid_goes_through_all_photos_with_few_of_them_in_the_page(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        expected = [photo["id"] for photo in _all_photos(page, f"{many}/api/photos?any_rank=1")]
        open_grid(page, many)
        seen, most = page.evaluate(
            """async (all) => {
              const seen = new Map();
              let most = 0;
              for (const began = performance.now(); seen.size < all && performance.now() - began < 60_000; ) {
                const tiles = [...document.querySelectorAll("[data-grid] > li")];
                most = Math.max(most, tiles.length);
                for (const tile of tiles) {
                  if (tile.dataset.photo) seen.set(Number(tile.getAttribute("aria-posinset")), Number(tile.dataset.photo));
                }
                scrollBy(0, innerHeight * 2);
                await new Promise((done) => setTimeout(done, 30));
              }
              return [[...seen.entries()], most];
            }""",
            len(expected),
        )
        assert [photo for _, photo in sorted(seen)] == expected
        assert len(expected) >= SHOWN
        assert most < 120


def test_far_rows_leave_and_come_back_where_they_were(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        scroll_to_the_end(page, SHOWN)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_function("() => document.querySelector('[data-grid] > li').dataset.photo === '1'")
        assert page.evaluate("document.documentElement.scrollHeight") >= height  # nothing jumps
        before = [url for url in requests if "/api/photos?" in url]
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight * 2 / 3)")
        page.wait_for_function(f"() => ({TILES_ON_SCREEN})() > 8")
        page.wait_for_function(f"() => ({TILES})().every((tile) => !tile.empty)")
        after = [url for url in requests if "/api/photos?" in url]
        assert len(before) == len(set(before))
        assert set(after) == set(before)
        assert len(after) > len(before)  # dropped pages were fetched again


def test_a_grid_taller_than_browsers_draw_moves_its_window(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many, **{"MAX_HEIGHT_PX = 8_000_000": "MAX_HEIGHT_PX = 5_000"})
        scroll_to_the_end(page, SHOWN)
        assert page.evaluate("document.documentElement.scrollHeight") < 6_000
        page.wait_for_function(
            """() => {
              scrollBy(0, -innerHeight);
              return scrollY === 0 && document.querySelector("[data-grid] > li").dataset.photo === "1";
            }""",
            timeout=60_000,
        )


def test_arrow_keys_go_from_photo_to_photo(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        columns = page.evaluate(
            "getComputedStyle(document.querySelector('[data-grid]')).gridTemplateColumns.split(' ').length"
        )
        page.locator("[data-grid] > li > a").first.focus()
        here = "() => document.activeElement.closest('li')?.dataset.photo"
        order = [tile["photo"] for tile in page.evaluate(TILES)]
        for key, index in (
            ("ArrowRight", 1),
            ("ArrowDown", 1 + columns),
            ("ArrowLeft", columns),
            ("ArrowUp", 0),
        ):
            page.keyboard.press(key)
            assert page.evaluate(here) == order[index], key
        for _ in range(15):
            page.keyboard.press("ArrowDown")
        expect(page.locator("[data-grid] > li > a:focus")).to_be_in_viewport()
        page.keyboard.press("Home")
        assert page.evaluate(here) == order[0]


def test_going_back_leads_to_where_one_was(browser: Browser, many: str) -> None:
    with open_page(browser, "about:blank", screen=SMALL_WINDOW) as page:
        open_grid(page, many)
        scroll_to_the_end(page, SHOWN // 2)
        top = page.evaluate("scrollY")
        page.goto(f"{many}/search")
        page.go_back()
        page.wait_for_function(f"() => scrollY >= {top} - 2")
        page.wait_for_function(f"() => ({TILES})().length > 0 && ({TILES})().every((tile) => !tile.empty)")
        assert max(tile["number"] or 0 for tile in page.evaluate(TILES)) >= SHOWN // 2


def test_an_unreachable_server_is_reported_and_retried(browser: Browser, many: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()  # the browser logs failed requests as errors
        page.route("**/api/photos?*", lambda route: route.abort())
        open_grid(page, many)
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("status").filter(has_text="could not be loaded")).to_be_visible()
        page.unroute("**/api/photos?*")
        page.get_by_role("button", name="Try again").click()
        scroll_to_the_end(page, 80)


def test_photos_are_there_and_lead_to_their_landmark(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/library") as page:
        page.get_by_role("link", name="Eiffel Tower").click()
        expect(page.get_by_role("heading", name="Eiffel Tower")).to_be_visible()
        expect(page.locator("[data-grid] > li")).to_have_count(2)
        page.wait_for_function(
            "() => [...document.querySelectorAll('[data-grid] img')].every((image) => image.complete && image.naturalWidth > 100)"
        )


def test_covers_that_take_long_come_by_themselves(
    browser: Browser,
    web_settings: Settings,
    web_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    LibraryPhotos(web_database, web_settings, tmp_path / "photos").file("a.jpg", (EIFFEL, 0.9, True))
    may_end, find_covers = Event(), overview.find_covers
    monkeypatch.setattr(overview, "find_covers", lambda database: may_end.wait(60) and find_covers(database))
    with serving(web_settings) as address, open_page(browser, f"{address}/library") as page:
        expect(page.get_by_role("status").filter(has_text="Choosing covers")).to_be_visible()
        expect(page.locator(".cover img")).to_have_count(0)
        may_end.set()
        expect(page.locator(".cover img")).to_have_count(1, timeout=30_000)
        expect(page.locator("#summary")).to_have_text("1 landmark")
        expect(page.get_by_text("Choosing covers")).to_have_count(0)


def test_the_map_is_used_by_keyboard(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/map") as page:
        page.locator("svg.map a").first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Eiffel Tower")).to_be_visible()


def test_filters_make_an_address_that_can_be_shared(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos") as page:
        page.get_by_text("Filters").click()
        page.get_by_label("Landmark", exact=True).select_option("Eiffel Tower")
        page.get_by_role("button", name="Show photos").click()
        expect(page.locator("[data-grid] > li")).to_have_count(2)
        assert page.url == f"{address}/photos?landmark=eiffel-tower"
        page.get_by_role("link", name="Remove filter Eiffel Tower").click()
        expect(page.locator("[data-grid] > li")).to_have_count(4)


def _all_photos(page: Page, address: str) -> list[dict[str, int]]:
    photos: list[dict[str, int]] = []
    after = ""
    while True:
        document = page.request.get(f"{address}&limit=1000{after}").json()
        photos += document["photos"]
        if document["next"] is None:
            return photos
        after = f"&after={document['next']}"
