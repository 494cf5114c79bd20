"""The search box in a browser: suggestions while typing, by keyboard and mouse, and without script."""

import re
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import DESKTOP, PHONE, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, TRIP, LibraryPhotos, add_trip, picture
from support.page_server import settings_in

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
        # What is selected is opened, else the photos of the whole text.
        type_text(page, "img_")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?under=*IMG_2.jpg*")
        page.locator("#search").fill("dogs at the eifel tower")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?landmark=eiffel-tower&q=*")
        expect(page.locator("#search")).to_have_value("dogs at the eifel tower")
        expect(page.get_by_text("Left out: “dogs”")).to_be_visible()


def test_the_parts_of_a_search_are_changed_and_removed(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?landmark=eiffel-tower&q=eiffel%20tower%20dogs") as page:
        expect(page.get_by_text("Left out: “dogs”")).to_be_visible()
        page.get_by_role("button", name="Change filter Eiffel Tower").click()
        expect(page.locator('[id="group=landmark"]')).to_be_focused(timeout=60_000)
        page.get_by_role("checkbox", name="Brandenburg Gate").check()
        page.wait_for_url(re.compile(r"/photos\?landmark=[a-z-]+&landmark=[a-z-]+$"))
        expect(page.get_by_text("Left out")).to_have_count(0)
        expect(page.locator("#search")).to_have_value("")
        page.get_by_role("link", name="Remove filter Eiffel Tower").click()
        page.wait_for_url("**/photos?landmark=brandenburg-gate")


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
        type_text(page, "trip to paris")
        page.locator(OPTIONS).first.click()
        page.wait_for_url(f"**/trips/{TRIP}")
