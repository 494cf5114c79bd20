"""A box has every position of its circle, and with the circle it has no others."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from math import asin, atan2, cos, degrees, radians, sin

import pytest
from hypothesis import assume, example, given, strategies as st
from sqlalchemy import Connection, create_engine, insert, select

from tagger.database.engine import add_missing_functions
from tagger.database.tables import positions
from tagger.geo import EARTH_RADIUS_KM, distance_km
from tagger.query import Near
from tagger.query.photo_conditions import Box


@pytest.fixture(scope="module")
def no_positions() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        positions.create(connection)
        connection.commit()
        yield connection
    engine.dispose()


POSITIONS = {"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180), "bearing": st.floats(0, 360)}


@given(**POSITIONS, radius_km=st.floats(0, 25_000), part=st.floats(0, 1))
@example(latitude=90.0, longitude=0.0, radius_km=1.0, bearing=0.0, part=1.0)
@example(latitude=-17.0, longitude=180.0, radius_km=10.0, bearing=90.0, part=1.0)
@example(latitude=89.9, longitude=10.0, radius_km=11.0, bearing=90.0, part=1.0)
@example(latitude=60.0, longitude=10.0, radius_km=3000.0, bearing=70.0, part=1.0)
def test_a_box_has_every_position_of_its_circle(latitude, longitude, radius_km, bearing, part):
    box = Box.around(Near(latitude, longitude, radius_km))
    other = _destination(latitude, longitude, part * radius_km, bearing)
    assert box.south <= other[0] <= box.north
    assert not box.ranges or any(west <= other[1] <= east for west, east in box.ranges)
    assert len(box.ranges) <= 2


@given(**POSITIONS, radius_km=st.floats(0, 20_000), part=st.floats(0, 2))
@example(latitude=48.0, longitude=2.0, radius_km=0.0, bearing=0.0, part=0.0)
@example(latitude=89.0, longitude=10.0, radius_km=300.0, bearing=0.0, part=1.0)
@example(latitude=-17.0, longitude=180.0, radius_km=10.0, bearing=90.0, part=0.999)
def test_the_condition_of_a_circle_decides_as_the_distance_does(
    no_positions, latitude, longitude, radius_km, bearing, part
):
    other = _destination(latitude, longitude, min(part * radius_km, 20_000), bearing)
    apart_km = distance_km(latitude, longitude, *other)
    assume(abs(apart_km - radius_km) > 0.001)
    condition = Box.around(Near(latitude, longitude, radius_km)).condition
    place = {"photo_id": 1, "latitude": other[0], "longitude": other[1]}
    rest = {"error_m": 1.0, "source": "camera", "evidence": {}}
    with no_positions.begin() as transaction:
        no_positions.execute(insert(positions).values({**place, **rest}))
        is_inside = no_positions.scalar(select(condition).select_from(positions))
        transaction.rollback()
    assert bool(is_inside) == (apart_km < radius_km)


def _destination(
    latitude: float, longitude: float, distance_km: float, bearing: float
) -> tuple[float, float]:
    """The position at this distance on the great circle in this direction."""
    phi, angle, theta = radians(latitude), distance_km / EARTH_RADIUS_KM, radians(bearing)
    other = asin(max(-1.0, min(1.0, sin(phi) * cos(angle) + cos(phi) * sin(angle) * cos(theta))))
    turn = atan2(sin(theta) * sin(angle) * cos(phi), cos(angle) - sin(phi) * sin(other))
    return degrees(other), (longitude + degrees(turn) + 180) % 360 - 180


def test_a_circle_can_be_queried_where_sqlite_has_no_mathematical_functions():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.create_function("cos", 1, None)  # now it fails, as in an SQLite that was built without it
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("SELECT cos(0.0)")
        add_missing_functions(connection)
        assert connection.execute("SELECT cos(1.0)").fetchone() == (cos(1.0),)
