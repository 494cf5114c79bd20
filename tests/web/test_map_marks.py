"""Marks on the map for photos: by where their positions come from, each with a link to its photos."""

import re
from html import unescape

import pytest
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient
from support.browser import PHONE, open_page, serving
from support.library_photos import EIFFEL, LibraryPhotos, picture

from tagger.database.connection import Database
from tagger.library.query.position_clusters import PositionCell
from tagger.settings import Settings
from tagger.web.pages.library import VIEWS
from tagger.web.pages.map_clusters import MOST_MARKS, photo_marks

pytestmark = pytest.mark.usefixtures("shared_thumbnails")


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    """Three photos by GPS, two of them near each other; one each on a track, estimated, and of a landmark."""
    for n, (latitude, longitude, source) in enumerate(
        (
            (43.70, 7.27, "camera"),
            (43.71, 7.25, "camera"),
            (-33.9, 18.4, "camera"),
            (45.8, 6.9, "track"),
            (44.1, 5.1, "neighbour"),
            (48.8584, 2.2945, "landmark"),
        )
    ):
        predictions = [(EIFFEL, 0.9, True)] if source == "landmark" else []
        library.file(f"{n}.jpg", *predictions, data=picture((40 * n, 120, 200)))
        library.position(f"{n}.jpg", latitude, longitude, "France" if latitude > 0 else None, source)
    return library


def marks_of(page: str) -> dict[str, str]:
    """The addresses of the marks by their names."""
    found = re.findall(
        r'<a href="([^"]*)" aria-label="([^"]*)"><title>[^<]*</title>\s*<[a-z]+ class="map-mark', page
    )
    return {name: unescape(address) for address, name in found}


def test_each_source_has_marks_and_an_entry_of_the_legend(client: TestClient, library: LibraryPhotos) -> None:
    page = client.get("/map").text
    marks = marks_of(page)
    assert sorted(marks) == [
        "1 photo, France, by a GPS track",
        "1 photo, France, estimated",
        "1 photo, by GPS",
        "2 photos, France, by GPS",
    ]
    assert page.count('class="map-dot"') == 2  # with the one of the legend
    assert re.findall(r'<a href="([^"]*)">(\d photos? [^<]*)</a>', page) == [
        ("/photos?position=camera", "3 photos by GPS"),
        ("/photos?position=track", "1 photo by a GPS track"),
        ("/photos?position=neighbour", "1 photo estimated"),
    ]
    for name, address in marks.items():
        found = client.get(address.replace("/photos", "/api/photos")).json()["photos"]
        assert len(found) == int(name.split()[0])
    africa = marks_of(client.get("/map?part=Africa").text)
    assert "1 photo, by GPS" in africa


def test_without_positions_there_is_no_legend(client: TestClient, web_database: Database) -> None:
    page = client.get("/map").text
    assert "map-legend" not in page
    assert "map-mark" not in page


def test_a_map_has_few_marks_whatever_the_library() -> None:
    cells = [
        PositionCell(source, 1 + n % 7, south, south + 0.2, west, west + 0.2, None, None, n)
        for source in ("camera", "track", "neighbour", "landmark")
        for n, (south, west) in enumerate(
            (i / 4, j / 4) for i in range(-200, 240, 20) for j in range(-700, 700, 20)
        )
    ]
    for view in VIEWS:
        marks = photo_marks(cells, view)
        assert 0 < len(marks) <= MOST_MARKS
        assert all(view.contains(mark.x, mark.y) for mark in marks)


@pytest.mark.parametrize(
    "script", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["without WebGL", "without script"]
)
def test_the_drawing_stays_and_is_used_by_keyboard(
    browser: Browser, web_settings: Settings, library: LibraryPhotos, script: bool
) -> None:
    with (
        serving(web_settings) as address,
        open_page(browser, "about:blank", screen=PHONE, script=script) as page,
    ):
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        page.goto(f"{address}/map?part=Europe")
        expect(page.get_by_text("needs JavaScript and WebGL")).to_be_visible()
        expect(page.locator(".map-live")).to_be_hidden()
        page.get_by_role("link", name="2 photos, France, by GPS").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?near=43.7050**")
