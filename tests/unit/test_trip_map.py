"""The drawn map of a trip."""

import re
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tagger.database.enums import PositionSource
from tagger.library.query.trip_summaries import PathPoint
from tagger.library.trips.names import VisitedPlace
from tagger.web.pages.trip_map import HEIGHT, WIDTH, TripMap, draw_trip

NOON = datetime(2019, 5, 3, 12)  # noqa: DTZ001 - the camera's local time


def point(
    number: int, latitude: float, longitude: float, camera: int = 1, *, measured: bool = True
) -> PathPoint:
    source = PositionSource.CAMERA if measured else PositionSource.NEIGHBOUR
    taken_at = NOON + timedelta(hours=number)
    return PathPoint(number, camera, taken_at, latitude, longitude, "Arles", "France", source)


def drawn(path: list[PathPoint], *places: VisitedPlace) -> TripMap:
    trip_map = draw_trip(path, places, lambda photo_id: f"/photos/{photo_id}")
    assert trip_map is not None
    return trip_map


def test_a_short_trip_has_a_scale_and_a_long_one_land() -> None:
    short = drawn([point(1, 43.68, 4.63), point(2, 43.95, 4.81)])
    assert (short.land, short.scale_bar and short.scale_bar.text) == (None, "10 km")
    assert [line.count(",") for line in short.lines] == [2]
    far = drawn([point(1, 35.7, 139.7), point(2, 33.6, 130.4)])
    assert far.scale_bar is None
    assert far.land


def test_photos_of_one_spot_are_one_dot() -> None:
    trip_map = drawn([point(number, 43.68, 4.63) for number in range(1, 6)])
    (dot,) = trip_map.dots
    assert (dot.text, dot.address) == ("Arles, 5 photos, 2019-05-03", "/photos/1")
    assert (dot.x, dot.y) == (WIDTH / 2, HEIGHT / 2)
    assert trip_map.lines == ()
    assert trip_map.land  # its own map would be empty
    assert trip_map.scale_bar is None


def test_only_estimates_are_marked() -> None:
    path = [point(1, 43.68, 4.63), point(2, 43.68, 4.63, measured=False), point(3, 43.9, 4.8, measured=False)]
    trip_map = drawn(path)
    assert sorted((dot.text[:15], dot.is_measured) for dot in trip_map.dots) == [
        ("Arles, 1 photo,", False),
        ("Arles, 2 photos", True),
    ]
    assert trip_map.has_estimates


def test_each_camera_has_a_line() -> None:
    path = [point(1, 43.0, 4.0), point(2, 43.5, 4.5), point(1, 43.1, 4.1, 2), point(2, 43.4, 4.1, 2)]
    assert len(drawn(path).lines) == 2


def test_a_trip_across_the_180th_meridian_is_drawn_in_one_piece() -> None:
    trip_map = drawn([point(1, -16.8, 179.9), point(2, -16.9, -179.9)])
    left, right = sorted(dot.x for dot in trip_map.dots)
    assert right - left > WIDTH / 2
    assert trip_map.scale_bar is not None
    assert trip_map.scale_bar.text == "5 km"


def test_labels_do_not_cover_each_other_and_stay_inside() -> None:
    path = [point(1, 43.0, 4.0), point(2, 43.5, 5.0)]
    places = [
        VisitedPlace("Arles", None, "France", 43.0, 4.0, 5),
        VisitedPlace("Very near Arles", None, "France", 43.001, 4.001, 4),
        VisitedPlace("Aix-en-Provence", None, "France", 43.5, 5.0, 3),
    ]
    labels = drawn(path, *places).labels
    assert [(label.name, label.anchor) for label in labels] == [
        ("Arles", "start"),
        ("Aix-en-Provence", "end"),
    ]


positions = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(st.lists(positions, min_size=1, max_size=80))
def test_any_path_is_drawn_inside_the_map_with_few_dots(found: list[tuple[float, float]]) -> None:
    trip_map = drawn([point(number, *position) for number, position in enumerate(found)])
    assert all(0 <= dot.x <= WIDTH and 0 <= dot.y <= HEIGHT for dot in trip_map.dots)
    assert 1 <= len(trip_map.dots) <= 140
    assert all(re.fullmatch(r"[-\d., ]+", line) for line in trip_map.lines)
