"""The page of a share in a browser of somebody who has only the link."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.browser import PHONE, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, LibraryPhotos, picture
from support.page_server import TOKEN, settings_in

from tagger.database.connection import Database, open_database
from tagger.query.options import PhotoQuery
from tagger.settings import Settings
from tagger.shares import NewShare, add_share

FIRST = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - cameras know no time zone
COUNT = 8


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    settings = settings_in(tmp_path)
    with closing(open_database(settings.effective_database_url)) as database:
        library = LibraryPhotos(database, settings, tmp_path / "photos")
        for number in range(COUNT):
            taken_at = FIRST - timedelta(days=number)
            data = picture((30 * number, 120, 90))
            library.file(f"{number}.jpg", (EIFFEL, 0.9, True), data=data, taken_at=taken_at)
        library.file("berlin.jpg", (GATE, 0.9, True), data=picture((1, 2, 3)))
        library.position("0.jpg", 48.8584, 2.2945, "France", "camera")
        yield database


@pytest.fixture
def address(database: Database, tmp_path: Path) -> Iterator[str]:
    with serving(settings_in(tmp_path), token=TOKEN) as url:
        yield url


def link_of(database: Database, address: str, *, with_positions: bool = False) -> str:
    new = NewShare(PhotoQuery(landmark=EIFFEL), "Our tower", None, with_positions)
    return f"{address}/s/{add_share(database, new, {})[1]}"


def open_first(page: Page) -> None:
    page.wait_for_selector("[data-grid][data-drawn]")
    page.locator("[data-photo='1'] > a").click()
    expect(page.locator("#lightbox img").first).to_be_visible()


def test_a_visitor_browses_the_photos(browser: Browser, database: Database, address: str) -> None:
    requested: list[str] = []
    with open_page(browser, "about:blank", screen=PHONE, base=address) as page:
        page.on("request", lambda request: requested.append(request.url))
        page.goto(link_of(database, address, with_positions=True))
        expect(page).to_have_url(f"{address}/shared/1")
        expect(page.get_by_role("heading", name="Our tower")).to_be_visible()
        expect(page.locator("[data-count]")).to_have_text(f"{COUNT} photos")
        page.wait_for_selector("[data-grid][data-drawn]")
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        open_first(page)
        expect(page).to_have_url(f"{address}/shared/1/photos/1")
        expect(page.locator("#lightbox [data-number]")).to_have_text(f"1 of {COUNT}")
        page.keyboard.press("ArrowRight")
        expect(page).to_have_url(f"{address}/shared/1/photos/2")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("i")
        expect(page.locator("#lightbox-panel")).to_contain_text("48.85840, 2.29450")
        expect(page.locator("#lightbox-panel button")).to_have_count(0)
        assert axe_findings(page) == []
        for key in ("c", "r", "x", "n", "u"):  # the keys of verdicts do nothing
            page.keyboard.press(key)
        page.keyboard.press("+")
        page.keyboard.press("Escape")
        page.goto("/shared/1/photos/2")
        page.get_by_role("link", name="Next").click()
        expect(page).to_have_url(f"{address}/shared/1/photos/3")
        assert axe_findings(page) == []
    inside = (f"{address}/s/", f"{address}/shared/1", f"{address}/static/")
    assert [url for url in requested if not url.startswith((*inside, "data:", "blob:"))] == []


def test_a_visitor_needs_no_script(
    client_with_token: TestClient, web_database: Database, web_settings: Settings, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    for number in range(70):
        library.photo(f"{number:02}.jpg", (EIFFEL, 0.9, True))
    library.position("00.jpg", 48.8584, 2.2945, "France", "camera")
    page = client_with_token.get(link_of(web_database, ""), follow_redirects=True).text
    assert page.count("data-photo=") == 60
    further = unescape(re.findall(r'<a [^>]*href="([^"]*)"[^>]*>\s*Next page', page)[0])
    assert client_with_token.get(further).text.count("data-photo=") == 10
    photo = client_with_token.get("/shared/1/photos/1").text
    assert '"/shared/1/photos/1/preview' in photo
    assert "Position" not in photo
