"""The map: clusters for mouse, finger and keyboard, the visible part as a filter, and what it loads."""

from itertools import combinations

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.testclient import TestClient
from support.browser import PHONE, WINDOW, axe_findings, open_page, serving
from support.library_photos import EIFFEL, LibraryPhotos, picture

from tagger.settings import Settings

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

CLUSTER = "a.map-cluster"
IN_SIGHT = """(photos) => {
    const map = document.querySelector(".map-live").getBoundingClientRect();
    const isIn = ({ left, right, top, bottom }) => left >= map.left && right <= map.right && top >= map.top && bottom <= map.bottom;
    const marks = [...document.querySelectorAll("a.map-cluster")].filter((mark) => isIn(mark.getBoundingClientRect()));
    return marks.reduce((sum, { dataset }) => sum + Number(dataset.photos), 0) === photos;
}"""
LOADED_BYTES = """performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""
WAIT_MS = 120_000
"""A map without a GPU is slow on a machine that has other work."""


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    """Two photos at one spot in Nice, two nearby on a track and estimated, and one in Paris of a landmark."""
    for n, (latitude, longitude, source) in enumerate(
        (
            (43.70, 7.27, "camera"),
            (43.70, 7.27, "camera"),
            (43.75, 7.20, "track"),
            (43.60, 7.05, "neighbour"),
            (48.8584, 2.2945, "landmark"),
        )
    ):
        predictions = [(EIFFEL, 0.9, True)] if source == "landmark" else []
        library.file(f"{n}.jpg", *predictions, data=picture((40 * n, 120, 200)))
        library.position(f"{n}.jpg", latitude, longitude, "France", source)
    return library


def wait_for_clusters(page: Page) -> None:
    page.locator(f"{CLUSTER} >> nth=0").wait_for(timeout=WAIT_MS)


def test_a_cluster_opens_its_photos(browser: Browser, web_settings: Settings, library: LibraryPhotos) -> None:
    nice = "43.55,7.0,43.8,7.4"
    with serving(web_settings) as address, open_page(browser, f"{address}/map?box={nice}") as page:
        tiles = page.locator("[data-grid] > .photo-tile")
        spot = page.get_by_role("link", name="2 photos, France")
        spot.wait_for(timeout=WAIT_MS)
        expect(spot.locator("img")).to_be_visible()
        spot.focus()
        expect(page.locator(".map-preview")).to_contain_text("France: 2 photos")
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?box=43.7%2C7.27%2C43.7%2C7.27", timeout=WAIT_MS)
        expect(tiles).to_have_count(2)
        expect(page.get_by_role("link", name="Remove filter in Nice")).to_be_visible()


def test_the_first_view_has_every_mark_on_a_phone_too(
    browser: Browser, web_settings: Settings, library: LibraryPhotos
) -> None:
    for n, (latitude, longitude) in enumerate(((43.88, -103.46), (21.03, 105.85))):
        library.file(f"far-{n}.jpg", data=picture((9, 9, 90 * n)))
        library.position(f"far-{n}.jpg", latitude, longitude, "", "camera")
    with serving(web_settings) as address, open_page(browser, f"{address}/map", screen=PHONE) as page:
        page.wait_for_function(IN_SIGHT, arg=7, timeout=WAIT_MS)
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def drag_up(page: Page) -> None:
    """Move a finger up on the map."""
    session = page.context.new_cdp_session(page)
    for kind, *ys in (("touchStart", 240), ("touchMove", 190, 140, 90), ("touchEnd",)):
        for points in [[{"x": 60, "y": y}] for y in ys] or [[]]:
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.mark.slow
def test_clusters_are_large_and_the_visible_part_is_an_address_and_a_filter(
    browser: Browser, web_settings: Settings, library: LibraryPhotos
) -> None:
    with serving(web_settings) as address, open_page(browser, f"{address}/map", screen=PHONE) as page:
        wait_for_clusters(page)
        boxes = [mark.bounding_box() for mark in page.locator(CLUSTER).all()]
        for one, other in combinations(boxes, 2):
            assert one is not None
            assert other is not None
            assert abs(one["x"] - other["x"]) >= 31 or abs(one["y"] - other["y"]) >= 31
        assert all(box is not None and box["width"] >= 44 and box["height"] >= 44 for box in boxes)
        assert sum(int(mark.get_attribute("data-photos") or 0) for mark in page.locator(CLUSTER).all()) == 5
        assert axe_findings(page) == []
        page.set_viewport_size({"width": PHONE.width, "height": 260})
        drag_up(page)
        page.wait_for_function("() => scrollY > 0")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(LOADED_BYTES) < 1_000_000
        page.set_viewport_size({"width": WINDOW.width, "height": WINDOW.height})
        page.goto(f"{address}/map")  # the address of the low window has a part of the map without photos
        wait_for_clusters(page)
        cluster = page.locator(CLUSTER).filter(has_text="4")
        cluster.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/photos?box=*", timeout=WAIT_MS)
        expect(page.locator("[data-grid] > .photo-tile")).to_have_count(4)
        page.goto(f"{address}/map?box=43.55,7.0,43.8,7.4")
        wait_for_clusters(page)
        page.get_by_role("link", name="Show 4 photos").click(timeout=WAIT_MS)
        page.wait_for_url("**/photos?box=*", timeout=WAIT_MS)
        expect(page.locator("[data-grid] > .photo-tile")).to_have_count(4)


def test_a_cluster_has_the_address_of_its_photos(client: TestClient, library: LibraryPhotos) -> None:
    found = client.get("/map/clusters", params={"box": "43,7,44,8", "zoom": "4"}).json()
    assert found["photos"] == 4
    (cluster,) = found["clusters"]
    assert cluster["photos"] == 4
    assert cluster["place"] == "France"
    listed = client.get(cluster["address"].replace("/photos", "/api/photos")).json()["photos"]
    assert len(listed) == 4
    nothing = client.get("/map/clusters", params={"box": "-10,100,0,120", "zoom": "4"}).json()
    assert (nothing["photos"], nothing["clusters"]) == (0, [])


def test_an_invalid_part_of_the_map_is_refused(client: TestClient) -> None:
    for query in ("box=1,2&zoom=3", "box=0,0,1,1&zoom=-1", "box=0,0,1,1&zoom=nan", "zoom=3"):
        assert client.get(f"/map/clusters?{query}").status_code in {400, 422}
    assert client.get("/map?box=here").status_code == 400 or not client.get("/map").text.count("map-live")


def test_the_tiles_are_served_in_ranges_and_the_library_is_compressed(client: TestClient) -> None:
    part = client.get("/static/world.pmtiles", headers={"range": "bytes=0-6", "accept-encoding": "gzip"})
    assert (part.status_code, part.content) == (206, b"PMTiles")
    assert part.headers["content-range"].startswith("bytes 0-6/")
    for name in ("maplibre-gl.mjs", "maplibre-gl-worker.mjs"):
        packed = client.get(f"/static/vendor/map/{name}", headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "javascript" in packed.headers["content-type"]


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
