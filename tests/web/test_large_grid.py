"""A grid of five thousand photos, with the constants of the page: few elements, and ranges of any length."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from rig.large_library import make_library
from support.browser import DESKTOP, Screen, open_page, serving
from support.library_photos import picture
from support.page_server import settings_in

from tagger.number_format import number_text

PHOTOS = 5000
WIDE = Screen(2560, 1300)
MOST_NODES = 500
DRAWN = "() => document.querySelector('[data-drawn]') !== null"
FILLED = """() => {
  const tiles = [...document.querySelectorAll(".photo-tile")];
  return tiles.length > 0 && tiles.every((tile) => tile.dataset.photo);
}"""
ALL_SELECTED = """() => {
  const tiles = [...document.querySelectorAll("[data-photo]")];
  return tiles.length > 0 && tiles.every((tile) => "selected" in tile.dataset);
}"""
NODES = "document.querySelectorAll('[data-grid] *').length"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("large")
    url = f"sqlite:///{folder / 'large.sqlite'}"
    make_library(url, PHOTOS).close()
    with serving(settings_in(folder).model_copy(update={"database_url": url, "model": None})) as address:
        yield address


def open_grid(page: Page, address: str) -> int:
    """Open the grid of all classified photos; return how many there are. Every thumbnail is the same picture."""
    thumbnail = picture(kind="PNG")
    page.route("**/thumbnail?*", lambda route: route.fulfill(content_type="image/png", body=thumbnail))
    page.goto(f"{address}/photos?any_rank=1&sort=name")
    page.wait_for_function(DRAWN)
    return int(page.locator("[data-grid]").get_attribute("data-total") or 0)


@pytest.mark.slow
def test_a_range_over_the_whole_grid_is_selected_by_a_click(browser: Browser, address: str) -> None:
    with open_page(browser, "about:blank", screen=DESKTOP) as page:
        total = open_grid(page, address)
        assert total > PHOTOS * 9 // 10
        page.get_by_role("button", name="Select", exact=True).click()
        page.locator('[aria-posinset="3"]').click()
        page.keyboard.press("End")
        last = page.locator(f'[data-photo][aria-posinset="{total}"]')
        last.click(modifiers=["Shift"])
        chosen = page.locator('.action-bar [role="status"]')
        expect(chosen).to_have_text(f"{number_text(total - 2)} photos selected", timeout=60_000)
        ids = page.evaluate("fetch('/api/timeline/ids?any_rank=1&sort=name').then((answer) => answer.json())")
        assert len(set(ids["ids"])) == total
        page.evaluate("document.querySelector('[data-grid]').photoGrid.goToPhoto(2400, 80)")
        page.wait_for_function(FILLED)
        page.wait_for_function(ALL_SELECTED)  # the grid may still exchange tiles


@pytest.mark.slow
@pytest.mark.parametrize(
    "screen", [DESKTOP, pytest.param(WIDE, marks=pytest.mark.slow)], ids=["desktop", "wide"]
)
def test_few_elements_are_in_the_document_and_the_width_is_used(
    browser: Browser, address: str, screen: Screen
) -> None:
    with open_page(browser, "about:blank", screen=screen) as page:
        open_grid(page, address)
        for part in range(12):
            page.evaluate("(part) => scrollTo(0, document.documentElement.scrollHeight * part / 12)", part)
            page.wait_for_function(FILLED)
            assert 0 < page.evaluate(NODES) <= MOST_NODES
        grid = page.locator("[data-grid]").bounding_box()
        assert grid is not None
        assert grid["width"] > screen.width - 160


@pytest.mark.slow
def test_fast_scrolling_asks_for_the_photos_of_the_last_screen(browser: Browser, address: str) -> None:
    with open_page(browser, "about:blank", screen=DESKTOP) as page:
        open_grid(page, address)
        requests: list[str] = []
        page.on("request", lambda each: requests.append(each.url))
        page.evaluate(
            """async () => {
              for (let part = 1; part <= 20; part++) {
                scrollTo(0, (document.documentElement.scrollHeight * part) / 25);
                await new Promise((resolve) => requestAnimationFrame(resolve));
              }
            }"""
        )
        page.wait_for_function(FILLED)
        pages = [url for url in requests if "/api/timeline/photos" in url]
        assert 1 <= len(pages) <= 8  # 48 pages were passed
