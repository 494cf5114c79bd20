"""The library in a real browser: a grid that goes on as one scrolls, and pages that everybody can use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Screen, axe_findings, open_browser, open_page, serving
from library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from playwright.sync_api import Browser, Page, expect

from bench.many_photos import make_library
from tagger.database import Database
from tagger.settings import Settings

MANY = 4000
PAGES = (
    "/library",
    "/landmarks/eiffel-tower",
    "/photos",
    "/photos?country=France&min_score=0.5",
    "/map",
    "/unknown",
)
TILES = """() => [...document.querySelectorAll("[data-grid] > li")].map((tile) => ({
  number: Number(tile.getAttribute("aria-posinset")), photo: tile.dataset.photo, empty: !tile.firstChild }))"""
ROWS_ON_SCREEN = """() => [...document.querySelectorAll("[data-grid] > li")].filter((tile) => {
  const box = tile.getBoundingClientRect(); return box.bottom > 0 && box.top < innerHeight }).length"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    made = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n, slug in enumerate((EIFFEL, EIFFEL, GATE, VERSAILLES)):
        made.file(f"photo-{n}.jpg", (slug, 0.9, True), data=picture((60 * n, 120, 200 - 40 * n)))
    made.file("nothing.jpg", (EIFFEL, 0.2, False), data=picture((20, 20, 20)))
    return made


@pytest.fixture
def many(web_settings: Settings, tmp_path: Path) -> Settings:
    url = f"sqlite:///{tmp_path / 'many.sqlite'}"
    make_library(url, MANY).close()
    return web_settings.model_copy(update={"database_url": url, "model": None})


def go_to_many(page: Page, address: str) -> None:
    """A page of photos whose files are nobody's; their thumbnails are drawn here."""
    page.route(
        "**/thumbnail?*", lambda route: route.fulfill(content_type="image/png", body=picture(kind="PNG"))
    )
    page.goto(address)
    page.wait_for_function("() => document.querySelector('[data-grid]').style.paddingBottom !== ''")


def scroll_to_the_end(page: Page, photos: int) -> None:
    """Down, as often as it takes until so many photos are there."""
    for _ in range(200):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(50)
        if max(tile["number"] or 0 for tile in page.evaluate(TILES)) >= photos:
            return
    raise AssertionError(page.evaluate(TILES)[-1])


# ---------- the grid ----------


def test_the_grid_goes_through_all_photos_with_few_of_them_in_the_page(
    browser: Browser, many: Settings
) -> None:
    with serving(many) as address, open_page(browser, "about:blank") as page:
        expected = [photo["id"] for photo in _all_photos(page, f"{address}/api/photos?any_rank=1")]
        go_to_many(page, f"{address}/photos?any_rank=1")
        seen: dict[int, str] = {}
        while len(seen) < len(expected):
            tiles = page.evaluate(TILES)
            assert len(tiles) < 400
            known = len(seen)
            seen |= {tile["number"]: tile["photo"] for tile in tiles if tile["number"] and not tile["empty"]}
            page.evaluate("scrollBy(0, innerHeight)")
            page.wait_for_timeout(60 if len(seen) > known else 200)
            if not seen:
                seen |= dict(enumerate((tile["photo"] for tile in tiles), start=1))
        assert [int(seen[number]) for number in sorted(seen)] == expected


def test_far_rows_leave_and_come_back_where_they_were(browser: Browser, many: Settings) -> None:
    with serving(many) as address, open_page(browser, "about:blank") as page:
        go_to_many(page, f"{address}/photos?any_rank=1")
        scroll_to_the_end(page, 2500)
        height = page.evaluate("document.documentElement.scrollHeight")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_function("() => document.querySelector('[data-grid] > li').dataset.photo === '1'")
        assert page.evaluate("document.documentElement.scrollHeight") >= height  # nothing jumps
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 3)")
        page.wait_for_function(f"() => ({TILES})().every((tile) => !tile.empty)")
        page.wait_for_function(f"() => ({ROWS_ON_SCREEN})() > 20")


def test_a_grid_taller_than_browsers_draw_moves_its_window(browser: Browser, many: Settings) -> None:
    with serving(many) as address, open_page(browser, "about:blank") as page:
        script = (Path(__file__).parents[2] / "tagger/web/static/grid.js").read_text()
        lower = script.replace("TALLEST_PX = 8_000_000", "TALLEST_PX = 20_000")
        assert lower != script
        page.route("**/grid.js?*", lambda route: route.fulfill(content_type="text/javascript", body=lower))
        go_to_many(page, f"{address}/photos?any_rank=1")
        scroll_to_the_end(page, 3000)
        assert page.evaluate("document.documentElement.scrollHeight") < 22_000
        for _ in range(200):
            page.evaluate("scrollBy(0, -innerHeight)")
            page.wait_for_timeout(30)
            if page.evaluate("scrollY") == 0:
                break
        page.wait_for_function("() => document.querySelector('[data-grid] > li').dataset.photo === '1'")


