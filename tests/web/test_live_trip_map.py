"""The map of a trip: its path and its photos."""

from datetime import datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from sqlalchemy import func, select, update
from starlette.testclient import TestClient
from support.browser import PHONE, axe_findings, open_page, serving
from support.library_photos import GATE, TRIP, LibraryPhotos, add_trip

from tagger.database.tables import positions
from tagger.query.counts import PathPoint
from tagger.settings import Settings
from tagger.web.pages.map_clusters import extent_of, path_geometry, trip_bounds, trip_cells

pytestmark = pytest.mark.usefixtures("shared_thumbnails")

SHOWN_PHOTOS = """(photos) => [...document.querySelectorAll(".map-cluster")]
    .reduce((sum, mark) => sum + Number(mark.dataset.photos), 0) === photos"""
WAIT_MS = 120_000
"""A map without a GPU is slow on a machine that has other work."""
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


def wait_for_path(page: Page) -> None:
    """Wait until the map has the colour of the path on the land, in the theme of the page."""
    page.evaluate(HIDE_CLUSTERS)
    path, land = (np.array(colour) for colour in page.evaluate(COLOURS))
    mixed = PATH_OPACITY * path + (1 - PATH_OPACITY) * land
    for _ in range(MOST_PICTURES):
        with Image.open(BytesIO(page.locator(".map-live").screenshot())) as picture:
            pixels = np.asarray(picture.convert("RGB"), dtype=float)
        if (np.abs(pixels - mixed).max(axis=2) < 6).sum() > 100:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the path is not drawn")


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    """A trip to Paris, and a photo there that is not of it."""
    library.file("elsewhere.jpg", (GATE, 0.9, True))
    library.position("elsewhere.jpg", 48.86, 2.33, "France")
    add_trip(library)
    return library


def point(day: int, latitude: float, longitude: float, camera: int = 1) -> PathPoint:
    taken_at = datetime(2024, 5, day)  # noqa: DTZ001 - cameras know no time zone
    return PathPoint(day, camera, taken_at, latitude, longitude, None, None, "camera")


def test_each_camera_has_a_way_which_crosses_the_edge_of_the_world() -> None:
    path = [point(1, 10, 170), point(2, 11, 179), point(3, 12, -178), point(4, 12, -178)]
    path += [point(1, 20, 20, camera=2), point(2, 21, 22, camera=2), point(1, 30, 30, camera=3)]
    assert path_geometry(path)["coordinates"] == [[(170, 10), (179, 11), (182, 12)], [(20, 20), (22, 21)]]
    box = trip_bounds(path[:4])
    assert (box.south, box.west, box.north, box.east) == (10, 170, 12, -178)
    assert box.contains(11, 179)
    assert not box.contains(11, 0)


def test_the_box_around_photos_leaves_out_the_widest_gap() -> None:
    for longitudes, expected in (
        ([-103, 2, 107], (-103, 107)),
        ([-157, 140, 135], (135, -157)),
        ([5], (5, 5)),
    ):
        box = extent_of(trip_cells([point(1, 10, longitude) for longitude in longitudes]))
        assert (box.west, box.east) == expected


def test_the_map_of_one_spot_shows_the_land_around_it() -> None:
    for longitude in (2.3, 179.99, -179.99):
        box = trip_bounds([point(1, 48.86, longitude), point(2, 48.861, longitude + 0.001)])
        assert box.contains(48.86, longitude)
        assert 7 < box.north - box.south < 9
        assert 7 < (box.east - box.west) % 360 < 9


def test_the_path_and_the_clusters_are_of_the_trip_alone(client: TestClient, library: LibraryPhotos) -> None:
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


def test_the_map_shows_the_path_and_every_photo(
    browser: Browser, web_settings: Settings, library: LibraryPhotos
) -> None:
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


def test_marks_of_estimated_positions_alone_are_drawn_and_called_so(
    client: TestClient, library: LibraryPhotos
) -> None:
    def estimated() -> list[bool]:
        found = client.get("/map/clusters", params={"box": PARIS, "zoom": 16, "trip": TRIP}).json()
        return [each["estimated"] for each in found["clusters"]]

    assert estimated().count(True) == 1  # by its landmark
    with library.database.write() as connection:
        measured = select(func.max(positions.c.photo_id)).where(positions.c.source == "camera")
        is_last = positions.c.photo_id == measured.scalar_subquery()
        connection.execute(update(positions).where(is_last).values(source="neighbour"))
    assert estimated().count(True) == 2
