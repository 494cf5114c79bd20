"""The search box in a browser: suggestions while typing, by keyboard and mouse, and without script."""

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import DESKTOP, PHONE, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import settings_in
from support.trip_photos import TRIP, add_trip

from tagger.database.connection import open_database

OPTIONS = "#search-list [role=option]"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("search")
    settings = settings_in(folder)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, folder / "photos")
        library.file("Berlin/IMG_1.jpg", (GATE, 0.9, True))
        library.file("Berlin/IMG_2.jpg", (EIFFEL, 0.9, True), data=picture((9, 9, 9)))
        add_trip(library)
    with serving(settings) as url:
        yield url


def type_text(page: Page, text: str) -> None:
    """Type into the box until its list has options: the server makes its lists of names meanwhile."""
    box = page.locator("#search")
    expect(box).to_have_role("combobox")
    for _ in range(60):
        box.fill("")
        box.press_sequentially(text)
        try:
            expect(page.locator(OPTIONS).first).to_be_visible(timeout=1000)
        except AssertionError:
            continue
        return
    raise AssertionError(text)


def test_suggestions_are_chosen_and_opened_by_keyboard(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/places", screen=DESKTOP) as page:
        box = page.locator("#search")
        expect(box).to_have_role("combobox")
        page.keyboard.press("/")
        expect(box).to_be_focused()
        expect(box).to_have_value("")
        page.keyboard.type("a/b")
        expect(box).to_have_value("a/b")
        type_text(page, "berlin")
        expect(box).to_have_attribute("aria-expanded", "true")
        expect(box).not_to_have_attribute("aria-activedescendant", re.compile("."))
        page.keyboard.press("ArrowDown")
        first = page.locator(OPTIONS).first
        expect(first).to_have_attribute("aria-selected", "true")
        expect(box).to_have_attribute("aria-activedescendant", str(first.get_attribute("id")))
        page.keyboard.press("ArrowUp")
        expect(box).not_to_have_attribute("aria-activedescendant", re.compile("."))
        page.keyboard.press("ArrowUp")
        expect(page.locator(OPTIONS).last).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Escape")
        expect(page.locator("#search-list")).to_be_hidden()
        expect(box).to_have_attribute("aria-expanded", "false")
        expect(box).to_have_value("berlin")
        page.keyboard.press("Escape")
        expect(box).to_have_value("")
        expect(box).not_to_be_focused()
        # What is selected is opened, else what matches best.
        type_text(page, "img_")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos/2")
        page.keyboard.press("Escape")
        page.locator("#search").fill("TOWER eiff")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?landmark=eiffel-tower")
        page.locator("#search").fill("eifel")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=eifel*")
        expect(page.get_by_role("link", name="Eiffel Tower").first).to_be_visible()


@pytest.mark.slow
def test_the_list_is_accessible_and_clicked(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/places", screen=PHONE) as page:
        type_text(page, "berlin")
        page.keyboard.press("ArrowDown")
        assert axe_findings(page) == []
        box = page.locator("[data-panel]").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE.width
        page.locator("#search").fill("")
        type_text(page, "paris may 2019")
        page.locator(OPTIONS).first.click()
        page.wait_for_url(f"**/trips/{TRIP}")
        type_text(page, "berlin")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="All results")).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=berlin")
        expect(page.locator("#search")).to_have_value("berlin")
