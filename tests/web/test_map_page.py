"""The legend of the map, by where positions come from; and browsers that cannot draw it."""

import re

import pytest
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient
from support.browser import PHONE, open_page, serving
from support.library_photos import EIFFEL, LibraryPhotos, picture

from tagger.database.connection import Database
from tagger.settings import Settings

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


def test_each_source_has_an_entry_of_the_legend(client: TestClient, library: LibraryPhotos) -> None:
    page = client.get("/map").text
    assert re.findall(r'<a href="([^"]*)">(\d photos? [^<]*)</a>', page) == [
        ("/photos?position=camera", "3 photos by GPS"),
        ("/photos?position=track", "1 photo by a GPS track"),
        ("/photos?position=neighbour", "1 photo estimated"),
    ]


def test_without_positions_there_is_no_legend(client: TestClient, web_database: Database) -> None:
    assert "map-legend" not in client.get("/map").text


@pytest.mark.parametrize(
    "script", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["without WebGL", "without script"]
)
def test_a_browser_that_cannot_draw_the_map_says_so(
    browser: Browser, web_settings: Settings, library: LibraryPhotos, script: bool
) -> None:
    with (
        serving(web_settings) as address,
        open_page(browser, "about:blank", screen=PHONE, script=script) as page,
    ):
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        page.goto(f"{address}/map")
        expect(page.get_by_text("needs JavaScript and WebGL")).to_be_visible()
        expect(page.locator(".map-live")).to_be_hidden()
