"""The map: its clusters, the visible part as a filter, the paths of trips, and the map near by."""

from collections.abc import Iterable
from datetime import datetime
from io import BytesIO
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from rig.near_map import NEAR_MAP
from sqlalchemy import func, select, update
from support.browser import PHONE, WINDOW, axe_findings, open_page, serving
from support.library_photos import EIFFEL, GATE, TRIP, LibraryPhotos, add_trip, picture
from support.page_server import client_at

from tagger.database.tables import positions
from tagger.errors import SettingsInvalid
from tagger.query.counts import PathPoint
from tagger.settings import Settings
from tagger.web.access import AccessPolicy
from tagger.web.app import create_app
from tagger.web.pages.library import extent_of, path_geometry, trip_bounds, trip_cells

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
WAIT_MS = 120_000  # A map without a GPU is slow on a machine that has other work


@pytest.fixture
def coast(library) -> LibraryPhotos:
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


def test_a_cluster_at_one_spot_opens_its_photos(browser, web_settings, coast):
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


@pytest.mark.slow
def test_the_first_view_has_every_mark_on_a_phone_too(browser, web_settings, coast):
    for n, (latitude, longitude) in enumerate(((43.88, -103.46), (21.03, 105.85))):
        coast.file(f"far-{n}.jpg", data=picture((9, 9, 90 * n)))
        coast.position(f"far-{n}.jpg", latitude, longitude, "", "camera")
    with serving(web_settings) as address, open_page(browser, f"{address}/map", screen=PHONE) as page:
        page.wait_for_function(IN_SIGHT, arg=7, timeout=WAIT_MS)
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def drag_up(page: Page) -> None:
    session = page.context.new_cdp_session(page)
    for kind, *ys in (("touchStart", 240), ("touchMove", 190, 140, 90), ("touchEnd",)):
        for points in [[{"x": 60, "y": y}] for y in ys] or [[]]:
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


@pytest.mark.slow
def test_clusters_are_large_and_the_visible_part_is_an_address_and_a_filter(browser, web_settings, coast):
    with serving(web_settings) as address, open_page(browser, f"{address}/map", screen=PHONE) as page:
        wait_for_clusters(page)
        boxes = [mark.bounding_box() for mark in page.locator(CLUSTER).all()]
        for one, other in combinations(boxes, 2):
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
        page.keyboard.press("Enter")  # enlarges the map
        page.get_by_role("link", name="Show 4 photos").click(timeout=WAIT_MS)
        page.wait_for_url("**/photos?box=*", timeout=WAIT_MS)
        expect(page.locator("[data-grid] > .photo-tile")).to_have_count(4)


def test_a_cluster_has_the_address_of_its_photos(client, coast):
    found = client.get("/map/clusters", params={"box": "43,7,44,8", "zoom": "4"}).json()
    assert found["photos"] == 4
    (cluster,) = found["clusters"]
    assert cluster["photos"] == 4
    assert cluster["place"] == "France"
    listed = client.get(cluster["address"].replace("/photos", "/api/photos")).json()["photos"]
    assert len(listed) == 4
    nothing = client.get("/map/clusters", params={"box": "-10,100,0,120", "zoom": "4"}).json()
    assert (nothing["photos"], nothing["clusters"]) == (0, [])


