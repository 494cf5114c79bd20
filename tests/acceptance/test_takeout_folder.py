"""A folder of Google Takeout from `tag` to `locate`, and to questions about years and places."""

import json

from support.camera_photos import draw_shot
from support.commands import Terminal

YEAR = "Google Photos/Photos from 2019"
TRIP = "Google Photos/Trip to Paris"


def test_a_takeout_is_tagged_located_and_found_by_its_year(terminal: Terminal) -> None:
    def draw(name: str) -> None:
        draw_shot(terminal.folder / "takeout" / name, None)

    def write(name: str, timestamp: int, latitude: float, longitude: float) -> None:
        document = {"photoTakenTime": {"timestamp": str(timestamp)}}
        document["geoData"] = {"latitude": latitude, "longitude": longitude}
        (terminal.folder / "takeout" / name).write_text(json.dumps(document))

    for name in (
        "IMG_0001.jpg",
        "IMG_0001(1).jpg",
        "IMG_0001-bearbeitet.jpg",
        "PXL_20190714_213803123.MP.jpg",
    ):
        draw(f"{YEAR}/{name}")
    draw(f"{TRIP}/IMG_0007.JPG")
    draw(f"{TRIP}/Screenshot_20150822-100819.png")
    write(f"{YEAR}/IMG_0001.jpg.supplemental-metadata.json", 1563140283, 48.8584, 2.2945)
    write(f"{YEAR}/IMG_0001.jpg.supplemental-metadata(1).json", 1577836000, -33.8568, 151.2153)
    write(f"{YEAR}/PXL_20190714_213803123.MP.jpg.supplemental-meta.json", 1563140283, 0.0, 0.0)
    write(f"{TRIP}/IMG_0007.JPG.json", 1563150283, 48.8606, 2.3376)
    (terminal.folder / "takeout" / TRIP / "metadata.json").write_text('{"title": "Trip to Paris"}')
    (terminal.folder / "takeout" / TRIP / "Screenshot_20150822-100819.png.json").write_text("{")
    tagged = terminal.run("tag", "takeout")
    assert "6 photos" in tagged.stderr
    assert "1 photo has a side file that cannot be read: Screenshot_20150822-100819.png" in tagged.stderr
    counts = terminal.json("locate")
    assert (counts["takeout"], counts["neighbour"], counts["camera"]) == (4, 1, 0)
    found = {
        each["path"].rpartition("/")[2]: each
        for each in terminal.json("query", "--year", "2019", "--any-rank")
    }
    # By its local time, the second photo is of the next year.
    assert {name: (each["taken_at"], each["taken_source"]) for name, each in found.items()} == {
        "IMG_0001.jpg": ("2019-07-14T23:38:03", "takeout"),
        "IMG_0001-bearbeitet.jpg": ("2019-07-14T23:38:03", "takeout"),
        "PXL_20190714_213803123.MP.jpg": ("2019-07-14T21:38:03", "takeout"),
        "IMG_0007.JPG": ("2019-07-15T02:24:43", "takeout"),
    }
    assert found["IMG_0001.jpg"]["position"]["source"] == "takeout"
    assert found["IMG_0001.jpg"]["position"]["city"] == "Paris"
    assert len(terminal.json("query", "--position", "takeout")) == 4
    shown = terminal.run("show", f"takeout/{TRIP}/Screenshot_20150822-100819.png").stdout
    assert "taken:      2015-08-22, from the file's name" in shown
    written = terminal.run("metadata", "write", "takeout", "--to", "sidecar", "--gps-estimated", "--dry-run")
    assert "IMG_0001" not in written.stdout
