"""Selecting many photos of a grid by mouse, keyboard and touch: verdicts, stars, downloads, metadata."""

from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import ZipFile

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from support.browser import PHONE, WINDOW, Screen, axe_findings, finish_animations, open_page
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import LOCAL_URL

PHOTOS = 60


@pytest.fixture
def library(library) -> LibraryPhotos:
    for n in range(PHOTOS):
        library.photo(f"photo-{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False))
    return library


@contextmanager
def open_grid(
    browser: Browser, address: str, path: str = f"/landmarks/{EIFFEL}", screen: Screen = WINDOW
) -> Iterator[Page]:
    """Open a grid and start selecting. Every thumbnail and preview is the same picture."""
    image = picture(kind="PNG")
    with open_page(browser, "about:blank", screen=screen, base=address) as page:
        for kind in ("thumbnail", "preview"):
            page.route(f"**/{kind}?*", lambda route: route.fulfill(content_type="image/png", body=image))
        page.goto(path)
        page.locator("[data-grid][data-drawn]").wait_for()  # the script listens to keys from then on
        page.get_by_role("button", name="Select", exact=True).click()
        yield page


def test_the_circle_of_a_photo_or_a_long_press_begins_to_select(browser, address):
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", base=address) as page:
        page.locator("[data-grid][data-drawn]").wait_for()
        tiles = page.locator("[data-grid] > .photo-tile")
        tiles.nth(1).click(position={"x": 20, "y": 20})
        expect(page.locator(".action-bar")).to_contain_text("1 photo selected")
        page.keyboard.press("Escape")
        tiles.nth(1).click(position={"x": 80, "y": 60})
        expect(page.locator("#lightbox")).to_be_visible()
        page.keyboard.press("Escape")
        press = {"pointerType": "touch", "bubbles": True}
        tiles.nth(2).locator("a").dispatch_event("pointerdown", press)
        expect(page.locator(".action-bar")).to_contain_text("1 photo selected")


def test_a_range_is_judged_by_mouse_and_keyboard_and_undone(browser, address):
    with open_grid(browser, address) as page:
        tiles = page.locator("[data-grid] > .photo-tile")
        bar, toasts = page.locator(".action-bar"), page.locator("#toasts")
        tiles.nth(0).click()
        tiles.nth(2).click(modifiers=["Shift"])
        expect(bar).to_contain_text("3 photos selected")
        expect(bar).to_contain_text("Eiffel Tower?")
        page.get_by_role("button", name="Reject 3").click()
        expect(toasts).to_contain_text("3 photos rejected")
        expect(page.locator(".page-head")).to_contain_text("57 photos")
        expect(page.locator("[data-removed]").get_by_role("checkbox", name="rejected")).to_have_count(3)
        assert axe_findings(page) == []
        page.get_by_role("button", name="Undo").click()
        expect(toasts).to_contain_text("Undone on 3 photos")
        expect(page.locator(".page-head")).to_contain_text("60 photos")
        expect(page.locator("[data-mark]")).to_have_count(0)
        # By keyboard, and all photos
        tiles.nth(1).locator("a").focus()
        page.keyboard.press("Space")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+Space")
        checked = page.locator('[data-grid] a[aria-checked="true"]')
        expect(checked).to_have_count(4)
        page.keyboard.press("Space")
        expect(checked).to_have_count(3)
        page.keyboard.press("Control+a")
        page.get_by_role("button", name="Confirm 60").click()
        expect(toasts).to_contain_text("60 photos confirmed")
        # Undoing brings the verdicts before it back.
        tiles.nth(5).click()
        page.get_by_role("button", name="Reject 1").click()
        expect(toasts).to_contain_text("1 photo rejected")
        toasts.get_by_role("button", name="Undo").click()
        expect(toasts).to_contain_text("Undone on 1 photo")
        address = f"/api/photos?landmark={EIFFEL}&verdict=confirmed&limit=100"
        assert len(page.request.get(address).json()["photos"]) == PHOTOS
        page.keyboard.press("Escape")
        expect(bar).to_be_hidden()


@contextmanager
def finger_on(page: Page, tile: Locator) -> Iterator[None]:
    box = tile.bounding_box()
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    finger = page.context.new_cdp_session(page)
    finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    yield
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_on_a_phone_fingers_choose_reject_and_undo(browser, address):
    with open_grid(browser, address, screen=PHONE) as page:
        bar, toast = page.locator(".action-bar"), page.locator("#toasts .toast")
        expect(bar).to_contain_text("Long-press to select a range")
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
            assert box["height"] >= 44
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE.width
        assert boxes[0]["y"] == boxes[1]["y"]
        assert abs(boxes[0]["width"] - boxes[1]["width"]) < 1
        assert axe_findings(page) == []
        bar.get_by_role("button", name="Reject 5").tap()
        expect(toast).to_contain_text("5 photos rejected")
        finish_animations(page)
        message, actions = toast.bounding_box(), bar.bounding_box()
        assert message["y"] + message["height"] <= actions["y"], "the message is on the way to undo it"
        photos = page.request.get(f"/api/photos?landmark={EIFFEL}&limit=10").json()["photos"]
        assert [photo["id"] for photo in photos][:4] == [1, 4, 8, 9]
        page.get_by_role("button", name="Undo").tap()
        expect(toast.last).to_contain_text("Undone on 5 photos")
        photos = page.request.get(f"/api/photos?landmark={EIFFEL}&limit=10").json()["photos"]
        assert [photo["id"] for photo in photos][:4] == [1, 2, 3, 4]
        bar.get_by_role("button", name="Done").tap()
        tiles.nth(0).tap()
        page.wait_for_url("**/photos/1?**")


def select_all(page: Page) -> None:
    page.locator("[data-grid][data-drawn]").wait_for()
    page.keyboard.press("Control+a")
    expect(page.locator(".action-bar")).to_contain_text("4 photos selected")


@pytest.fixture
def two_folders(library) -> LibraryPhotos:
    for folder, blue in (("a", 40), ("b", 200)):
        for n in range(2):
            data = picture((90 * n, 120, blue))
            library.file(f"{folder}/IMG_{n}.jpg", (GATE, 0.8, True), data=data)
    return library


@pytest.mark.usefixtures("shared_thumbnails", "two_folders")
def test_selected_photos_get_stars_and_are_downloaded(browser, address):
    with open_page(browser, f"{address}/landmarks/{GATE}", screen=PHONE) as page:
        select_all(page)
        page.get_by_role("button", name="Add to favourites").click()
        expect(page.locator(".photo-tile-favourite")).to_have_count(4)
        expect(page.locator(".action-bar")).to_contain_text("4 photos selected")
        page.locator(".selection-menu summary").first.click()
        assert axe_findings(page) == []
        for item in page.locator(".selection-menu[open] button").all():
            expect(item).to_be_in_viewport()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the files").click()
        with ZipFile(download.value.path()) as archive:
            assert sorted(archive.namelist()) == [
                f"{PHOTOS + 3}/IMG_0.jpg",
                f"{PHOTOS + 4}/IMG_1.jpg",
                "IMG_0.jpg",
                "IMG_1.jpg",
            ]
            assert archive.testzip() is None
        page.locator(".selection-menu summary").last.click()
        page.get_by_role("button", name="Write metadata…").click()
        expect(page.get_by_role("heading", name="Write tags into metadata")).to_be_visible()
        expect(page.locator(".lede")).to_contain_text("4 photos")
        page.goto(f"{address}/photos?favourite=1")
        select_all(page)
        page.get_by_role("button", name="Remove from favourites").click()
        expect(page.locator(".photo-tile-favourite")).to_have_count(0)


def test_large_and_invalid_selections_are_answered(client, library):
    numbers = ",".join(map(str, range(1, 1500)))
    page = client.post(
        "/photos/metadata", data={"photo": numbers, "action": "write"}, headers={"origin": LOCAL_URL}
    )
    assert page.status_code == 200
    assert numbers in page.text
    many = ",".join(map(str, range(1, 2_002)))
    for data in ({}, {"photo": ""}, {"photo": "1;2"}, {"photo": "-1"}, {"photo": many}):
        assert client.post("/photos/download", data=data, headers={"origin": LOCAL_URL}).status_code == 422, (
            data
        )
