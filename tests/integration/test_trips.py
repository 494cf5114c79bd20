"""Trips of stored photos: what the database sums up and keeps, their photos, and positions that follow from them."""

from datetime import date, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import select, update
from support.databases import execute, query_plans, read_rows
from support.position_library import NOON, PositionLibrary

from tagger.database.connection import open_database
from tagger.database.tables import changed_days, photos, positions, visits
from tagger.errors import TripNotFound
from tagger.kept import read_visits, trips as stored
from tagger.kept.trips import (
    all_trips,
    find_trip,
    merge_trips,
    split_trip,
    trip_at,
    trips_before,
    trips_during,
)
from tagger.kept.update import update_kept
from tagger.query.counts import TripSummary, trip_path, trip_summaries, trip_summary
from tagger.query.find import find_tagged, find_tagged_page
from tagger.query.options import PhotoQuery
from tagger.teaching.lessons import find_suggestions
from tagger.transfer import copy_database

EIFFEL = ("eiffel-tower", 0.97, True)
PARIS = (48.8390, 2.2925)
ROME = (41.8902, 12.4922)
DAY = 24 * 60
HOUR = 60


@pytest.fixture
def library(database, tmp_path) -> PositionLibrary:
    return PositionLibrary.with_camera(database, tmp_path)


def in_paris(library: PositionLibrary, day: int = 0) -> list[int]:
    """Three days: four photos with GPS, one that shows a landmark, one without a position, one that is not classified."""
    start = day * DAY
    gps = [library.shot(start + minutes, gps=PARIS) for minutes in (0, 5, DAY, 2 * DAY)]
    tower = library.shot(start + DAY + HOUR, EIFFEL)
    alone = library.shot(start + DAY + 8 * HOUR)
    unread = library.shot(start + DAY + 9 * HOUR, classified=False)
    library.update()
    return [gps[0], gps[1], gps[2], tower, alone, unread, gps[3]]


def found(library: PositionLibrary, **options: object) -> list[int]:
    return [photo.id for photo in find_tagged(library.database, PhotoQuery(**options))]


def only(library: PositionLibrary) -> TripSummary:
    (summary,) = trip_summaries(library.database)
    return summary


def test_a_trip_has_all_photos_of_its_time(library):
    ids = [*in_paris(library), library.shot(3 * DAY)]  # the next day, without a position
    library.shot(5 * DAY)
    library.shot(None)
    summary = only(library)
    assert (summary.trip.id, summary.title) == ("2024-05-03-paris", "Paris, 3\N{EN DASH}6 May 2024")
    assert summary.photos == 8
    assert [(place.city, place.country, place.photos) for place in summary.trip.places] == [
        ("Paris", "France", 5)
    ]
    assert [(each.landmark, each.photos) for each in summary.landmarks] == [("eiffel-tower", 1)]
    assert found(library, trip="2024-05-03-paris") == ids
    assert trip_summary(library.database, "2024-05-03-paris") == summary


def test_other_options_limit_the_photos_of_a_trip(library):
    ids = in_paris(library)
    trip = "2024-05-03-paris"
    assert found(library, trip=trip, landmark="eiffel-tower") == [ids[3]]
    assert found(library, trip=trip, untagged=True) == [ids[5]]
    assert found(library, trip=trip, unknown=True) == [ids[0], ids[1], ids[2], ids[4], ids[6]]
    assert found(library, trip=trip, any_rank=True) == [id_ for id_ in ids if id_ != ids[5]]
    assert found(library, trip=trip, position="landmark") == [ids[3]]
    assert found(library, trip=trip, taken_after=NOON + timedelta(days=2)) == [ids[6]]


@pytest.mark.postgresql
def test_pages_are_in_order_of_time(library):
    ids = in_paris(library)
    query = PhotoQuery(trip="2024-05-03-paris")
    first = find_tagged_page(library.database, query, None, None, 4)
    second = find_tagged_page(library.database, query, None, first.next, 4)
    assert [photo.id for photo in (*first.photos, *second.photos)] == ids


