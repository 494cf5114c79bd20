"""A large library in a browser: every view works, any position is reachable, the page stays small."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from rig.large_library import ROOT, make_library
from support.browser import DESKTOP, PHONE, Screen, open_page, serving
from support.page_server import settings_in

from tagger.database.connection import open_database
from tagger.library.query.cursors import encode_cursor
from tagger.library.query.find import find_tagged_page
from tagger.library.query.options import PhotoQuery

PHOTOS = 100_400
ALL = "any_rank=1"
MOST_TILES = 400
NUMBERS = """() => {
  const tiles = [...document.querySelectorAll("[data-grid] > .photo-tile")];
  if (!tiles.length || tiles.some((tile) => !tile.dataset.photo)) return null;
  return tiles.map((tile) => Number(tile.dataset.photo));
}"""
POSITIONS = """() => [...document.querySelectorAll("[data-grid] > .photo-tile[data-photo]")].map(
  (tile) => [Number(tile.getAttribute("aria-posinset")), Number(tile.dataset.photo)])"""
SCROLLED_BEYOND = """(position) => {
  scrollTo(0, document.documentElement.scrollHeight);
  return Number(document.querySelector("[data-grid] > [data-photo]:last-child")?.getAttribute("aria-posinset")) > position;
}"""
SCROLLED_A_SCREEN = SCROLLED_BEYOND.replace(
    "document.documentElement.scrollHeight", "scrollY + innerHeight / 2"
)
WIDE = Screen(2560, 1300)
MOST_NODES = 500


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of the library's database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('large') / 'large.sqlite'}"
    make_library(url, PHOTOS).close()
    return url


@pytest.fixture(scope="module")
def address(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = settings_in(tmp_path_factory.mktemp("served"))
    with serving(settings.model_copy(update={"database_url": url, "model": None})) as address:
        yield address


@pytest.fixture(scope="module")
def far_cursor(url: str) -> str:
    """The cursor of a position behind most unknown photos."""
    query = PhotoQuery(unknown=True, sort="score", distinct=True)
    with closing(open_database(url)) as database:
        position = find_tagged_page(database, query, {}, None, PHOTOS * 3 // 10).next
    assert position is not None
    return encode_cursor(position, query)


def document_at(page: Page, path: str) -> Any:
    response = page.request.get(path)
    assert response.ok, response.text()
    return response.json()


def photo_ids(page: Page, query: str, most: int = 1000) -> list[int]:
    """The ids of the first photos of a query, from the API, in the order of the page."""
    ids: list[int] = []
    after = ""
    sort = "score" if query.startswith("unknown=1") else "newest"
    while len(ids) < most:
        document = document_at(page, f"/api/photos?{query}&sort={sort}&distinct=1&limit=1000{after}")
        ids += [photo["id"] for photo in document["photos"]]
        if document["next"] is None:
            break
        after = f"&after={document['next']}"
    return ids[:most]


def landmark_with_most_photos(page: Page) -> dict[str, Any]:
    """The landmark with the most photos of those with a position."""
    return next(each for each in document_at(page, "/api/landmarks") if each["latitude"] is not None)


def wait_for_grid(page: Page) -> None:
    page.wait_for_function("() => document.querySelector('[data-drawn]') !== null")


@pytest.mark.slow
def test_every_first_view_is_there_and_small(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        landmark = landmark_with_most_photos(page)
        page.goto("/library")
        card = page.locator(".cover", has_text=landmark["name"]).first
        shown = page.locator("#cards .cover-name")
        expect(card).to_be_visible()
        expect(shown).to_have_count(len(document_at(page, "/api/landmarks")), timeout=60_000)
        expect(card).to_contain_text(f"{landmark['photos']:,}".replace(",", "\u202f"))
        page.goto("/map")
        places = [each for each in document_at(page, "/api/landmarks") if each["latitude"] is not None]
        expect(page.locator("svg.map a:has(.map-dot)")).to_have_count(len(places), timeout=60_000)
        page.goto(f"/search?q={landmark['name'][:6].upper()}")
        expect(page.locator(".cover", has_text=landmark["name"])).to_be_visible()
        for path, query in (
            (f"/landmarks/{landmark['landmark']}", f"landmark={landmark['landmark']}"),
            ("/unknown", "unknown=1"),
            (f"/photos?under={ROOT}/y2004/m14", f"under={ROOT}/y2004/m14"),
            ("/photos?taken_after=2001-05-01&taken_before=2001-05-08", "taken_after=2001-05-01&taken_before=2001-05-08"),
        ):  # fmt: skip
            page.goto(path)
            wait_for_grid(page)
            expected = photo_ids(page, query)
            seen = page.wait_for_function(NUMBERS).json_value()
            assert len(seen) >= min(len(expected), 5), path
            assert seen == expected[: len(seen)], path
            assert page.evaluate("document.querySelectorAll('*').length") < 3000, path


@pytest.mark.slow
def test_a_grid_is_scrolled_far_down_and_back(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?{ALL}", screen=PHONE, base=address) as page:
        wait_for_grid(page)
        page.wait_for_function(SCROLLED_A_SCREEN, arg=MOST_TILES + 50, timeout=60_000)
        tiles = page.evaluate(POSITIONS)
        assert 0 < len(tiles) < MOST_TILES
        expected = photo_ids(page, ALL, tiles[-1][0])
        assert [number for _, number in tiles] == [expected[position - 1] for position, _ in tiles]
        page.evaluate("scrollTo(0, 0)")
        back = page.wait_for_function(
            f"() => {{ const numbers = ({NUMBERS})(); return numbers?.[0] === {expected[0]} && numbers; }}"
        ).json_value()
        assert back == expected[: len(back)]


@pytest.mark.slow
def test_few_elements_are_in_the_document_and_the_width_is_used(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?{ALL}", screen=WIDE) as page:
        wait_for_grid(page)
        for part in range(12):
            page.evaluate("(part) => scrollTo(0, document.documentElement.scrollHeight * part / 12)", part)
            page.wait_for_function(NUMBERS)
            assert 0 < page.evaluate("document.querySelectorAll('[data-grid] *').length") <= MOST_NODES
        grid = page.locator("[data-grid]").bounding_box()
        assert grid is not None
        assert grid["width"] > WIDE.width - 160


@pytest.mark.slow
def test_fast_scrolling_asks_for_the_photos_of_the_last_screen(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?{ALL}", screen=DESKTOP) as page:
        wait_for_grid(page)
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
        page.wait_for_function(NUMBERS)
        pages = [url for url in requests if "/api/timeline/photos" in url]
        assert 1 <= len(pages) <= 8  # hundreds were passed


@pytest.mark.slow
def test_an_address_deep_inside_leads_there_and_on_photo_by_photo(
    browser: Browser, address: str, far_cursor: str
) -> None:
    address_of_grid = f"{address}/unknown?after={far_cursor}"
    with open_page(browser, address_of_grid, base=address, screen=DESKTOP) as page:
        wait_for_grid(page)
        expected = photo_ids(page, f"unknown=1&after={far_cursor}")
        assert not set(expected) & set(photo_ids(page, "unknown=1"))
        expect(page.locator(f'[data-photo="{expected[0]}"]')).to_be_in_viewport()
        seen = page.wait_for_function(NUMBERS).json_value()
        begin = seen.index(expected[0])  # photos before it are in the document, too
        assert seen[begin:] == expected[: len(seen) - begin]
        page.locator(f'[data-photo="{expected[20]}"] a').click()
        page.wait_for_url(f"**/photos/{expected[20]}?**")
        for key, position in (("ArrowRight", 21), ("ArrowRight", 22), ("ArrowLeft", 21), ("ArrowLeft", 20)):
            page.keyboard.press(key)
            page.wait_for_url(f"**/photos/{expected[position]}?**")
        deep = page.url
    with open_page(browser, deep, base=address) as page:
        for rel, position in (("prev", 19), ("next", 21)):
            link = page.locator(f'.photo-bar a[rel="{rel}"]').get_attribute("href") or ""
            assert link.startswith(f"/photos/{expected[position]}?")


@pytest.mark.slow
def test_hundreds_are_rejected_and_all_of_it_is_undone(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        landmark = landmark_with_most_photos(page)["landmark"]
        count, query = 250, f"landmark={landmark}"
        before = photo_ids(page, query)
        page.goto(f"/landmarks/{landmark}")
        wait_for_grid(page)
        page.get_by_role("button", name="Select").click()
        page.locator("[data-grid] > .photo-tile a").first.click()
        page.evaluate(
            "(index) => document.querySelector('[data-grid]').photoGrid.goToPhoto(index, 200)", count - 1
        )
        page.locator(f'[data-grid] > [data-photo][aria-posinset="{count}"] a').click(modifiers=["Shift"])
        expect(page.locator(".action-bar")).to_contain_text(f"{count} photos selected")
        page.get_by_role("button", name=f"Reject {count}").click()
        page.get_by_role("button", name=f"Reject {count} photos").click()
        expect(page.locator("#toasts")).to_contain_text("photos rejected", timeout=60_000)
        rest = photo_ids(page, query)
        assert not set(before[:count]) & set(rest)
        assert rest[: len(before) - count] == before[count:]
        page.locator(".action-bar").get_by_role("button", name="Undo").click()
        expect(page.locator("#toasts")).to_contain_text("Undone on", timeout=60_000)
        assert photo_ids(page, query) == before


@pytest.mark.slow
def test_every_match_of_a_query_is_rejected_and_restored(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        landmark = document_at(page, "/api/landmarks")[0]
        slug, headers = landmark["landmark"], {"Origin": address}
        query = {"landmark": slug, "under": f"{ROOT}/y2004"}
        narrow = f"landmark={slug}&under={ROOT}/y2004"
        before = photo_ids(page, narrow)
        assert len(before) > 10
        body = {"verdict": "rejected", "query": query, "by": "ada"}
        document = page.request.post("/api/verdicts", data=body, headers=headers).json()
        assert document["photos"] >= len(before)
        assert photo_ids(page, narrow) == []
        page.goto(f"/photos/{before[0]}")
        expect(page.locator(f'#landmarks [data-landmark="{slug}"]')).to_have_attribute(
            "data-state", "rejected"
        )
        page.request.delete("/api/verdicts", data=body, headers=headers)
        assert set(before) <= set(photo_ids(page, narrow))
