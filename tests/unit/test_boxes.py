"""A box has every position of its circle, and its parts have little beside it."""

from math import asin, atan2, cos, degrees, radians, sin

from hypothesis import example, given
from hypothesis import strategies as st

from tagger.geo import EARTH_RADIUS_KM
from tagger.query.box_scan import Band, Box


@given(
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    radius_km=st.floats(0, 25_000),
    bearing=st.floats(0, 360),
    part=st.floats(0, 1),
)
@example(latitude=90.0, longitude=0.0, radius_km=1.0, bearing=0.0, part=1.0)
@example(latitude=-17.0, longitude=180.0, radius_km=10.0, bearing=90.0, part=1.0)
@example(latitude=89.9, longitude=10.0, radius_km=11.0, bearing=90.0, part=1.0)
@example(latitude=60.0, longitude=10.0, radius_km=3000.0, bearing=70.0, part=1.0)
def test_a_box_has_every_position_of_its_circle(
    latitude: float, longitude: float, radius_km: float, bearing: float, part: float
) -> None:
    box = Box.around(latitude, longitude, radius_km)
    other = _destination(latitude, longitude, part * radius_km, bearing)
    assert box.south <= other[0] <= box.north
    assert not box.ranges or any(west <= other[1] <= east for west, east in box.ranges)
    assert len(box.ranges) <= 2
    assert not box.parts or any(_contains(band, other) for band in box.parts)


@given(
    latitude=st.floats(-60, 60),
    longitude=st.floats(-180, 180),
    radius_km=st.floats(1, 2000),
    bearing=st.floats(0, 360),
)
def test_a_box_of_parts_has_no_position_far_outside_its_circle(
    latitude: float, longitude: float, radius_km: float, bearing: float
) -> None:
    box = Box.around(latitude, longitude, radius_km)
    outside = _destination(latitude, longitude, 1.1 * radius_km, bearing)
    assert not any(_contains(band, outside) for band in box.parts)


def _contains(band: Band, position: tuple[float, float]) -> bool:
    latitude, longitude = position
    return band.south <= latitude <= band.north and any(
        west <= longitude <= east for west, east in band.ranges
    )


def _destination(
    latitude: float, longitude: float, distance_km: float, bearing: float
) -> tuple[float, float]:
    """The position at this distance on the great circle in this direction."""
    phi, angle, theta = radians(latitude), distance_km / EARTH_RADIUS_KM, radians(bearing)
    other = asin(max(-1.0, min(1.0, sin(phi) * cos(angle) + cos(phi) * sin(angle) * cos(theta))))
    turn = atan2(sin(theta) * sin(angle) * cos(phi), cos(angle) - sin(phi) * sin(other))
    return degrees(other), (longitude + degrees(turn) + 180) % 360 - 180