def test_dates_of_no_clock_and_of_new_year_are_told_apart(library):
    midnight = datetime(2023, 7, 1)  # noqa: DTZ001 - the camera's local time
    for days in range(3):
        for minute in range(5):
            library.shot(None, gps=PARIS, digest=f"{days}-{minute}")
    with library.database.write() as connection:
        rows = connection.execute(select(photos.c.id).order_by(photos.c.id)).scalars().all()
        for number, photo_id in enumerate(rows):
            taken_at = (
                midnight + timedelta(days=number % 3),
                datetime(1970, 1, 1 + number % 2, 10),  # noqa: DTZ001
                datetime(2023, 1, 1, 10, number),  # noqa: DTZ001
            )[number % 3]
            connection.execute(photos.update().where(photos.c.id == photo_id).values(taken_at=taken_at))
    library.update()
    assert trip_summaries(library.database) == []
    old_year = (datetime(2023, 12, 30, 12) - NOON).total_seconds() / 60  # noqa: DTZ001
    for number in range(12):
        library.shot(old_year + number * 6 * HOUR, gps=ROME if number > 7 else PARIS)
    library.update()
    days = {
        (each.trip.first.day, each.trip.last.day, each.photos) for each in trip_summaries(library.database)
    }
    assert days == {(30, 1, 8)}


def test_screenshots_and_photos_of_unknown_cameras_make_no_trip(library):
    for minutes in range(0, 3 * DAY, 4 * HOUR):
        library.shot(minutes, gps=PARIS, origin="screenshot")
        library.shot(minutes, gps=ROME, camera=None)
    library.update()
    assert trip_summaries(library.database) == []


def test_gone_photos_are_not_counted(library):
    ids = in_paris(library)
    library.gone(f"{ids[4] - 1}.jpg")
    assert only(library).photos == 6
    assert ids[4] not in found(library, trip="2024-05-03-paris")


def test_copies_are_one_photo_of_a_trip_and_of_its_path(library):
    in_paris(library)
    before = only(library)
    path = list(trip_path(library.database, before.trip))
    # One of each place of the day, whose middle stays.
    library.shot(DAY, gps=PARIS, digest="digest of 2.jpg")
    library.shot(DAY + HOUR, EIFFEL, digest="digest of 4.jpg")
    library.update()
    assert (only(library).photos, only(library).landmarks) == (before.photos, before.landmarks)
    assert list(trip_path(library.database, before.trip)) == path
    assert len(found(library, trip=before.trip.id)) == 9


def test_cover_is_the_best_landmark_that_nobody_rejected(library):
    ids = in_paris(library)
    second = library.shot(2, ("eiffel-tower", 0.6, True))

    def cover() -> int | None:
        found_cover = only(library).cover
        return None if found_cover is None else found_cover.photo_id

    assert cover() == ids[3]
    library.verdict(f"digest of {ids[3] - 1}.jpg", "eiffel-tower", "rejected")
    assert cover() == second


@pytest.mark.postgresql
def test_a_day_of_one_landmark_or_else_at_one_sight_has_its_name(library):
    for minutes in range(12):
        library.shot(minutes, gps=(48.8611, 2.3358))
    library.update()
    assert (only(library).trip.id, only(library).name) == ("2024-05-03-paris", "Louvre Museum")
    for minutes in range(12, 26):
        library.shot(minutes, EIFFEL)
    library.update()
    assert (only(library).trip.id, only(library).name) == ("2024-05-03-paris", "Eiffel Tower")


def test_the_addresses_of_merged_trips_lead_to_the_merged_one(library):
    in_paris(library)
    in_paris(library, 20)
    with library.database.write() as connection:
        first, second = (find_trip(connection, each) for each in ("2024-05-03-paris", "2024-05-23-paris"))
        merge_trips(connection, first, second)
    (merged,) = trip_summaries(library.database)
    assert trip_summary(library.database, second.id) == merged
    with library.database.read() as connection:
        before = trips_before(connection, merged.trip.edits[0])
    assert [trip.id for trip in before] == [first.id, second.id]


