"""Selecting many photos of a grid and giving verdicts: by mouse, keyboard and touch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.browser import PHONE, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture

from tagger.database.connection import Database
from tagger.settings import Settings

pytestmark = pytest.mark.usefixtures("shared_thumbnails")


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n in range(8):
        data = picture((30 * n, 120, 200 - 20 * n))
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False), data=data)
    return library


@pytest.fixture
def address(web_settings: Settings, library: LibraryPhotos) -> Iterator[str]:
    with serving(web_settings) as url:
        yield url


def start_selecting(page: Page) -> None:
    page.locator("[data-grid][data-drawn]").wait_for()  # the script listens to keys from then on
    page.get_by_role("button", name="Select").click()


def test_a_range_is_rejected_and_undone(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        start_selecting(page)
        tiles = page.locator("[data-grid] > .photo-tile")
        tiles.nth(0).click()
        tiles.nth(2).click(modifiers=["Shift"])
        expect(page.locator(".action-bar")).to_contain_text("3 photos selected")
        expect(page.locator(".action-bar")).to_contain_text("Eiffel Tower?")
        expect(page.locator(".action-bar").get_by_role("button", name="Undo")).to_be_hidden()
        page.get_by_role("button", name="Reject 3").click()
        expect(page.locator("#toasts")).to_contain_text("3 photos rejected")
        expect(page.locator(".landmark-head")).to_contain_text("5 photos")
        expect(page.locator("[data-removed]").get_by_role("checkbox", name="rejected")).to_have_count(3)
        assert axe_findings(page) == []
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#toasts")).to_contain_text("Undone on 3 photos")
        expect(page.locator(".landmark-head")).to_contain_text("8 photos")
        expect(page.locator("[data-mark]")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(page.locator(".action-bar")).to_be_hidden()
        assert axe_findings(page) == []


@pytest.mark.slow
def test_photos_of_a_query_are_selected_for_its_landmark_alone(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/photos?landmark={EIFFEL}&min_score=0.5") as page:
        start_selecting(page)
        page.locator("[data-grid] > .photo-tile").first.click()
        expect(page.locator('.action-bar [role="status"]')).to_have_text("1 photo selected")


@pytest.mark.slow
def test_many_unknown_photos_are_named_at_once(
    browser: Browser, address: str, library: LibraryPhotos
) -> None:
    for n in range(3):
        library.file(f"unknown-{n}.jpg", (GATE, 0.1, False), data=picture((60 * n, 9, 9)))
    with open_page(browser, f"{address}/unknown") as page:
        start_selecting(page)
        tiles = page.locator("[data-grid] > .photo-tile")
        tiles.nth(0).click()
        tiles.nth(1).click()
        page.get_by_role("button", name="Name landmark").click()
        page.get_by_label("Landmark, city or country").fill("vers")
        page.keyboard.press("Escape")
        expect(page.locator("#naming")).to_be_hidden()
        expect(page.locator(".action-bar")).to_contain_text("2 photos selected")
        page.get_by_role("button", name="Name landmark").click()
        page.get_by_label("Landmark, city or country").fill("versailles")
        assert axe_findings(page) == []
        page.keyboard.press("Enter")
        expect(page.locator("#toasts")).to_contain_text("2 photos confirmed")
        expect(page.get_by_role("heading", level=1)).to_have_text("Unknown photos 1")
        expect(page.locator("[data-removed] [data-mark]")).to_have_text(
            ["Château de Versailles confirmed"] * 2
        )
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#toasts")).to_contain_text("Undone on 2 photos")
        expect(page.get_by_role("heading", level=1)).to_have_text("Unknown photos 3")
        assert len(page.request.get(f"{address}/api/photos?unknown=1").json()["photos"]) == 3


@pytest.mark.slow
def test_the_keyboard_chooses_a_range(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        start_selecting(page)
        page.locator("[data-grid] > .photo-tile a").nth(1).focus()
        page.keyboard.press("Space")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+Space")
        expect(page.locator(".action-bar")).to_contain_text("4 photos selected")
        checked = page.locator('[data-grid] a[aria-checked="true"]')
        expect(checked).to_have_count(4)
        page.keyboard.press("Space")
        expect(checked).to_have_count(3)


@contextmanager
def finger_on(page: Page, tile: Locator) -> Iterator[None]:
    """Touch the tile until the context ends."""
    box = tile.bounding_box()
    assert box is not None
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    finger = page.context.new_cdp_session(page)
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    yield
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_on_a_phone_fingers_choose_reject_and_undo(
    browser: Browser, address: str, library: LibraryPhotos
) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", screen=PHONE) as page:
        page.get_by_role("button", name="Select").tap()
        bar = page.locator(".action-bar")
        expect(bar).to_contain_text("Tap photos. Long-press to select a range.")
        tiles = page.locator("[data-grid] > .photo-tile")
        tiles.nth(1).tap()
        with finger_on(page, tiles.nth(6)):
            expect(bar).to_contain_text("6 photos selected")
        tiles.nth(3).tap()
        expect(bar).to_contain_text("5 photos selected")  # lifting the finger selected nothing
        boxes = [
            bar.get_by_role("button", name=name).bounding_box() for name in ("Confirm 5", "Reject 5", "Done")
        ]
        for box in boxes:
            assert box is not None
            assert box["height"] >= 44
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE.width
        assert boxes[0]["y"] == boxes[1]["y"]  # type: ignore[index]
        assert abs(boxes[0]["width"] - boxes[1]["width"]) < 1  # type: ignore[index]
        assert axe_findings(page) == []
        bar.get_by_role("button", name="Reject 5").tap()
        expect(page.locator("#toasts")).to_contain_text("5 photos rejected")
        photos = page.request.get(f"{address}/api/photos?landmark={EIFFEL}").json()["photos"]
        assert [photo["id"] for photo in photos] == [1, 4, 8]
        page.get_by_role("button", name="Undo").tap()
        expect(page.locator("#toasts")).to_contain_text("Undone on 5 photos")
        photos = page.request.get(f"{address}/api/photos?landmark={EIFFEL}").json()["photos"]
        assert len(photos) == 8
        bar.get_by_role("button", name="Done").tap()
        tiles.nth(0).tap()
        page.wait_for_url("**/photos/1?**")


@pytest.mark.slow
def test_the_keyboard_chooses_and_photos_remember_their_query(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        start_selecting(page)
        page.locator("[data-grid] > .photo-tile a").nth(1).focus()
        page.keyboard.press("Space")
        expect(page.locator(".action-bar")).to_contain_text("1 photo selected")
        page.get_by_role("button", name="Done").click()
        page.locator("[data-grid] > .photo-tile a").nth(1).click()
        page.wait_for_url(f"**/photos/2?landmark={EIFFEL}&within=1")


@pytest.mark.slow
def test_more_than_fifty_need_a_confirmation(browser: Browser, address: str, library: LibraryPhotos) -> None:
    for n in range(52):
        library.number(f"more-{n}.jpg", (EIFFEL, 0.9, True))
    page = browser.new_page(viewport={"width": 1440, "height": 2000})  # missing files are logged as errors
    page.goto(f"{address}/landmarks/{EIFFEL}")
    start_selecting(page)
    tiles = page.locator("[data-grid] > .photo-tile")
    expect(tiles).to_have_count(60)
    tiles.nth(0).click()
    tiles.nth(59).click(modifiers=["Shift"])
    page.get_by_role("button", name="Confirm 60").click()
    page.get_by_role("button", name="Confirm 60 photos").click()
    expect(page.locator("#toasts")).to_contain_text("60 photos confirmed")
    page.close()