def test_arrow_keys_go_from_photo_to_photo(browser: Browser, many: Settings) -> None:
    with serving(many) as address, open_page(browser, "about:blank") as page:
        go_to_many(page, f"{address}/photos?any_rank=1")
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
        for _ in range(30):
            page.keyboard.press("ArrowDown")
        expect(page.locator("[data-grid] > li > a:focus")).to_be_in_viewport()
        page.keyboard.press("Home")
        assert page.evaluate(here) == order[0]


def test_going_back_leads_to_where_one_was(browser: Browser, many: Settings) -> None:
    with serving(many) as address, open_page(browser, "about:blank") as page:
        go_to_many(page, f"{address}/photos?any_rank=1")
        scroll_to_the_end(page, 1500)
        top = page.evaluate("scrollY")
        page.goto(f"{address}/map")
        page.go_back()
        page.wait_for_function(f"() => scrollY >= {top} - 2")
        page.wait_for_function(f"() => ({TILES})().length > 0 && ({TILES})().every((tile) => !tile.empty)")
        assert max(tile["number"] or 0 for tile in page.evaluate(TILES)) >= 1500


def test_a_server_that_is_away_is_said_and_asked_again(browser: Browser, many: Settings) -> None:
    with serving(many) as address, browser.new_context(base_url=address) as context:
        page = context.new_page()
        page.route("**/api/photos?*", lambda route: route.abort())
        go_to_many(page, "/photos?any_rank=1")
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("status").filter(has_text="could not be loaded")).to_be_visible()
        page.unroute("**/api/photos?*")
        page.get_by_role("button", name="Try again").click()
        scroll_to_the_end(page, 200)


def test_without_script_links_lead_on(browser: Browser, many: Settings) -> None:
    with serving(many) as address, open_page(browser, "about:blank", script=False) as page:
        page.route(
            "**/thumbnail?*", lambda route: route.fulfill(content_type="image/png", body=picture(kind="PNG"))
        )
        page.goto(f"{address}/photos?any_rank=1")
        first = page.locator("[data-grid] > li").first.get_attribute("data-photo")
        page.get_by_role("link", name="Next photos").click()
        assert page.locator("[data-grid] > li").first.get_attribute("data-photo") != first
        page.get_by_role("link", name="From the beginning").click()
        assert page.locator("[data-grid] > li").first.get_attribute("data-photo") == first


# ---------- for everybody ----------


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    browser: Browser, library: LibraryPhotos, web_settings: Settings, screen: Screen, dark: bool
) -> None:
    with (
        serving(web_settings) as address,
        open_page(browser, "about:blank", screen=screen, dark=dark) as page,
    ):
        for path in (*PAGES, "/search?q=france", "/search?q=nothing", "/search"):
            page.goto(address + path)
            page.wait_for_load_state("networkidle")
            assert axe_findings(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def test_photos_are_there_and_lead_to_their_landmark(
    browser: Browser, library: LibraryPhotos, web_settings: Settings
) -> None:
    with serving(web_settings) as address, open_page(browser, f"{address}/library") as page:
        page.get_by_role("link", name="Eiffel Tower").click()
        expect(page.get_by_role("heading", name="Eiffel Tower")).to_be_visible()
        expect(page.locator("[data-grid] > li")).to_have_count(2)
        page.wait_for_function(
            "() => [...document.querySelectorAll('[data-grid] img')].every((image) => image.complete && image.naturalWidth > 100)"
        )


def test_the_map_is_used_by_keyboard(
    browser: Browser, library: LibraryPhotos, web_settings: Settings
) -> None:
    with serving(web_settings) as address, open_page(browser, f"{address}/map") as page:
        page.locator("svg.map a").first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Eiffel Tower")).to_be_visible()


def test_filters_make_an_address_that_can_be_shared(
    browser: Browser, library: LibraryPhotos, web_settings: Settings
) -> None:
    with serving(web_settings) as address, open_page(browser, f"{address}/photos") as page:
        page.get_by_text("Filters").click()
        page.get_by_label("Landmark").select_option("Eiffel Tower")
        page.get_by_role("button", name="Show photos").click()
        expect(page.locator("[data-grid] > li")).to_have_count(2)
        assert "landmark=eiffel-tower" in page.url
        page.get_by_role("link", name="Without Eiffel Tower").click()
        expect(page.locator("[data-grid] > li")).to_have_count(4)


def _all_photos(page: Page, address: str) -> list[dict[str, int]]:
    found: list[dict[str, int]] = []
    after = ""
    while True:
        answer = page.request.get(f"{address}&limit=1000{after}").json()
        found += answer["photos"]
        if answer["next"] is None:
            return found
        after = f"&after={answer['next']}"