def test_a_trip_that_was_renamed_is_found_by_its_day(library):
    in_paris(library)
    for name in ("2024-05-03", "2024-05-03-arles", "2024-05-04-paris"):
        assert trip_summary(library.database, name).trip.id == "2024-05-03-paris"
    for name in ("", "paris"):
        with pytest.raises(TripNotFound):
            trip_summary(library.database, name)
    for name in ("2024-05-07-paris", "0001-01-01-paris", "9999-12-31-paris", "2024-13-01-x"):
        with pytest.raises(TripNotFound):
            found(library, trip=name)


@pytest.mark.postgresql
def test_the_photos_of_each_time_of_a_camera_are_searched_in_an_index(library):
    in_paris(library)
    with query_plans(library.database, "photos_of_trips") as plans:
        trip_summary(library.database, "2024-05-03-paris")
    (plan,) = plans  # one statement counts all
    is_searched = (
        "taken_at>? AND taken_at<?" if library.database.is_sqlite else "Index Cond: ((camera_id = spans"
    )
    assert is_searched in plan


@pytest.mark.postgresql
def test_trips_of_a_time_are_those_of_all_that_overlap_it(library, monkeypatch):
    for day in (0, 20, 70, 400, 3000):
        in_paris(library, day)
    with library.database.write() as connection:
        trips = all_trips(connection)
        merge_trips(connection, trips[0], trips[1])
        merge_trips(connection, trip_at(connection, trips[1].moment) or trips[1], trips[2])
    numbers = []
    group = stored.group_trips
    monkeypatch.setattr(
        stored,
        "group_trips",
        lambda visits, edits: numbers.append(len(read := list(visits))) or group(read, edits),
    )
    times = [
        datetime(2024, 5, 1) + timedelta(days=each)  # noqa: DTZ001
        for each in (0, 10, 30, 60, 75, 380, 403, 2999, 4000)
    ]
    with library.database.read() as connection:
        every = all_trips(connection)
        for first, end in product(times, times):
            overlap = [trip for trip in every if trip.last >= first and trip.first < end]
            assert trips_during(connection, first, end) == overlap
        numbers.clear()
        trips_during(connection, times[7], times[8])
    assert max(numbers) < len([visit for trip in every for visit in trip.visits])


NAPLES = (40.85, 14.26)


def tour_of_italy(library: PositionLibrary) -> tuple[int, dict[str, int]]:
    """Two days in Rome, one without GPS, one in Naples; a camera without GPS that shows one landmark."""
    for day, place in ((0, ROME), (1, ROME), (3, NAPLES)):
        for minutes in (0, 3 * HOUR):
            library.shot(day * DAY + minutes, gps=place)
    camera = library.camera("camera")
    library.shot(-20, gps=ROME, camera=camera)  # once, its position was set: so it is on the trip
    library.shot(3 * DAY + 4 * HOUR, gps=NAPLES, camera=camera)
    shots = {"rome": HOUR, "between": 2 * DAY, "naples": 3 * DAY + 90}
    return camera, {name: library.shot(minutes, camera=camera) for name, minutes in shots.items()}


def position_of(library: PositionLibrary, photo_id: int) -> tuple[str, str | None, str | None, float] | None:
    columns = positions.c.source, positions.c.country, positions.c.city, positions.c.error_m
    with library.database.read() as connection:
        row = connection.execute(select(*columns).where(positions.c.photo_id == photo_id)).one_or_none()
    return None if row is None else (row.source, row.country, row.city, row.error_m)


