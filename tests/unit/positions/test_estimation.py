"""Estimates between anchors, near one, and with anchors that contradict each other."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from tagger.geo import distance_km
from tagger.positions.estimation import (
    ONE_ANCHOR_S,
    Estimates,
    Floats,
    PhotoSequence,
    contradicted,
    distances_m,
    estimate,
    interpolate,
    reach_s,
)

GAP_S = 7200.0
CAMERA, LANDMARK = 3, 2
NONE = (float("nan"),) * 3

Anchor = tuple[float, float, float]


def line(*photos: tuple[float, Anchor, int]) -> PhotoSequence:
    """Photos as time, latitude and longitude and error, trust."""
    at = np.array([at for at, _, _ in photos], np.float64)
    latitude, longitude, error_m = np.array([anchor for _, anchor, _ in photos], np.float64).reshape(-1, 3).T
    return PhotoSequence(
        at, latitude, longitude, error_m, np.array([trust for _, _, trust in photos], np.int64)
    )


def unknown(at: float) -> tuple[float, Anchor, int]:
    return at, NONE, 0


def camera(at: float, latitude: float, longitude: float, error_m: float = 30.0) -> tuple[float, Anchor, int]:
    return at, (latitude, longitude, error_m), CAMERA


def landmark(at: float, latitude: float, longitude: float) -> tuple[float, Anchor, int]:
    return at, (latitude, longitude, 300.0), LANDMARK


def positions(estimates: Estimates) -> list[tuple[float, float] | None]:
    return [
        None if np.isnan(error) else (round(float(latitude), 6), round(float(longitude), 6))
        for latitude, longitude, error in zip(
            estimates.latitude, estimates.longitude, estimates.error_m, strict=True
        )
    ]


def test_a_photo_lies_between_its_anchors_or_at_the_near_one():
    found = estimate(line(camera(0, 48.0, 2.0), unknown(900), camera(3600, 48.1, 2.0)), GAP_S)
    assert positions(found) == [None, (48.025, 2.0), None]
    assert (found.before[1], found.after[1]) == (0, 2)
    found = estimate(line(unknown(0), camera(600, 48.0, 2.0), unknown(600 + ONE_ANCHOR_S)), GAP_S)
    assert positions(found) == [(48.0, 2.0), None, (48.0, 2.0)]
    assert (found.before.tolist(), found.after.tolist()) == ([-1, -1, 1], [1, -1, -1])
    found = estimate(line(camera(0, 0.0, 179.9), unknown(1800), camera(3600, 0.0, -179.9)), GAP_S)
    assert abs(positions(found)[1][1]) == pytest.approx(180.0)


@pytest.mark.parametrize(
    ("photos", "second"),
    [
        ([unknown(ONE_ANCHOR_S + 1), camera(GAP_S + 1, 48.1, 2.0)], None),
        ([unknown(1700), camera(1700 + GAP_S, 50.0, 2.0)], (48.0, 2.0)),
        ([unknown(1200), unknown(2400)], (48.0, 2.0)),
    ],
    ids=["a longer gap is not bridged", "the nearer anchor counts", "an estimate is no anchor"],
)
def test_behind_an_anchor(photos, second):
    assert positions(estimate(line(camera(0, 48.0, 2.0), *photos), GAP_S)) == [None, second, None]


def test_the_error_grows_with_time_distance_and_the_speed_between_others():
    def error(until: float, latitude: float, at: float) -> float:
        photos = line(camera(0, 48.0, 2.0), unknown(at), camera(until, latitude, 2.0))
        return float(estimate(photos, GAP_S).error_m[1])

    assert error(3600, 48.0, 0) == pytest.approx(30.0)
    assert error(600, 48.0, 300) < error(3600, 48.0, 1800) < error(3600, 48.5, 1800)

    def error(*others: tuple[float, Anchor, int]) -> float:
        photos = line(*others, camera(0, 48.0, 2.0), unknown(600))
        return float(estimate(photos, GAP_S).error_m[-1])

    still, walking, driving = (error(camera(-1200, 48.0 - degrees, 2.0)) for degrees in (0, 0.015, 0.2))
    assert still < walking < driving
    assert still < error(camera(-10, 48.0, 2.0)) < error() < driving


@pytest.mark.parametrize("wrong", [landmark(300, 29.98, 31.13), camera(300, -33.9, 151.2)])
def test_one_position_that_nobody_could_reach_gives_way_and_of_two_none_is_used(wrong):
    photos = line(camera(0, 48.0, 2.0), wrong, camera(600, 48.0, 2.0))
    assert contradicted(photos, GAP_S).tolist() == [False, True, False]
    assert positions(estimate(photos, GAP_S)) == [None, (48.0, 2.0), None]
    photos = line(camera(0, 48.0, 2.0), unknown(60), camera(120, -33.9, 151.2))
    assert contradicted(photos, GAP_S).tolist() == [True, False, True]
    assert positions(estimate(photos, GAP_S)) == [None, None, None]


def test_photos_of_two_people_are_not_placed_between_them():
    photos = [
        camera(60 * number, 48.0, 2.0) if number % 4 < 2 else camera(60 * number, 40.7, -74.0)
        for number in range(12)
    ]
    mixed = [photo for each in photos for photo in (each, unknown(each[0] + 30))]
    found = estimate(line(*mixed), GAP_S)
    between = [position for position in positions(found) if position is not None]
    assert set(between) <= {(48.0, 2.0), (40.7, -74.0)}


def test_ways_that_people_can_go_are_bridged():
    photos = line(camera(0, 48.0, 2.0), unknown(1800), camera(3600, 48.0, 13.0))  # 820 km
    assert not contradicted(photos, GAP_S).any()
    # It can be anywhere between Paris and Vienna.
    assert positions(estimate(photos, GAP_S)) == [None, None, None]
    evening, morning = 0.0, 12 * 3600.0
    for latitude, expected in ((48.001, (48.0005, 2.0)), (48.02, None)):
        photos = [camera(evening, 48.0, 2.0), unknown(morning / 2), camera(morning, latitude, 2.0)]
        assert positions(estimate(line(*photos), GAP_S)) == [None, expected, None]
    photos = [camera(evening, 48.0, 2.0), unknown(morning), camera(reach_s(GAP_S) + 1, 48.0, 2.0)]
    assert positions(estimate(line(*photos), GAP_S)) == [None, None, None]

    def error(latitude: float) -> float:
        photos = line(camera(0, 48.0, 2.0), unknown(1800), camera(3600, latitude, 2.0))
        return float(estimate(photos, GAP_S).error_m[1])

    assert error(48.0) < 400
    assert error(48.01) > 2000


DEGREES = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
OPPOSITE_M = 20_015_000.0  # Between places on opposite sides of the Earth, any way is the shortest
PHOTOS = st.lists(
    st.tuples(st.floats(0, 1e5), st.one_of(st.none(), st.tuples(DEGREES, st.integers(1, 3)))), max_size=30
)


@given(PHOTOS, st.floats(0, 1e5))
def test_each_estimate_is_finite_and_has_anchors_within_reach(photos, max_gap_s):
    sequence = line(
        *(
            unknown(at) if anchor is None else (at, (*anchor[0], 50.0), anchor[1])
            for at, anchor in sorted(photos, key=lambda photo: photo[0])
        )
    )
    found, is_contradicted = estimate(sequence, max_gap_s), contradicted(sequence, max_gap_s)
    for index in np.flatnonzero(np.isfinite(found.error_m)):
        anchors = [anchor for anchor in (found.before[index], found.after[index]) if anchor >= 0]
        assert anchors
        assert np.isfinite([found.latitude[index], found.longitude[index]]).all()
        assert all(sequence.trust[anchor] > 0 and not is_contradicted[anchor] for anchor in anchors)
        assert np.ptp(sequence.at[[*anchors, index]]) <= reach_s(max_gap_s)
    assert np.isnan(found.error_m[(sequence.trust > 0) & ~is_contradicted]).all()


@given(DEGREES, DEGREES, st.floats(0, 1))
def test_an_interpolated_point_divides_the_way(start, end, fraction):
    whole = 1000 * distance_km(*start, *end)
    assume(whole < OPPOSITE_M)
    latitude, longitude = interpolate(*_columns(start), *_columns(end), np.array([fraction]))
    first = distances_m(*_columns(start), latitude, longitude)[0]
    second = distances_m(latitude, longitude, *_columns(end))[0]
    assert first + second == pytest.approx(whole, rel=1e-6, abs=1.0)
    assert first == pytest.approx(fraction * whole, rel=1e-5, abs=1.0)


def _columns(position: tuple[float, float]) -> tuple[Floats, Floats]:
    return np.array([position[0]]), np.array([position[1]])
