"""Pages on paper: what they show, on few sheets, without buttons."""

import pytest
from playwright.sync_api import Browser, expect
from support.browser import DESKTOP, open_page
from support.library_photos import EIFFEL, LibraryPhotos, picture

pytestmark = pytest.mark.usefixtures("shared_thumbnails")
PHOTOS = 300


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    for n in range(PHOTOS):
        library.number(f"photo-{n}.jpg", (EIFFEL, 0.8, True), digest=f"{n:064}")
    library.file("photo.jpg", (EIFFEL, 0.8, True), data=picture((60, 120, 200)))
    return library


@pytest.mark.slow
def test_a_long_grid_prints_what_is_shown(browser: Browser, address: str) -> None:
    with open_page(browser, "about:blank", screen=DESKTOP) as page:
        page.route("**/thumbnail?*", lambda route: route.fulfill(body=picture(), content_type="image/jpeg"))
        page.goto(f"{address}/photos?any_rank=1")
        expect(page.locator("[data-grid][data-drawn]")).to_be_visible()
        page.emulate_media(media="print")
        height = page.evaluate("document.documentElement.scrollHeight")
        shown = page.locator("[data-grid] > .photo-tile:visible").count()
        assert 0 < shown < PHOTOS
        assert height < 200 * shown  # nothing stands for photos that are not loaded
        expect(page.get_by_role("button", name="Filter")).to_be_hidden()
        expect(page.locator(".site")).to_be_hidden()