def test_a_photo_of_a_trip_has_the_city_of_its_day_or_the_country(library):
    _, ids = tour_of_italy(library)
    library.update()
    (summary,) = trip_summaries(library.database)
    assert summary.photos == 11
    assert position_of(library, ids["naples"]) == ("trip", "Italy", "Naples", 10_000.0)
    source, country, city, error_m = position_of(library, ids["between"]) or ("", None, None, 0.0)
    assert (source, country, city) == ("trip", "Italy", None)
    assert error_m >= 100_000.0
    of_trip = set(found(library, trip=summary.trip.id))
    assert set(found(library, country=("Italy",))) == of_trip
    assert set(found(library, position="trip")) <= of_trip
    assert library.update() == 0


def test_in_a_city_of_a_trip_a_lower_score_suggests_a_taught_place(library):
    _, ids = tour_of_italy(library)
    library.taught_place("church", NAPLES)
    for photo_id in ids.values():
        library.taught(photo_id, "church", 0.15)
    library.update()
    assert [photo.id for photo in find_suggestions(library.database, None, {})] == [ids["naples"]]


def test_positions_of_trips_locate_neither_photos_nor_visits_nor_tags(library):
    tour_of_italy(library)
    tower = library.shot(2 * DAY + 5, ("eiffel-tower", 0.97, True), camera=library.camera("third"))
    library.update()
    assert (position_of(library, tower) or ("",))[0] == "landmark"
    near = library.shot(2 * DAY + 1, camera=2)
    library.update()
    assert (position_of(library, near) or ("",))[0] == "trip"
    days = read_rows(library.database, select(visits.c.part, visits.c.country, visits.c.camera_id))
    of_third_day = [row.country for row in days if row.camera_id == 2 and date.fromordinal(row.part).day == 5]
    assert of_third_day == [""]  # without a place


def test_what_locates_a_photo_replaces_its_position_of_a_trip(library):
    camera, ids = tour_of_italy(library)
    library.update()
    library.shot(2 * DAY + 2, gps=ROME, camera=camera)
    library.update()
    assert (position_of(library, ids["between"]) or ("",))[0] == "neighbour"


def test_positions_follow_the_trip(library):
    _, ids = tour_of_italy(library)
    alone = library.shot(40 * DAY)
    library.update()
    assert position_of(library, alone) is None
    (summary,) = trip_summaries(library.database)
    with library.database.write() as connection:
        split_trip(connection, find_trip(connection, summary.trip.id), summary.trip.days[1])
    library.update()
    assert position_of(library, ids["between"]) is not None
    later, earlier = trip_summaries(library.database)
    with library.database.write() as connection:
        merge_trips(connection, *(find_trip(connection, each.trip.id) for each in (earlier, later)))
    library.update()
    assert [each.photos for each in trip_summaries(library.database)] == [11]
    assert library.update() == 0


def test_visits_follow_copies_and_no_change_without_a_consequence(library, database, tmp_path):
    library.shot(0, gps=(48.86, 2.35))
    update_kept(database)
    execute(database, update(photos).values(size_bytes=photos.c.size_bytes + 1, gone_since=None))
    with database.read() as connection:
        assert connection.execute(select(changed_days)).all() == []
        assert len(connection.execute(select(visits)).all()) == 1
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    copy_database(database, url)
    copy = open_database(url)
    with database.read() as connection, copy.read() as copied:
        assert list(read_visits(copied)) == list(read_visits(connection)) != []
        assert copied.execute(select(changed_days)).all() == []
    copy.close()


def test_an_update_of_positions_tells_its_progress_for_each_page_of_visits(library, database, monkeypatch):
    for day in range(3):
        library.shot(day * 1440, gps=(48.86, 2.35))
    monkeypatch.setattr("tagger.kept.MOST_STORED", 1)
    stored = []

    def stop_at_second(step: str, _done: int, _total: int | None) -> None:
        if step != "counting photos":
            return
        stored.append(len(read_rows(database, select(visits))))
        if stored[-1] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_kept(database, stop_at_second)
    assert stored == [1, 2]
    update_kept(database)
    assert len(read_rows(database, select(visits))) == 3
