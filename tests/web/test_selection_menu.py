"""What is done with selected photos beside verdicts: stars, downloads, metadata."""

from zipfile import ZipFile

import pytest
from playwright.sync_api import Page, expect
from support.browser import PHONE, axe_findings, open_page
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture

pytestmark = pytest.mark.usefixtures("shared_thumbnails")
FORM = {"origin": "http://127.0.0.1:8080"}


@pytest.fixture
def library(library) -> LibraryPhotos:
    for folder, blue in (("a", 40), ("b", 200)):
        for n in range(2):
            data = picture((90 * n, 120, blue))
            library.file(f"{folder}/IMG_{n}.jpg", (EIFFEL, 0.8, True), (GATE, 0.1, False), data=data)
    return library


def select_all(page: Page) -> None:
    page.locator("[data-grid][data-drawn]").wait_for()
    page.keyboard.press("Control+a")
    expect(page.locator(".action-bar")).to_contain_text("4 photos selected")


def test_selected_photos_get_stars_and_are_downloaded(browser, address, library):
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", screen=PHONE) as page:
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
            assert sorted(archive.namelist()) == ["3/IMG_0.jpg", "4/IMG_1.jpg", "IMG_0.jpg", "IMG_1.jpg"]
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
    page = client.post("/photos/metadata", data={"photo": numbers, "action": "write"}, headers=FORM)
    assert page.status_code == 200
    assert numbers in page.text
    many = ",".join(map(str, range(1, 2_002)))
    for data in ({}, {"photo": ""}, {"photo": "1;2"}, {"photo": "-1"}, {"photo": many}):
        assert client.post("/photos/download", data=data, headers=FORM).status_code == 422, data
