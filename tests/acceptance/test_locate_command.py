"""`tagger locate`, `tagger tracks` and `tagger trips` as a person types them."""

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from support.artifacts import tiny_artifact
from support.camera_photos import draw_shot
from support.databases import execute
from support.gpx_files import START, add_track, walk, write_gpx
from support.position_library import PositionLibrary

from tagger.database.tables import cameras, contents, photos
from tagger.tags import record_matching_photos

EIFFEL = ("eiffel-tower", 0.97, True)


@pytest.fixture
def library(sqlite_database, tmp_path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(sqlite_database, tmp_path)
    library.camera("Canon EOS 5D")
    library.shot(0, gps=(48.7, 2.2))
    library.shot(12)
    library.shot(20, EIFFEL)
    library.shot(600)
    return library


def test_locate_says_where_positions_come_from(tagger, library):
    output = tagger("locate", code=0)
    assert [line.split(maxsplit=1) for line in output.text.splitlines()] == [
        ["4", "photos:"],
        ["1", "by the camera's GPS"],
        ["1", "by a landmark"],
        ["0", "by a track"],
        ["1", "by photos taken before or after"],
        ["1", "without a position"],
        ["1", "photo at a sight"],
    ]
    assert "3 positions changed" in output.err
    assert "tagger query --position none" in output.err
    counts = {"photos": 4, "camera": 1, "landmark": 1, "track": 0, "neighbour": 1, "unknown": 1}
    counts |= {"sidecar": 0, "takeout": 0, "trip": 0, "at_sights": 1}
    counts |= {"tags_doubtful": 0, "tags_accepted": 0}
    again = tagger("locate", "--json")
    assert (again.json, "changed" in again.err) == ({**counts, "companions": []}, False)
    assert len(library.found()) == 3
    # Writing says when they are not up to date.
    write = ("metadata", "write", "--to", "sidecar", "--gps-estimated", "--dry-run")
    assert "up to date: run tagger locate" not in tagger(*write).err
    with library.database.write() as connection:
        record_matching_photos(connection, photos.c.camera_id.is_not(None))
    assert "positions are not up to date; run: tagger locate" in tagger(*write).err


def test_a_dry_run_changes_nothing_and_unknown_photos_are_not_counted(tagger, library):
    output = tagger("locate", "--max-gap", "5m", "--dry-run")
    assert "2 positions would change" in output.err
    assert library.found() == {}
    assert "3 positions changed" in tagger("locate").err
    assert tagger("locate", "--max-gap", "5m", "--json").json["neighbour"] == 0
    assert tagger("locate", "--json").json["neighbour"] == 0
    assert tagger("locate", "--max-gap", "2h", "--json").json["neighbour"] == 1
    assert library.found()
    with library.database.write() as connection:
        failed = insert(contents).values(digest="damaged", width=1, height=1).returning(contents.c.id)
        content_id = connection.execute(failed).scalar_one()
    library.photo("damaged.jpg", classified=False, content_id=content_id, failure_kind="corrupt")
    assert tagger("locate", "--json").json["unknown"] == 1
    assert len(tagger("query", "--position", "none", "--json").json) == 1


def test_formats_and_show_have_positions_of_each_source(tagger, library):
    tagger("locate")
    features = tagger("query", "--position", "any", "--format", "geojson").json["features"]
    documents = tagger("query", "--position", "any", "--json").json
    assert [document["position"]["source"] for document in documents] == ["camera", "neighbour", "landmark"]
    assert [feature["properties"] for feature in features] == documents
    for feature in features:
        position = feature["properties"]["position"]
        assert feature["geometry"]["coordinates"] == [position["longitude"], position["latitude"]]
    text = tagger("query", "--position", "any", "--format", "csv").out.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    for row, document in zip(rows, documents, strict=True):
        values = {name.removeprefix("position_"): value for name, value in list(row.items())[-7:]}
        position = document["position"]
        assert values.keys() == position.keys() - {"region"}
        assert values.pop("sight") == (position["sight"] or {"name": ""})["name"]
        assert values == {name: str(position[name]) for name in values}

    def follows(name: str) -> str:
        lines = tagger("show", str(library.root / name)).text.splitlines()
        return next(line.split(maxsplit=1)[1] for line in lines if line.startswith("follows:"))

    assert follows("0.jpg") == "from the camera's GPS"
    assert follows("1.jpg") == "between 0.jpg (GPS, 12 min before) and 2.jpg (Eiffel Tower, 8 min after)"
    assert follows("2.jpg") == "from the landmark Eiffel Tower"
    assert "position:" not in tagger("show", str(library.root / "3.jpg")).text
    evidence = tagger("show", str(library.root / "1.jpg"), "--json").json["evidence"]
    assert (evidence["before"]["seconds"], evidence["after"]["landmark"]) == (720, "Eiffel Tower")


def hike(folder: Path) -> Path:
    """A track of an hour, a point every five minutes."""
    start_s = (datetime(2024, 5, 3, 20, tzinfo=UTC) - START).total_seconds()
    points = [(start_s + 60 * minute, 45 + minute / 100, 7.0) for minute in range(0, 60, 5)]
    return write_gpx(folder / "hike.gpx", points)


def test_a_track_locates_photos_of_cameras_whose_clock_is_known(tagger, library, tmp_path):
    track = hike(tmp_path)
    output = tagger("locate", "--gpx", track, "--json")
    assert "12 points of hike.gpx added" in output.err
    assert output.json["track"] == 0
    # Taken at 22:00 by the camera's clock.
    assert tagger("locate", "--clock-offset", "canon=+01:30", "--json").json["track"] == 1
    assert library.found()[4] == ("track", 45.3, 7.0)
    assert "from the track hike.gpx" in tagger("show", str(library.root / "3.jpg")).text
    assert "12 points of hike.gpx were added before" in tagger("locate", "--gpx", track).err
    assert tagger("locate", "forget-track", "hike.gpx").code == 0
    assert tagger("locate", "--json").json["track"] == 0


REFUSED: tuple[tuple[Sequence[str], int, str], ...] = (
    (("--clock-offset", "WRONG=+02:00"), 1, "with a camera WRONG"),
    (
        ("--clock-offset", "canon eos 5d=-05:30", "--clock-offset", "nikon=+02:00"),
        *(1, "with a camera nikon. Known cameras: Canon EOS 5D, Canon EOS R"),
    ),
    (("--clock-offset", "canon=+02:00"), 1, "Several cameras match canon"),
    (("--gpx", "broken.gpx"), 1, "broken.gpx cannot be imported"),
    (("--gpx", "nothere.gpx"), 1, "There is no file or folder at nothere.gpx"),
    (("--max-gap", "49h"), 2, "'49h' is no time up to 48h"),
)


def test_a_track_shows_first_what_it_would_change_and_stores_nothing_refused(tagger, library, tmp_path):
    tagger("locate", "--clock-offset", "canon=+01:30")
    output = tagger("locate", "--gpx", hike(tmp_path), "--dry-run", "--json")
    assert (output.json["track"], "12 points of hike.gpx would be added" in output.err) == (1, True)
    assert tagger("locate", "tracks", "--json").json == []
    assert tagger("locate", "--json").json["track"] == 0
    (tmp_path / "broken.gpx").write_text("<gpx><trk>")
    library.camera("Canon EOS R")
    for options, code, text in REFUSED:
        output = tagger("locate", "--max-gap", "30m", "--gpx", hike(tmp_path), *options, code=code)
        assert re.search(text, " ".join(output.err.split()))
        assert tagger("locate", "tracks", "--json").json == []
    assert tagger("locate", "--json").json["neighbour"] == 1  # the gap is that of before


def test_cameras_without_a_clock_that_tracks_need_are_named(tagger, library, tmp_path):
    execute(library.database, update(cameras).values(key="camera|canon|canon eos 5d|"))
    assert "no track locates" not in tagger("locate").err
    output = tagger("locate", "--gpx", hike(tmp_path))
    assert "the clock of Canon EOS 5D is not known, so no track locates 3 photos of it" in output.err
    assert "tagger locate --clock-offset 'Canon EOS 5D=+02:00'" in output.err
    assert "no track locates" not in tagger("locate", "--clock-offset", "canon=+02:00").err


def test_landmarks_tell_how_a_clock_is_set(tagger, library):
    execute(library.database, update(cameras).values(key="camera|canon|canon eos 5d|"))
    phone = library.camera("camera|phone||")
    library.shot(25, EIFFEL, camera=phone, utc_offset_s=7200, gps=(48.86, 2.3))
    library.update()
    output = tagger("locate")
    assert "the clock of Canon EOS 5D is 1:55 hours ahead of UTC" in output.err
    assert "clock" not in tagger("locate").err
    assert tagger("locate", "--clock-offset", "canon=+02:00").code == 0
    assert "clock" not in tagger("locate").err


def test_cameras_that_are_used_together_locate_each_others_photos(tagger, library):
    execute(library.database, update(cameras).values(key="camera|canon|canon eos 5d|"))
    phone = library.camera("camera|pixel")
    for day, latitude in ((3, 47.0), (5, 48.0), (7, 49.0)):
        library.shot(day * 1440, gps=(latitude, 2.0), utc_offset_s=7200)
        library.shot(day * 1440 + 10, camera=phone, gps=(latitude, 2.0), utc_offset_s=7200)
    library.shot(625, camera=phone, gps=(48.5, 2.0), utc_offset_s=7200)
    output = tagger("locate", "--clock-offset", "canon=+02:00")
    together = "Canon EOS 5D and camera|pixel were together 3 of 3 times: each locates the other's photos"
    assert together in " ".join(output.err.split())
    pair = {"cameras": ["Canon EOS 5D", "camera|pixel"], "together": 3, "occasions": 3}
    assert tagger("locate", "--json").json["companions"] == [pair]
    assert "near 10.jpg (GPS, 25 min after)" in tagger("show", str(library.root / "3.jpg")).text


@pytest.mark.parametrize("noon", ["0001-01-01T00:00:05", "9999-12-31T23:59:00"])
def test_the_first_and_the_last_times_that_there_are_stop_nothing(tagger, tmp_path, monkeypatch, noon):
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    folder, start, paris = tmp_path / "photos", datetime.fromisoformat(noon), (48.858, 2.294)
    draw_shot(folder / "phone.jpg", 0, gps=paris, noon=start, model="Pixel", offset="-12:00")
    draw_shot(folder / "other.jpg", 0, gps=paris, noon=start, model="Galaxy", offset="+14:00")
    draw_shot(folder / "tower.jpg", 0, label=0, noon=start)
    assert tagger("tag", folder).code == 0
    located = tagger("locate", "--json").json
    assert located == located | {"photos": 3, "camera": 2, "landmark": 1}
    assert tagger("trips", "--json").json == []


def test_tracks_are_listed_in_order_of_time_and_removed(tagger, sqlite_database, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    add_track(sqlite_database, write_gpx(tmp_path / "evening.gpx", walk(20, start_s=36_000)))
    add_track(sqlite_database, write_gpx(tmp_path / "morning.gpx", walk(10)))
    listed = tagger("locate", "tracks", "--json").json
    assert [(track["name"], track["points"]) for track in listed] == [
        ("morning.gpx", 10),
        ("evening.gpx", 20),
    ]
    assert listed[0]["first_at"] == "2019-05-03T08:00:00+00:00"
    assert listed[0]["last_at"] == "2019-05-03T08:01:30+00:00"
    table = tagger("locate", "tracks").text.splitlines()
    assert table[1].split()[:3] == [str(listed[0]["id"]), "morning.gpx", "10"]

    assert "There is no track noon.gpx" in tagger("locate", "forget-track", "noon.gpx", code=1).err
    output = tagger("locate", "forget-track", "morning.gpx", code=0)
    assert (output.text, output.err) == ("", "morning.gpx is removed\n")
    assert tagger("locate", "forget-track", listed[1]["id"], "--json").json["name"] == "evening.gpx"
    output = tagger("locate", "tracks")
    assert (output.text, output.err) == ("", "there is no track; add one with: tagger locate --gpx FILE\n")


PARIS = (48.8390, 2.2925)
TRIP = "2024-05-03-paris"


@pytest.fixture
def travels(sqlite_database, tmp_path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(sqlite_database, tmp_path)
    library.camera()
    for hours in range(0, 48, 8):
        library.shot(hours * 60, gps=PARIS)
    library.shot(90, EIFFEL)
    library.update()
    return library


@pytest.mark.usefixtures("travels")
def test_trips_are_listed_and_selected_by_dates_and_commands(tagger):
    output = tagger("trips", code=0)
    headings, trip = output.text.splitlines()
    assert headings == "Trip\tName\tDates\tPhotos\tPlaces\tLandmarks"
    assert trip == f"{TRIP}\tParis\t3\N{EN DASH}5 May 2024\t7\tParis\tEiffel Tower"
    (document,) = tagger("trips", "--json").json
    days = ("2024-05-03T12:00:00", "2024-05-05T04:00:00")
    facts = tuple(document[name] for name in ("trip", "name", "photos", "first", "last"))
    assert facts == (TRIP, "Paris", 7, *days)
    assert document["places"][0]["city"] == "Paris"
    assert document["landmarks"] == [{"landmark": "eiffel-tower", "name": "Eiffel Tower", "photos": 1}]
    assert tagger("trips", "--format", "ndjson").json == document
    assert len(tagger("trips", "--year", "2024", "--json").json) == 1
    assert tagger("trips", "--year", "2023", "--json").json == []
    assert tagger("trips", "--taken-after", "2024-05-06", "--json").json == []
    assert len(tagger("trips", "--taken-before", "2024-05-04", "--json").json) == 1
    for refused in ("--year 2024 --taken-after 2024-05-06", "--format csv", "--format csv-bom"):
        assert tagger("trips", *refused.split()).code == 2
    assert "no trips at that time; to list all, run: tagger trips\n" in tagger("trips", "--year", "2023").err
    assert len(tagger("query", "--trip", TRIP, "--json").json) == 7
    assert tagger("locate", "--trip", TRIP, "--json").json["photos"] == 7
    assert tagger("metadata", "write", "--trip", TRIP, "--to", "sidecar", "--dry-run").code == 0
    assert "`tagger trips` lists the names" in tagger("query", "--trip", "2024-06-01-rome", code=1).err


def test_without_trips_the_next_step_or_what_a_trip_needs_is_named(tagger, sqlite_database, tmp_path):
    output = tagger("trips")
    assert (output.code, output.text, "tagger locate" in output.err) == (0, "", True)
    library = PositionLibrary.with_tiny_model(sqlite_database, tmp_path)
    library.camera()
    library.shot(0, gps=PARIS)
    library.update()
    output = tagger("trips")
    assert "5 photos with positions on two days or more away from home, or 10 on one day" in output.err
    assert "tagger locate" not in output.err
