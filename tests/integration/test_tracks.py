"""Tracks and sights: where somebody was at a given time, and at which sight a photo was taken."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, insert, select
from support.databases import audit_entries, query_plans, read_scalar
from support.gpx_files import START, START_S, add_track, gpx_text, walk, write_gpx
from support.position_library import NOON, PositionLibrary
from support.threads import in_threads

from tagger.database import VerdictKind
from tagger.database.connection import Database
from tagger.database.tables import changed_days, photos, positions, roots, track_parts, tracks
from tagger.errors import ImportRefused, NameAmbiguous, NameNotFound, SightNotFound
from tagger.landmarks.edits import NewLandmark, add_landmark, edit_landmark, merge_landmark, remove_landmark
from tagger.positions.companions import UnknownClock, unknown_clocks
from tagger.positions.evidence import GPS_ERROR_M, MAX_TRACK_GAP_S, Fix, locate_on_tracks
from tagger.positions.tracks import list_tracks, read_track, remove_track, store_track, track_spool
from tagger.query.counts import sight_counts
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.timeline import section_parts
from tagger.search.names import sight_names
from tagger.search.text_query import place_near, suggest, text_query, this_day
from tagger.texts.text_format import in_language
from tagger.transfer import check_database
from tagger.verdicts import VerdictFilter, give_verdicts, list_verdicts, withdraw_verdicts
from tagger.web.templating import load_language


def located(database: Database, *seconds: float) -> list[Fix | None]:
    with database.read() as connection:
        return locate_on_tracks(connection, START_S + np.array(seconds, np.float64))


def place(fix: Fix | None) -> tuple[float, float] | None:
    return None if fix is None else (round(fix.latitude, 7), round(fix.longitude, 7))


def test_a_track_is_added_once(database, tmp_path):
    file = write_gpx(tmp_path / "walk.gpx", [*walk(3), (20, 48.0003, 2.0), (30, 91, 0)], walk(2, start_s=100))
    added = add_track(database, file)
    assert (added.name, added.points, added.is_new) == ("walk.gpx", 5, True)
    assert (added.first_at, added.last_at) == (START, START + timedelta(seconds=110))
    assert added.left_out == {"invalid_position": 1, "duplicates": 1}

    copy = tmp_path / "copy.gpx"
    copy.write_bytes(file.read_bytes())
    again = add_track(database, copy)
    assert (again.id, again.name, again.points, again.is_new) == (added.id, "walk.gpx", 5, False)
    assert [(track.id, track.points) for track in list_tracks(database)] == [(added.id, 5)]
    assert list(check_database(database)) == []


@pytest.mark.postgresql
def test_two_processes_add_the_same_track_once(database, tmp_path):
    file = write_gpx(tmp_path / "walk.gpx", walk(1000))
    results: list[bool] = []
    in_threads([lambda: results.append(add_track(database, file).is_new)] * 4)
    assert sorted(results) == [False, False, False, True]
    assert len(list_tracks(database)) == 1
    assert read_scalar(database, select(func.count()).select_from(track_parts)) == 1


def test_a_name_that_is_not_utf8_is_stored(database, tmp_path):
    file = write_gpx(tmp_path / "caf\udce9.gpx", walk(3))
    assert add_track(database, file).name == "caf\\udce9.gpx"


def test_positions_between_points_are_interpolated_with_an_error(database, tmp_path):
    track = add_track(
        database, write_gpx(tmp_path / "a.gpx", [(0, 48, 2), (10, 48.001, 2), (610, 48.011, 2)])
    )
    fixes = located(database, -1, 0, 5, 10, 70, 310, 610, 611)
    assert [place(fix) for fix in fixes] == [
        None,
        (48, 2),
        (48.0005, 2),
        (48.001, 2),
        (48.002, 2),
        (48.006, 2),
        (48.011, 2),
        None,
    ]
    errors = [fix.error_m for fix in fixes if fix]
    assert errors[0] == errors[2] == errors[5] == pytest.approx(GPS_ERROR_M)
    assert GPS_ERROR_M < errors[1] < errors[3] < errors[4]
    assert {fix.evidence["track"] for fix in fixes if fix} == {track.id}


def test_gaps_of_a_quarter_of_an_hour_are_crossed_and_longer_ones_are_not(database, tmp_path):
    add_track(database, write_gpx(tmp_path / "a.gpx", [(0, 48, 2)], [(MAX_TRACK_GAP_S, 48.01, 2)]))
    add_track(database, write_gpx(tmp_path / "b.gpx", [(5000, 48, 2)], [(5001 + MAX_TRACK_GAP_S, 48.01, 2)]))
    assert [fix is not None for fix in located(database, 450, 4999, 5000, 5400)] == [True, False, True, False]


def test_nothing_is_known_within_an_impossible_jump(database, tmp_path):
    add_track(database, write_gpx(tmp_path / "a.gpx", [*walk(20), *walk(20, start_s=200, latitude=-30)]))
    assert [fix is not None for fix in located(database, 185, 195, 205)] == [True, False, True]


def test_positions_cross_the_date_line_and_the_pole(database, tmp_path):
    add_track(database, write_gpx(tmp_path / "a.gpx", [(0, 10, 179.99), (60, 10, -179.99)]))
    add_track(database, write_gpx(tmp_path / "b.gpx", [(100, 89.99, 90), (400, 89.99, -90)]))
    date_line, pole = located(database, 30, 250)
    assert (date_line.latitude, abs(date_line.longitude)) == pytest.approx((10, 180), abs=1e-6)
    assert pole.latitude == pytest.approx(90, abs=1e-6)


def test_of_two_tracks_the_more_exact_one_counts(database, tmp_path):
    add_track(database, write_gpx(tmp_path / "phone.gpx", [(0, 48, 2), (600, 48.006, 2)]))
    watch = add_track(database, write_gpx(tmp_path / "watch.gpx", walk(61)))
    (fix,) = located(database, 299)
    assert (fix.evidence["track"], place(fix)) == (watch.id, (48.00299, 2.0))


@pytest.mark.parametrize("is_one_file", [False, True])
def test_two_people_at_the_same_time_are_nowhere(database, tmp_path, is_one_file):
    people = walk(30), walk(30, start_s=100, latitude=52)
    for number, segments in enumerate([people] if is_one_file else [(each,) for each in people]):
        add_track(database, write_gpx(tmp_path / f"{number}.gpx", *segments))
    places = [place(fix) for fix in located(database, 50, 150, 290, 291, 350)]
    assert places == [(48.0005, 2.0), None, None, (52.00191, 2.0), (52.0025, 2.0)]


def test_photos_of_the_time_of_a_track_are_recorded(database, tmp_path):
    midnight = START.replace(tzinfo=None)
    hours = (-27, -25, 0, 25, 27, None)
    _insert_photos(database, [None if hour is None else midnight + timedelta(hours=hour) for hour in hours])
    file = write_gpx(tmp_path / "a.gpx", walk(10))

    add_track(database, file)
    assert _recorded(database) == ["1.jpg", "2.jpg", "3.jpg"]
    add_track(database, file)
    assert len(_recorded(database)) == 3
    remove_track(database, "a.gpx")
    assert _recorded(database) == sorted(["1.jpg", "2.jpg", "3.jpg"] * 2)


def test_a_track_is_removed_by_name_or_number(database, tmp_path):
    (tmp_path / "other").mkdir()
    first = add_track(database, write_gpx(tmp_path / "a.gpx", walk(10)))
    second = add_track(database, write_gpx(tmp_path / "other" / "a.gpx", walk(20, start_s=1000)))
    with pytest.raises(NameAmbiguous, match=f"Use the number of one of them: {first.id}, {second.id}"):
        remove_track(database, "a.gpx")
    assert remove_track(database, str(first.id)).points == 10
    assert remove_track(database, "a.gpx").id == second.id
    assert located(database, 5, 1005) == [None, None]
    for name in ("a.gpx", str(first.id), "9" * 30, "٣"):
        with pytest.raises(NameNotFound):
            remove_track(database, name)
    assert read_scalar(database, select(func.count()).select_from(track_parts)) == 0
    entries = audit_entries(database)[:10]
    actions = [entry.action for entry in entries]
    assert actions == ["track-remove", "track-remove", "track-add", "track-add"]


def _insert_photos(database: Database, times: list[datetime | None]) -> None:
    with database.write() as connection:
        root = {"name": "photos", "location": "/photos", "location_bytes": b""}
        root_id = connection.execute(insert(roots).values(root).returning(roots.c.id)).scalar_one()
        row = {"root_id": root_id, "path_bytes": b"", "size_bytes": 1, "mtime_ns": 1}
        rows = [row | {"path": f"{number}.jpg", "taken_at": time} for number, time in enumerate(times)]
        connection.execute(insert(photos), rows)


def _recorded(database: Database) -> list[str]:
    with database.read() as connection:
        query = select(photos.c.path).join(changed_days, changed_days.c.photo_id == photos.c.id)
        return sorted(connection.scalars(query.where(changed_days.c.step == "positions")))


def test_a_refused_file_changes_nothing_and_one_that_breaks_off_adds_its_good_points(database, tmp_path):
    for name, text, reason in (
        ("broken.gpx", gpx_text(walk(6000))[:140], "line 2, column"),
        (
            "times.gpx",
            "<gpx><trk><trkseg><trkpt lat='1' lon='1'/></trkseg></trk></gpx>",
            "none of its 1 points",
        ),
        ("route.gpx", "<gpx><rte><rtept lat='1' lon='1'/></rte></gpx>", "it has no points of tracks"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ImportRefused, match=reason):
            add_track(database, tmp_path / name)
    assert read_scalar(database, select(func.count()).select_from(tracks)) == 0
    file = tmp_path / "cut.gpx"
    file.write_text(gpx_text(walk(6000))[:-200])
    added = add_track(database, file)
    assert (added.points, added.left_out) == (5997, {"unreadable": 1})
    assert "line 5999, column" in str(added.fault)


def test_a_track_that_is_removed_between_reading_and_storing_is_refused(database, tmp_path):
    file = write_gpx(tmp_path / "a.gpx", walk(10))
    add_track(database, file)
    with track_spool() as spool:
        known = read_track(database, file, spool)
        remove_track(database, "a.gpx")
        with pytest.raises(ImportRefused, match="removed at the same time"), database.write() as connection:
            store_track(connection, known, spool)
    assert list_tracks(database) == []
    assert add_track(database, file).is_new


@pytest.mark.postgresql
def test_parts_and_photos_are_found_by_the_indexes_on_their_times(database, tmp_path):
    with query_plans(database, "photos.taken_at BETWEEN") as of_photos:
        add_track(database, write_gpx(tmp_path / "a.gpx", walk(10)))
    with query_plans(database, "track_parts.last_at BETWEEN") as of_parts:
        located(database, 5)
    assert "ix_photos_taken_at" in of_photos[0]
    assert "ix_track_parts_last_at_first_at" in of_parts[0]


def test_cameras_with_photos_around_a_track_are_named(database, tmp_path):
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    few, many = library.camera("camera|few"), library.camera("camera|many")
    known = library.camera("camera|known", clock_offset_s=7200, clock_source="given")
    folder = library.camera("1/scans/")
    days = (START.replace(tzinfo=None) - NOON).total_seconds() / 60
    for camera in (few, many, many, known, folder):
        library.shot(days + 60, camera=camera)
    library.shot(days + 60, camera=few, utc_offset_s=0)
    library.shot(days + 60, camera=few, gps=(48.0, 2.0))
    library.shot(days + 60 * 40, camera=few)
    assert unknown_clocks(database) == []
    for number in range(2):
        add_track(database, write_gpx(tmp_path / f"{number}.gpx", walk(20, start_s=3600 * number)))
    assert unknown_clocks(database) == [UnknownClock("camera|many", 2), UnknownClock("camera|few", 1)]


LOUVRE, LIBERTY, STREET = (48.8611, 2.3358), (40.6896, -74.0450), (48.8390, 2.2925)


@pytest.fixture
def library(database, tmp_path) -> PositionLibrary:
    return PositionLibrary.with_camera(database, tmp_path)


def _sights(library: PositionLibrary) -> dict[int, str | None]:
    with library.database.read() as connection:
        rows = connection.execute(select(positions.c.photo_id, positions.c.sight))
        return {row.photo_id: row.sight for row in rows}


def _found(library: PositionLibrary, **options: Any) -> set[str]:
    return {Path(photo.path).name for photo in find_tagged(library.database, PhotoQuery(**options), {})}


@pytest.mark.postgresql
def test_a_photo_knows_the_sight_at_which_it_was_taken_and_queries_find_it(library):
    louvre, liberty, street = (
        library.shot(0, gps=LOUVRE),
        library.shot(600, gps=LIBERTY),
        library.shot(1200, gps=STREET),
    )
    library.update()
    assert _sights(library) == {louvre: "Louvre Museum", liberty: "Statue of Liberty", street: None}
    (photo,) = find_tagged(library.database, PhotoQuery(sight=("louvre",)), {})
    assert (photo.position.sight.name, photo.position.sight.kind) == ("Louvre Museum", "museum")
    assert photo.position.sight.distance_m < 20
    assert photo.position.whole_place == "Louvre Museum, Paris, France"
    assert len(_found(library, sight=("louvre", "statue of liberty"))) == 2
    with pytest.raises(SightNotFound, match="xyzzy"):
        _found(library, sight=("xyzzy",))


def test_sights_are_named_by_exact_positions_and_may_be_anywhere(library):
    library.shot(0, gps=LOUVRE)
    between = library.shot(60)
    library.shot(120, gps=STREET)
    library.update()
    assert _sights(library)[between] is None
    library.shot(0, gps=STREET)
    library.update()
    near = place_near(library.database, "machu picchu", {})
    assert (round(near.latitude), round(near.longitude)) == (-13, -73)


def test_a_search_finds_a_sight_in_any_language_and_with_other_words(library):
    library.shot(0, gps=LOUVRE)
    library.shot(600, gps=(35.3606, 138.7274))
    library.update()
    for text, sight in {
        "louvre": "Louvre Museum",
        "monte fuji": "Mount Fuji",
        "富士山": "Mount Fuji",
    }.items():
        understood = text_query(library.database, text, {})
        assert understood.query.sight == (sight,), text


def test_sights_are_counted_and_found_by_the_beginning_of_a_name_or_a_misspelling(library):
    library.shot(0, gps=LOUVRE)
    library.shot(600, gps=LOUVRE)
    library.update()
    (count,) = sight_counts(library.database)
    assert (count.sight.name, count.photos, count.country) == ("Louvre Museum", 2, "France")
    assert text_query(library.database, "louvre musem", {}).query.sight == ("Louvre Museum",)
    (meaning,) = suggest("louv", [sight_names([count], [])], lambda _start, _limit: [], this_day())
    assert (meaning.label, meaning.detail) == ("Louvre Museum", "France")


MOVED = (48.8610, 2.3500)


def test_people_correct_a_sight_by_the_landmark_of_its_name(library):
    database = library.database
    louvre, liberty, street = (
        library.shot(600 * number, gps=place) for number, place in enumerate((LOUVRE, LIBERTY, MOVED))
    )
    library.update()
    assert _sights(library)[street] != "The Louvre"
    add_landmark(database, NewLandmark("Louvre", position=(48.8611, 2.3364), aliases=("Louvre Museum",)))
    library.update()
    assert _sights(library)[louvre] == "Louvre"
    edit_landmark(database, "louvre", {"name": "The Louvre", "names": {"de": "Der Louvre"}})
    library.update()
    assert _sights(library)[louvre] == "The Louvre"
    assert _found(library, sight=("louvre museum",)) == _found(library, sight=("der louvre",)) != set()
    with in_language(load_language("de")):
        (photo,) = find_tagged(database, PhotoQuery(sight=("the louvre",)), {})
    assert photo.position.sight_name == "Der Louvre"
    edit_landmark(database, "louvre", {"position": MOVED})
    library.update()
    assert (_sights(library)[louvre], _sights(library)[street]) != ("The Louvre", None)
    assert _sights(library)[street] == "The Louvre"
    add_landmark(database, NewLandmark("Palais", position=MOVED))
    merge_landmark(database, "louvre", "Palais")
    library.update()
    assert _sights(library)[street] == "Palais"
    remove_landmark(database, "Palais")
    library.update()
    assert _sights(library)[louvre] == "Louvre Museum"
    assert _sights(library)[liberty] == "Statue of Liberty"


@pytest.mark.postgresql
def test_a_rejected_sight_stays_away_and_comes_back_with_the_verdict_withdrawn(library):
    database = library.database
    here, there = library.shot(0, gps=LOUVRE), library.shot(600, gps=LOUVRE)
    library.update()
    add_landmark(database, NewLandmark("Louvre Museum", position=LOUVRE))
    give_verdicts(database, [there], "louvre museum", VerdictKind.REJECTED, "me", {})
    give_verdicts(database, [here], "sight:musée du louvre", VerdictKind.REJECTED, "me", {})
    assert _sights(library) == {here: None, there: "Louvre Museum"}
    library.update()
    assert _sights(library) == {here: None, there: "Louvre Museum"}
    listed = [each.landmark for each in list_verdicts(database, VerdictFilter())]
    assert listed == ["louvre-museum", "sight:Louvre Museum"]
    withdraw_verdicts(database, [here], "sight:Musée du Louvre", VerdictKind.REJECTED, {})
    assert _sights(library) == {here: "Louvre Museum", there: "Louvre Museum"}


def test_a_day_is_called_after_the_sight_of_most_photos_else_after_their_city():
    day = date(2024, 5, 3)
    areas = {("Louvre Museum", None, "Paris"): 4, (None, None, "Paris"): 2}
    for number, name in ((6, "Louvre Museum, Paris"), (9, "Paris")):
        (part,) = section_parts([(day, number)], {day: areas}, by_day=True)
        assert part.place == name
