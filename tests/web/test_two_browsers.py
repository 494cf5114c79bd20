"""Two people at once: each sees the verdicts of the other, and the last verdict wins without an error."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import DESKTOP, PHONE, open_page, serving
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import settings_in

from tagger.database.connection import open_database

STATE = f'#landmarks [data-landmark="{EIFFEL}"]'


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    settings = settings_in(tmp_path)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, tmp_path / "photos")
        for n in range(12):
            library.file(f"{n}.jpg", (EIFFEL, 0.9, True), (GATE, 0.1, False), data=picture((20 * n, 9, 9)))
    with serving(settings) as url:
        yield url


def state(page: Page) -> str:
    return str(page.locator(STATE).get_attribute("data-state"))


@pytest.mark.slow
def test_concurrent_verdicts_all_arrive_and_the_last_one_wins(browser: Browser, address: str) -> None:
    with (
        open_page(browser, f"{address}/photos/1", base=address) as one,
        open_page(browser, f"{address}/photos/1", base=address, screen=PHONE) as other,
    ):
        for _ in range(4):
            for key in "cr":
                one.keyboard.press(key)
                other.keyboard.press("r" if key == "c" else "c")
        for page in (one, other):
            page.keyboard.press("2")
            page.keyboard.press("c")  # different from all verdicts before it
            expect(page.locator("#announcement")).to_have_text("Brandenburg Gate confirmed")
            expect(page.locator(".toast--bad")).to_have_count(0)
            page.keyboard.press("1")
        other.keyboard.press("r")
        expect(other.locator("#announcement")).to_have_text("Eiffel Tower rejected")
        one.keyboard.press("c")
        expect(one.locator("#announcement")).to_have_text("Eiffel Tower confirmed")
        for page in (one, other):
            page.reload()
            assert state(page) == "confirmed"
            expect(page.locator(".toast--bad")).to_have_count(0)


@pytest.mark.slow
def test_undo_of_one_person_keeps_the_verdicts_of_the_other(browser: Browser, address: str) -> None:
    grid = f"{address}/landmarks/{EIFFEL}"
    with (
        open_page(browser, grid, base=address, screen=DESKTOP) as one,
        open_page(browser, grid, base=address) as other,
    ):
        for page, button, last in ((one, "Reject 8", 7), (other, "Confirm 4", 3)):
            page.get_by_role("button", name="Select").click()
            page.locator("[data-grid] > .photo-tile a").nth(0).click()
            page.locator("[data-grid] > .photo-tile a").nth(last).click(modifiers=["Shift"])
            page.get_by_role("button", name=button).click()
            expect(page.locator("#toasts")).to_contain_text(f"{last + 1} photos")
        one.reload()
        expect(one.locator("[data-grid] > .photo-tile")).to_have_count(
            8
        )  # four that the other confirmed since, four without verdict
        other.locator(".action-bar").get_by_role("button", name="Undo").click()
        expect(other.locator("#toasts")).to_contain_text("Undone on 4 photos")
        one.reload()
        expect(one.locator("[data-grid] > .photo-tile")).to_have_count(4)  # the first verdict holds again
