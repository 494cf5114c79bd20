"""The map near by, of a file in the schema of Protomaps' basemap; and where the map ends without one."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from rig.near_map import NEAR_MAP
from starlette.testclient import TestClient
from support.browser import axe_findings, open_page, serving
from support.library_photos import EIFFEL, LibraryPhotos
from support.page_server import client_at

from tagger.errors import SettingsInvalid
from tagger.settings import Settings
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

NICE = "/map?box=43.685,7.25,43.715,7.29"
WATER = {"light": (128, 222, 234), "dark": (49, 53, 63)}
"""Of the published styles."""
WAIT_MS = 120_000
MOST_PICTURES = 300


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    library.file("nice.jpg", (EIFFEL, 0.9, True))
    library.position("nice.jpg", 43.70, 7.27, "France")
    return library


@pytest.fixture
def with_file(web_settings: Settings) -> Settings:
    return web_settings.model_copy(update={"web_map_file": NEAR_MAP})


def wait_for_colour(page: Page, colour: tuple[int, int, int]) -> None:
    for _ in range(MOST_PICTURES):
        with Image.open(BytesIO(page.locator(".map-live").screenshot())) as picture:
            pixels = np.asarray(picture.convert("RGB"), dtype=int)
        if (np.abs(pixels - colour).max(axis=2) < 4).sum() > 5000:
            return
        page.wait_for_timeout(100)
    raise AssertionError(colour)


def test_the_file_is_served_in_ranges(library: LibraryPhotos, with_file: Settings) -> None:
    client = client_at(create_app(with_file, library.database, AccessPolicy()))
    part = client.get("/map/near.pmtiles", headers={"range": "bytes=0-6", "accept-encoding": "gzip"})
    assert (part.status_code, part.content) == (206, b"PMTiles")
    assert "immutable" in part.headers["cache-control"]
    assert 'data-near="/map/near.pmtiles?v=' in client.get("/map").text


def test_without_a_file_there_is_none(client: TestClient, library: LibraryPhotos) -> None:
    assert client.get("/map/near.pmtiles").status_code == 404
    assert 'data-near=""' in client.get("/map").text


def test_a_wrong_file_is_refused_at_the_start(
    library: LibraryPhotos, web_settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "map.pmtiles"
    for content, reason in ((None, "No such file"), (b"SQLite format 3", "it is no PMTiles file")):
        if content:
            other.write_bytes(content)
        settings = web_settings.model_copy(update={"web_map_file": other})
        with pytest.raises(SettingsInvalid, match=reason):
            create_app(settings, library.database, AccessPolicy())


def test_streets_are_drawn_near_by_in_both_modes(
    browser: Browser, library: LibraryPhotos, with_file: Settings
) -> None:
    with serving(with_file) as address, open_page(browser, f"{address}{NICE}") as page:
        wait_for_colour(page, WATER["light"])
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        wait_for_colour(page, WATER["dark"])
        expect(page.get_by_role("link", name="OpenStreetMap")).to_be_visible()
        expect(page.get_by_role("button", name="Zoom in")).to_be_enabled()
        assert axe_findings(page) == []


def test_without_a_file_zooming_stops_where_nothing_follows(
    browser: Browser, library: LibraryPhotos, web_settings: Settings
) -> None:
    with serving(web_settings) as address, open_page(browser, f"{address}{NICE}") as page:
        expect(page.get_by_role("button", name="Zoom in")).to_be_disabled(timeout=WAIT_MS)
        expect(page.get_by_role("button", name="Zoom out")).to_be_enabled()
