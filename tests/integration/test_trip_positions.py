"""Positions of the photos of trips that have no other: they are found by place, and locate nothing else."""

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.tables import positions, visits
from tagger.kept.trips import find_trip, merge_trips, split_trip
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.trip_summaries import trip_summaries

PARIS, ROME, NAPLES = (48.8584, 2.2945), (41.8902, 12.4922), (40.85, 14.26)
DAY, HOUR = 24 * 60, 60


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera("phone")
    return library


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


def stored(library: PositionLibrary, photo_id: int) -> tuple[str, str | None, str | None, float] | None:
    columns = positions.c.source, positions.c.country, positions.c.city, positions.c.error_m
    with library.database.read() as connection:
        row = connection.execute(select(*columns).where(positions.c.photo_id == photo_id)).one_or_none()
    return None if row is None else (row.source, row.country, row.city, row.error_m)


def found(library: PositionLibrary, **options: object) -> set[int]:
    return {photo.id for photo in find_tagged(library.database, PhotoQuery(**options))}  # type: ignore[arg-type]


@pytest.mark.postgresql
def test_a_photo_of_a_trip_has_the_city_of_its_day_or_the_country(library: PositionLibrary) -> None:
    _, ids = tour_of_italy(library)
    library.update()
    (summary,) = trip_summaries(library.database)
    assert summary.photos == 11
    assert stored(library, ids["naples"]) == ("trip", "Italy", "Naples", 10_000.0)
    source, country, city, error_m = stored(library, ids["between"]) or ("", None, None, 0.0)
    assert (source, country, city) == ("trip", "Italy", None)
    assert error_m >= 100_000.0
    of_trip = found(library, trip=summary.trip.id)
    assert found(library, country=("Italy",)) == of_trip
    assert found(library, position="trip") <= of_trip
    assert library.update() == 0


def test_positions_of_trips_locate_neither_photos_nor_visits_nor_tags(library: PositionLibrary) -> None:
    tour_of_italy(library)
    tower = library.shot(2 * DAY + 5, ("eiffel-tower", 0.97, True), camera=library.camera("third"))
    library.update()
    assert stored(library, tower) is not None
    assert (stored(library, tower) or ("",))[0] == "landmark"
    near = library.shot(2 * DAY + 1, camera=2)
    library.update()
    assert (stored(library, near) or ("",))[0] == "trip"
    with library.database.read() as connection:
        days = connection.execute(select(visits.c.part, visits.c.country, visits.c.camera_id)).all()
    of_third_day = [row.country for row in days if row.camera_id == 2 and date.fromordinal(row.part).day == 5]
    assert of_third_day == [""]  # without a place


def test_what_locates_a_photo_replaces_its_position_of_a_trip(library: PositionLibrary) -> None:
    camera, ids = tour_of_italy(library)
    library.update()
    library.shot(2 * DAY + 2, gps=ROME, camera=camera)
    library.update()
    assert (stored(library, ids["between"]) or ("",))[0] == "neighbour"


@pytest.mark.postgresql
def test_positions_follow_the_trip(library: PositionLibrary) -> None:
    _, ids = tour_of_italy(library)
    alone = library.shot(40 * DAY)
    library.update()
    assert stored(library, alone) is None
    (summary,) = trip_summaries(library.database)
    with library.database.write() as connection:
        split_trip(connection, find_trip(connection, summary.trip.id), summary.trip.days[1])
    library.update()
    assert stored(library, ids["between"]) is not None
    later, earlier = trip_summaries(library.database)
    with library.database.write() as connection:
        merge_trips(connection, *(find_trip(connection, each.trip.id) for each in (earlier, later)))
    library.update()
    assert [each.photos for each in trip_summaries(library.database)] == [11]
    assert library.update() == 0
