"""A library of more than 100,000 photos in a browser: every view works, any position is reachable, the page stays small."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import DESKTOP, PHONE, Screen, open_page, serving
from support.large_library import ROOT, make_library
from support.page_server import settings_in

from tagger.database.connection import open_database
from tagger.query import PhotoQuery, find_tagged_page
from tagger.query.cursors import encode_cursor

MANY = 100_400
FAR = 30_000
ALL = "any_rank=1"
MOST_TILES = 400
NUMBERS = (
    """() => [...document.querySelectorAll("[data-grid] > li")].map((tile) => Number(tile.dataset.photo))"""
)
PLACES = """() => [...document.querySelectorAll("[data-grid] > li[data-photo]")].map(
  (tile) => [Number(tile.getAttribute("aria-posinset")), Number(tile.dataset.photo)])"""
SCROLLED_BEYOND = """(place) => {
  scrollTo(0, document.documentElement.scrollHeight);
  return Number(document.querySelector("[data-grid] > li:last-child")?.getAttribute("aria-posinset")) > place;
}"""
SCROLLED_A_SCREEN = SCROLLED_BEYOND.replace(
    "document.documentElement.scrollHeight", "scrollY + innerHeight / 2"
)
SCREENS = pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = f"sqlite:///{tmp_path_factory.mktemp('large') / 'large.sqlite'}"
    make_library(made, MANY).close()
    return made


@pytest.fixture(scope="module")
def address(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = settings_in(tmp_path_factory.mktemp("served"))
    with serving(settings.model_copy(update={"database_url": url, "model": None})) as served_at:
        yield served_at


@pytest.fixture(scope="module")
def far(url: str) -> str:
    """The cursor of a place behind most photos of nothing known."""
    query = PhotoQuery(unknown=True)
    with closing(open_database(url)) as database:
        reached = find_tagged_page(database, query, {}, None, FAR).next
    assert reached is not None
    return encode_cursor(reached, query)


def asked(page: Page, path: str) -> Any:
    answer = page.request.get(path)
    assert answer.ok, answer.text()
    return answer.json()


def numbers(page: Page, query: str, most: int = 1000) -> list[int]:
    """The first photos that the API gives."""
    found: list[int] = []
    after = ""
    while len(found) < most:
        answer = asked(page, f"/api/photos?{query}&limit=1000{after}")
        found += [photo["id"] for photo in answer["photos"]]
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"
    return found[:most]


def busiest(page: Page) -> dict[str, Any]:
    """The landmark with the most photos that is somewhere."""
    return next(each for each in asked(page, "/api/landmarks") if each["latitude"] is not None)


def grid_is_drawn(page: Page) -> None:
    page.wait_for_function("() => document.querySelector('[data-grid]').style.paddingBottom !== ''")


def test_every_first_view_is_there_and_small(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        landmark = busiest(page)
        page.goto("/library")
        card = page.locator(".cover", has_text=landmark["name"]).first
        shown = page.locator("#cards .cover-name")
        expect(card).to_be_visible()
        expect(shown).to_have_count(len(asked(page, "/api/landmarks")), timeout=60_000)
        expect(card).to_contain_text(f"{landmark['photos']:,}".replace(",", "\u202f"))
        page.goto("/map")
        places = [each for each in asked(page, "/api/landmarks") if each["latitude"] is not None]
        expect(page.locator("svg.map a")).to_have_count(len(places), timeout=60_000)
        page.goto(f"/search?q={landmark['name'][:6].upper()}")
        expect(page.locator(".cover", has_text=landmark["name"])).to_be_visible()
        for path, query in (
            (f"/landmarks/{landmark['landmark']}", f"landmark={landmark['landmark']}"),
            ("/unknown", "unknown=1"),
            (f"/photos?under={ROOT}/y2004/m14", f"under={ROOT}/y2004/m14"),
            ("/photos?taken_after=2001-05-01&taken_before=2001-05-08", "taken_after=2001-05-01&taken_before=2001-05-08"),
        ):  # fmt: skip
            page.goto(path)
            grid_is_drawn(page)
            expected = numbers(page, query)
            seen = page.evaluate(NUMBERS)
            assert len(seen) >= min(len(expected), 9), path
            assert seen == expected[: len(seen)], path
            assert page.evaluate("document.querySelectorAll('*').length") < 3000, path


@SCREENS
def test_a_grid_is_scrolled_far_down_and_back(browser: Browser, address: str, screen: Screen) -> None:
    with open_page(browser, f"{address}/photos?{ALL}", screen=screen, base=address) as page:
        grid_is_drawn(page)
        page.wait_for_function(SCROLLED_BEYOND, arg=1500, timeout=60_000)
        tiles = page.evaluate(PLACES)
        assert 0 < len(tiles) < MOST_TILES
        expected = numbers(page, ALL, tiles[-1][0])
        assert [number for _, number in tiles] == [expected[place - 1] for place, _ in tiles]
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_function(f"() => ({NUMBERS})()[0] === {expected[0]}")
        back = page.evaluate(NUMBERS)
        assert back == expected[: len(back)]


def test_an_address_deep_inside_leads_there_and_on_photo_by_photo(
    browser: Browser, address: str, far: str
) -> None:
    with open_page(browser, f"{address}/unknown?after={far}", base=address) as page:
        grid_is_drawn(page)
        expected = numbers(page, f"unknown=1&after={far}")
        assert not set(expected) & set(numbers(page, "unknown=1"))
        seen = page.evaluate(NUMBERS)
        assert seen == expected[: len(seen)]
        page.locator(f'[data-photo="{expected[20]}"] a').click()
        page.wait_for_url(f"**/photos/{expected[20]}?**")
        for key, place in (("ArrowRight", 21), ("ArrowRight", 22), ("ArrowLeft", 21), ("ArrowLeft", 20)):
            page.keyboard.press(key)
            page.wait_for_url(f"**/photos/{expected[place]}?**")
        deep = page.url
    with open_page(browser, deep, base=address) as page:
        for rel, place in (("prev", 19), ("next", 21)):
            leads = page.locator(f'.photo-bar a[rel="{rel}"]').get_attribute("href") or ""
            assert leads.startswith(f"/photos/{expected[place]}?")


def test_hundreds_are_rejected_and_all_of_it_is_undone(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        landmark = busiest(page)["landmark"]
        count, query = 250, f"landmark={landmark}"
        before = numbers(page, query)
        page.goto(f"/landmarks/{landmark}")
        grid_is_drawn(page)
        page.get_by_role("button", name="Select").click()
        page.locator("[data-grid] > li a").first.click()
        page.wait_for_function(SCROLLED_A_SCREEN, arg=count, timeout=60_000)
        page.locator(f'[data-grid] > li[aria-posinset="{count}"] a').click(modifiers=["Shift"])
        expect(page.locator(".action-bar")).to_contain_text(f"{count} photos selected")
        page.get_by_role("button", name=f"Reject {count}").click()
        page.get_by_role("button", name=f"Reject {count} photos").click()
        expect(page.locator("#toasts")).to_contain_text("photos rejected", timeout=60_000)
        rest = numbers(page, query)
        assert not set(before[:count]) & set(rest)
        assert rest[: len(before) - count] == before[count:]
        page.locator(".action-bar").get_by_role("button", name="Undo").click()
        expect(page.locator("#toasts")).to_contain_text("Undone on", timeout=60_000)
        assert numbers(page, query) == before


def test_every_match_of_a_query_is_rejected_and_restored(browser: Browser, address: str) -> None:
    with open_page(browser, address, base=address) as page:
        landmark = asked(page, "/api/landmarks")[-1]
        slug, headers = landmark["landmark"], {"Origin": address}
        query = {"landmark": slug, "under": f"{ROOT}/y2004"}
        narrow = f"landmark={slug}&under={ROOT}/y2004"
        before = numbers(page, narrow)
        assert len(before) > 10
        output = {"verdict": "rejected", "query": query, "by": "everybody"}
        given = page.request.post("/api/verdicts", data=output, headers=headers).json()
        assert given["photos"] >= len(before)
        assert numbers(page, narrow) == []
        page.goto(f"/photos/{before[0]}")
        expect(page.locator(f'#landmarks [data-landmark="{slug}"]')).to_have_attribute(
            "data-state", "rejected"
        )
        page.request.delete("/api/verdicts", data=output, headers=headers)
        assert set(before) <= set(numbers(page, narrow))