def test_tiles_are_served_in_ranges_and_invalid_parts_refused(client):
    part = client.get("/static/world.pmtiles", headers={"range": "bytes=0-6", "accept-encoding": "gzip"})
    assert (part.status_code, part.content) == (206, b"PMTiles")
    assert part.headers["content-range"].startswith("bytes 0-6/")
    for name in ("maplibre-gl.mjs", "maplibre-gl-worker.mjs"):
        packed = client.get(f"/static/vendor/map/{name}", headers={"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "javascript" in packed.headers["content-type"]
    for query in ("box=1,2&zoom=3", "box=0,0,1,1&zoom=-1", "box=0,0,1,1&zoom=nan", "zoom=3"):
        assert client.get(f"/map/clusters?{query}").status_code in {400, 422}
    assert client.get("/map?box=here").status_code == 400 or not client.get("/map").text.count("map-live")


@pytest.mark.parametrize(
    "script", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["without WebGL", "without script"]
)
def test_a_browser_that_cannot_draw_the_map_says_so(browser, web_settings, coast, script):
    with (
        serving(web_settings) as address,
        open_page(browser, "about:blank", screen=PHONE, script=script) as page,
    ):
        page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        page.goto(f"{address}/map")
        expect(page.get_by_text("needs JavaScript and WebGL")).to_be_visible()
        expect(page.locator(".map-live")).to_be_hidden()


SHOWN_PHOTOS = """(photos) => [...document.querySelectorAll(".map-cluster")]
    .reduce((sum, mark) => sum + Number(mark.dataset.photos), 0) === photos"""
PARIS = "48,2,49,3"
COLOURS = """() => ["path", "land"].map((name) => {
  const probe = document.createElement("span");
  probe.className = `map-colour map-colour--${name}`;
  document.body.append(probe);
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
  probe.remove();
  return [red, green, blue];
})"""
HIDE_CLUSTERS = """() => {
  for (const mark of document.querySelectorAll(".map-cluster")) mark.style.visibility = "hidden";
}"""
COVERED = """() => {
  const { top } = document.querySelector(".maplibregl-ctrl-attrib").getBoundingClientRect();
  return [...document.querySelectorAll(".map-cluster")].map((mark) => mark.getBoundingClientRect().bottom).filter((bottom) => bottom > top);
}"""
PATH_OPACITY = 0.7
MOST_PICTURES = 300


def wait_for_colour(page: Page, colour: Iterable[float], pixels: int) -> None:
    """Wait until so many pixels of the map have the colour."""
    for _ in range(MOST_PICTURES):
        with Image.open(BytesIO(page.locator(".map-live").screenshot())) as picture:
            drawn = np.asarray(picture.convert("RGB"), dtype=float)
        if (np.abs(drawn - colour).max(axis=2) < 5).sum() > pixels:
            return
        page.wait_for_timeout(100)
    raise AssertionError(colour)


def wait_for_path(page: Page) -> None:
    """Wait until the map has the colour of the path on the land, in the theme of the page."""
    page.evaluate(HIDE_CLUSTERS)
    path, land = (np.array(colour) for colour in page.evaluate(COLOURS))
    wait_for_colour(page, PATH_OPACITY * path + (1 - PATH_OPACITY) * land, 100)


@pytest.fixture
def journey(library) -> LibraryPhotos:
    """A trip to Paris, and a photo there that is not of it."""
    library.file("elsewhere.jpg", (GATE, 0.9, True))
    library.position("elsewhere.jpg", 48.86, 2.33, "France")
    add_trip(library)
    return library


def point(day: int, latitude: float, longitude: float, camera: int = 1) -> PathPoint:
    taken_at = datetime(2024, 5, day)  # noqa: DTZ001 - cameras know no time zone
    return PathPoint(day, camera, taken_at, latitude, longitude, None, None, "camera")


def test_ways_cross_the_edge_of_the_world_and_boxes_leave_out_the_widest_gap():
    path = [point(1, 10, 170), point(2, 11, 179), point(3, 12, -178), point(4, 12, -178)]
    path += [point(1, 20, 20, camera=2), point(2, 21, 22, camera=2), point(1, 30, 30, camera=3)]
    assert path_geometry(path)["coordinates"] == [[(170, 10), (179, 11), (182, 12)], [(20, 20), (22, 21)]]
    box = trip_bounds(path[:4])
    assert (box.south, box.west, box.north, box.east) == (10, 170, 12, -178)
    assert box.contains(11, 179)
    assert not box.contains(11, 0)
    for longitudes, expected in (
        ([-103, 2, 107], (-103, 107)),
        ([-157, 140, 135], (135, -157)),
        ([5], (5, 5)),
    ):
        box = extent_of(trip_cells([point(1, 10, longitude) for longitude in longitudes]))
        assert (box.west, box.east) == expected
    for longitude in (2.3, 179.99, -179.99):
        box = trip_bounds([point(1, 48.86, longitude), point(2, 48.861, longitude + 0.001)])
        assert box.contains(48.86, longitude)
        assert 7 < box.north - box.south < 9
        assert 7 < (box.east - box.west) % 360 < 9


def test_the_path_and_estimated_marks_are_of_the_trip(client, journey):
    (way,) = client.get(f"/trips/{TRIP}/path").json()["coordinates"]
    assert way[0] == [2.33, 48.86]
    assert way[-1] == [2.41, 48.9]
    assert len(way) == 9
    found = client.get("/map/clusters", params={"box": PARIS, "zoom": 12, "trip": TRIP}).json()
    assert found["photos"] == 9
    listed = [
        photo["id"]
        for cluster in found["clusters"]
        for photo in client.get(cluster["address"].replace("/photos?", "/api/photos?")).json()["photos"]
    ]
    assert len(listed) == len(set(listed)) == 9
    assert client.get("/map/clusters", params={"box": PARIS, "zoom": 12}).json()["photos"] == 10
    assert client.get("/trips/2018-05-04-rome/path").status_code == 404
    assert client.get("/map/clusters?box=48,2,49,3&zoom=3&trip=rome").status_code == 404

    def estimated() -> list[bool]:
        found = client.get("/map/clusters", params={"box": PARIS, "zoom": 16, "trip": TRIP}).json()
        return [each["estimated"] for each in found["clusters"]]

    assert estimated().count(True) == 1  # by its landmark
    with journey.database.write() as connection:
        measured = select(func.max(positions.c.photo_id)).where(positions.c.source == "camera")
        is_last = positions.c.photo_id == measured.scalar_subquery()
        connection.execute(update(positions).where(is_last).values(source="neighbour"))
    assert estimated().count(True) == 2


@pytest.mark.slow
def test_the_map_shows_the_path_and_every_photo(browser, web_settings, journey):
    with (
        serving(web_settings) as address,
        open_page(browser, f"{address}/trips/{TRIP}", screen=PHONE) as page,
    ):
        page.wait_for_function(SHOWN_PHOTOS, arg=9, timeout=WAIT_MS)
        wait_for_path(page)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        wait_for_path(page)
        assert page.evaluate(COVERED) == []
        assert axe_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


NICE = "/map?box=43.685,7.25,43.715,7.29"
WATER = {"light": (128, 222, 234), "dark": (49, 53, 63)}  # Of the published styles


@pytest.fixture
def nice(library) -> LibraryPhotos:
    library.file("nice.jpg", (EIFFEL, 0.9, True))
    library.position("nice.jpg", 43.70, 7.27, "France")
    return library


@pytest.fixture
def with_file(web_settings) -> Settings:
    return web_settings.model_copy(update={"web_map_file": NEAR_MAP})


def test_the_file_is_served_in_ranges_if_there_is_one(client, nice, with_file):
    assert client.get("/map/near.pmtiles").status_code == 404
    assert 'data-near=""' in client.get("/map").text
    client = client_at(create_app(with_file, nice.database, AccessPolicy()))
    part = client.get("/map/near.pmtiles", headers={"range": "bytes=0-6", "accept-encoding": "gzip"})
    assert (part.status_code, part.content) == (206, b"PMTiles")
    assert "immutable" in part.headers["cache-control"]
    assert 'data-near="/map/near.pmtiles?v=' in client.get("/map").text


def test_a_wrong_file_is_refused_at_the_start(nice, web_settings, tmp_path):
    other = tmp_path / "map.pmtiles"
    for content, reason in ((None, "No such file"), (b"SQLite format 3", "it is no PMTiles file")):
        if content:
            other.write_bytes(content)
        settings = web_settings.model_copy(update={"web_map_file": other})
        with pytest.raises(SettingsInvalid, match=reason):
            create_app(settings, nice.database, AccessPolicy())


@pytest.mark.slow
def test_streets_are_drawn_near_by_in_both_modes(browser, nice, with_file):
    with serving(with_file) as address, open_page(browser, f"{address}{NICE}") as page:
        wait_for_colour(page, WATER["light"], 5000)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        wait_for_colour(page, WATER["dark"], 5000)
        expect(page.get_by_role("link", name="OpenStreetMap")).to_be_visible()
        expect(page.get_by_role("button", name="Zoom in")).to_be_enabled()
        assert axe_findings(page) == []


@pytest.mark.slow
def test_without_a_file_zooming_stops_where_nothing_follows(browser, nice, web_settings):
    with serving(web_settings) as address, open_page(browser, f"{address}{NICE}") as page:
        expect(page.get_by_role("button", name="Zoom in")).to_be_disabled(timeout=WAIT_MS)
        expect(page.get_by_role("button", name="Zoom out")).to_be_enabled()
