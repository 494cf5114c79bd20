"""Making and revoking links on the page: of a landmark, a trip, and selected photos."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.browser import PHONE, WINDOW, Screen, axe_findings, open_page, serving
from support.library_photos import EIFFEL, LibraryPhotos, picture
from support.trip_photos import TRIP, add_trip

from tagger.database.connection import Database
from tagger.settings import Settings
from tagger.shares.links import ShareState, list_shares

pytestmark = pytest.mark.usefixtures("shared_thumbnails")


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for n in range(5):
        library.file(f"photo-{n}.jpg", (EIFFEL, 0.8, True), data=picture((30 * n, 120, 200 - 20 * n)))
    add_trip(library)
    return library


@pytest.fixture
def address(web_settings: Settings, library: LibraryPhotos) -> Iterator[str]:
    with serving(web_settings) as url:
        yield url


def link_made_on(page: Page) -> str:
    page.get_by_role("button", name="Make a link").click()
    copy = page.get_by_role("button", name="Copy the link")
    expect(copy).to_be_focused()
    return page.get_by_label("Link", exact=True).input_value()


@pytest.mark.parametrize("screen", [WINDOW, PHONE], ids=["window", "phone"])
def test_a_landmark_is_shared_and_the_link_revoked(
    browser: Browser, address: str, web_database: Database, screen: Screen
) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}", screen=screen) as page:
        page.get_by_role("button", name="Share", exact=True).click()
        dialog = page.get_by_role("dialog", name="Share Eiffel Tower")
        expect(dialog.get_by_label("Title for visitors")).to_be_focused()
        assert axe_findings(page) == []
        dialog.get_by_label("Title for visitors").fill("Our tower")
        dialog.get_by_label("The link ends").select_option("never")
        dialog.get_by_label("Show where photos were taken").check()
        link = link_made_on(page)
        assert link.startswith(f"{address}/s/")
        expect(dialog).to_contain_text("It works only on this computer")
        expect(dialog.get_by_role("listitem")).to_contain_text("Our tower: for ever, with positions")
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("button", name="Copy the link").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        visit = page.request.get(link)
        assert visit.ok
        assert "Our tower" in visit.text()
        dialog.get_by_role("button", name="Revoke the link").click()
        expect(dialog).to_contain_text("Our tower: revoked")
        assert page.request.get(link).status == 410
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    (share,) = list_shares(web_database)
    assert (share.state, share.options, share.expires_at) == (ShareState.REVOKED, {"landmark": EIFFEL}, None)


def test_a_trip_is_shared(browser: Browser, address: str, web_database: Database) -> None:
    with open_page(browser, f"{address}/trips/{TRIP}") as page:
        page.get_by_role("button", name="Share", exact=True).click()
        link = link_made_on(page)
        assert page.request.get(link).text().count("data-photo=") == 9
    (share,) = list_shares(web_database)
    assert share.options == {"trip": TRIP}
    assert "Paris" in share.name


def test_selected_photos_are_shared_with_the_keyboard(
    browser: Browser, address: str, web_database: Database
) -> None:
    with open_page(browser, f"{address}/landmarks/{EIFFEL}") as page:
        page.locator("[data-grid][data-drawn]").wait_for()
        page.get_by_role("button", name="Select").click()
        expect(page.locator(".selection-menu")).to_be_hidden()
        tiles = page.locator("[data-grid] > .photo-tile a")
        tiles.nth(0).focus()
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Space")
        menu = page.locator(".selection-menu")
        menu.locator("summary").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        expect(menu.locator("div")).to_be_hidden()
        expect(page.locator(".action-bar")).to_contain_text("2 photos selected")
        page.keyboard.press("Enter")
        expect(menu.get_by_role("button", name="Share…")).to_be_in_viewport()
        assert axe_findings(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        expect(menu.get_by_role("button", name="Share…")).to_be_in_viewport()
        menu.get_by_role("button", name="Share…").press("Enter")
        expect(page.get_by_role("dialog", name="Share 2 photos")).to_be_visible()
        link = link_made_on(page)
        assert page.request.get(link).text().count("data-photo=") == 2
    (share,) = list_shares(web_database)
    assert (share.options, share.photos) == (None, 2)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"landmark": EIFFEL, "photos": [1]}, 422),
        ({"photos": []}, 400),
        ({"photos": [10**6]}, 404),
        ({"landmark": "atlantis"}, 404),
        ({"trip": "2001-01-01-rome"}, 404),
        ({"landmark": EIFFEL, "expires_days": 0}, 422),
        ({"landmark": EIFFEL, "name": "a\nb"}, 422),
    ],
)
def test_what_cannot_be_shared_is_refused(
    client: TestClient, library: LibraryPhotos, web_database: Database, body: dict[str, object], status: int
) -> None:
    assert client.post("/api/shares", json=body).status_code == status
    assert list_shares(web_database) == []


def test_an_unknown_share_cannot_be_revoked(client: TestClient) -> None:
    assert client.delete("/api/shares/1").status_code == 404
