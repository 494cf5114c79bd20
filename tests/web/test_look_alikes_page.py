"""Groups of unknown photos that look alike on the page: named at once, or put away, and undone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import axe_findings, open_page, serving
from support.colour_folders import TaggedFolder
from support.teaching import draw_place, teachable_artifact

from tagger.database.connection import Database

SLOW_MS = 60_000


@pytest.fixture
def library(web_database: Database, tmp_path: Path) -> TaggedFolder:
    """Five photos of a church and four of a bridge, which the model does not know."""
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for name, place, count in (("church", 0, 5), ("bridge", 1, 4)):
        for seed in range(count):
            draw_place(library.folder / name / f"{seed}.jpg", place, seed=seed)
    library.tag()
    return library


@pytest.fixture
def address(library: TaggedFolder) -> Iterator[str]:
    with serving(library.page_settings) as url:
        yield url


def numbers(page: Page, query: str) -> set[int]:
    return {photo["id"] for photo in page.request.get(f"/api/photos?{query}").json()["photos"]}


def test_a_group_is_named_or_put_away_at_once(browser: Browser, address: str, library: TaggedFolder) -> None:
    church = [library.photo(f"church/{number}.jpg").id for number in range(5)]
    bridge = {library.photo(f"bridge/{number}.jpg").id for number in range(4)}
    with open_page(browser, f"{address}/photos?unknown=1", base=address) as page:
        page.get_by_role("link", name="Look-alikes").click()
        groups = page.locator("[data-group]")
        expect(groups).to_have_count(2, timeout=SLOW_MS)
        expect(groups.nth(0).get_by_role("heading")).to_have_text("5 photos")
        expect(groups.nth(1).get_by_role("heading")).to_have_text("4 photos")
        expect(groups.nth(1)).to_have_attribute(
            "aria-label", "2: 4 photos"
        )  # also one of as many is told apart
        assert axe_findings(page) == []
        groups.nth(1).get_by_role("button", name="Not a landmark").click()
        expect(page.locator("#toasts")).to_contain_text(
            "4 photos put away as not a landmark", timeout=SLOW_MS
        )
        assert numbers(page, "dismissed=1") == bridge
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#announcement")).to_have_text("Undone on 4 photos", timeout=SLOW_MS)
        assert numbers(page, "dismissed=1") == set()
        page.locator(f'[data-group] input[value="{church[0]}"]').uncheck()
        groups.nth(0).get_by_role("button", name="Name this place").click()
        page.get_by_label("Landmark, city or country").fill("Our church")
        page.locator("[data-new]").click()
        page.get_by_role("button", name="Add this place").click()
        expect(page.locator("#toasts")).to_contain_text("4 photos named Our church", timeout=SLOW_MS)
        assert numbers(page, "landmark=our-church&verdict=confirmed") == set(church[1:])
        page.reload()
        expect(groups).to_have_count(1, timeout=SLOW_MS)  # the other one has one unknown photo left
