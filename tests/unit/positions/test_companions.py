"""Cameras that are used together: clocks, when anchors agree, which form a group, and what companions locate."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tagger.cameras import is_clock_time
from tagger.positions.companions import (
    CoLocations,
    Sighting,
    TimedPosition,
    count_co_locations,
    estimate_clock,
    estimate_together,
    group_companions,
    passed_landmarks,
)
from tagger.positions.estimation import PhotoSequence, estimate

HOUR_S = 3600
COLOSSEUM, PANTHEON, TREVI = 1, 2, 3
COMPANIONS, STRANGERS, UNTOLD = CoLocations(5, 4, 0), CoLocations(4, 3, 1), CoLocations(1, 1, 0)


def anchors(*at: tuple[float, float], error_m: float = 20.0, trust: int = 3) -> PhotoSequence:
    """Hours and latitudes. Photos without a latitude are no anchors."""
    hours, latitude = np.array(at, np.float64).reshape(-1, 2).T
    is_anchor = np.isfinite(latitude)
    return PhotoSequence(
        hours * HOUR_S,
        latitude,
        np.where(is_anchor, 2.0, np.nan),
        np.where(is_anchor, error_m, np.nan),
        np.where(is_anchor, trust, 0),
    )


DAYS = [(24.0 * day, 48 + day / 10) for day in range(10)]


def test_cameras_that_are_at_three_places_together_are_companions_in_spite_of_one_wrong_landmark():
    first = anchors((0.5, 48.0), (20.5, 48.1), (40.5, 48.2))
    second = anchors((0.6, 48.001), (20.4, 48.1), (40.7, 48.2))
    assert count_co_locations(first, second) == CoLocations(3, 2, 0)
    assert count_co_locations(second, first).are_companions
    wrong = anchors(*((hour, latitude + (10 if hour == 72 else 0)) for hour, latitude in DAYS))
    assert count_co_locations(anchors(*DAYS), wrong) == CoLocations(9, 8, 1)
    assert count_co_locations(anchors(*DAYS), wrong).are_companions


def test_cameras_that_meet_only_at_home_or_are_apart_at_times_are_no_companions():
    home = anchors(*((24.0 * day + 0.5, 48.0) for day in range(30)))
    found = count_co_locations(home, home)
    assert (found.agreeing, found.elsewhere, found.are_companions) == (30, 0, False)
    away = [(hour, latitude + (0.5 if hour > 150 else 0)) for hour, latitude in DAYS]
    found = count_co_locations(anchors(*DAYS), anchors(*away))
    assert (found.agreeing, found.contradicting) == (7, 3)
    assert found.are_apart
    first = anchors((0, 48.0), (20, 48.1), (40, 48.2))
    assert count_co_locations(first, anchors((0, 48.0), (20, 48.1), (40, 48.2), error_m=5000)).occasions == 0
    assert count_co_locations(first, anchors((1, 48.0), (21, 48.1), (41, 49.2))).occasions == 0
    assert count_co_locations(first, anchors()).occasions == 0


def test_companions_of_companions_form_one_group_unless_they_are_apart():
    both = frozenset((1, 2, 3))
    assert group_companions({(1, 2): COMPANIONS, (2, 3): COMPANIONS, (1, 3): UNTOLD}) == dict.fromkeys(
        (1, 2, 3), both
    )
    apart = group_companions({(1, 2): COMPANIONS, (2, 3): CoLocations(9, 8, 0), (1, 3): STRANGERS})
    assert apart == dict.fromkeys((2, 3), frozenset((2, 3)))
    assert group_companions({(1, 2): UNTOLD, (1, 3): STRANGERS}) == {}


def test_a_photo_lies_between_anchors_of_companions_unless_one_is_elsewhere():
    found = estimate_together(anchors((0, 48.0), (0.5, np.nan)), anchors((1, 48.1)), 2 * HOUR_S)
    assert found.latitude[1] == pytest.approx(48.05)
    assert (found.before.tolist(), found.after.tolist()) == ([-1, 0], [-1, 2])
    # A landmark of the camera itself, and a phone that is on another continent an hour later.
    own = anchors((0, 48.0), (0.5, np.nan), trust=2)
    assert estimate_together(own, anchors((1, -33.0)), 2 * HOUR_S).latitude[1] == 48.0
    own = anchors((0, 48.0), (1, 48.0), (2.2, np.nan))
    elsewhere = anchors((0.1, 48.3), (1.1, 48.3), (2.3, 48.3))
    assert np.isnan(estimate_together(own, elsewhere, 2 * HOUR_S).latitude[2])
    together = anchors((0.1, 48.0), (1.1, 48.0), (2.3, 48.3))
    assert estimate_together(own, together, 2 * HOUR_S).latitude[2] > 48.2


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from([np.nan, 48.0, 48.1, -30.0])), max_size=30))
def test_without_companions_estimates_are_those_of_the_camera(rows):
    own = anchors(*sorted(rows, key=lambda row: row[0]))
    alone, together = estimate(own, 2 * HOUR_S), estimate_together(own, anchors(), 2 * HOUR_S)
    for name, value in vars(alone).items():
        np.testing.assert_array_equal(getattr(together, name), value)


def test_landmarks_tell_a_clock_unless_they_disagree():
    phone = [Sighting(COLOSSEUM, 36_000, 7200), Sighting(PANTHEON, 50_000, 7200)]
    camera = [Sighting(COLOSSEUM, 36_000 + 5 * HOUR_S + 60), Sighting(PANTHEON, 50_000 + 5 * HOUR_S + 120)]
    assert estimate_clock(camera, phone) == 5 * HOUR_S + 90
    camera[0] = Sighting(COLOSSEUM, 36_000 + 2 * HOUR_S)
    assert estimate_clock(camera, phone) is None
    phone = [Sighting(COLOSSEUM, 36_000, 7200)]
    assert estimate_clock([Sighting(COLOSSEUM, 36_000 + 7200 + 300)], phone) == 7500
    assert estimate_clock([Sighting(COLOSSEUM, 36_000 + 3 * HOUR_S)], phone) is None
    assert estimate_clock([Sighting(COLOSSEUM, 36_000 + 7200)], [Sighting(COLOSSEUM, 36_000)]) is None
    phone = [
        Sighting(landmark, 36_000 + HOUR_S * landmark, 3600) for landmark in (COLOSSEUM, PANTHEON, TREVI)
    ]
    phone.append(Sighting(COLOSSEUM, 80_000, 3600))
    camera = [Sighting(each.landmark_id, each.at - 2 * HOUR_S) for each in phone[:3]]
    assert estimate_clock(camera, phone) == -2 * HOUR_S


def test_photos_beside_a_landmark_tell_a_clock_whatever_they_show():
    points = {COLOSSEUM: (41.8902, 12.4922), PANTHEON: (41.8986, 12.4769)}
    fixes = [
        TimedPosition(36_000, 7200, 41.8910, 12.4925, 20.0),
        TimedPosition(36_030, 7200, 41.8910, 12.4925, 20.0),
        TimedPosition(43_000, 7200, 41.8945, 12.4850, 20.0),
        TimedPosition(50_000, 7200, 41.8990, 12.4770, 20.0),
    ]
    passed = passed_landmarks(fixes, points)
    assert {(each.landmark_id, each.zone_s) for each in passed} == {(COLOSSEUM, 7200), (PANTHEON, 7200)}
    assert len(passed) == 2
    camera = [Sighting(COLOSSEUM, 36_000 - 5 * HOUR_S), Sighting(PANTHEON, 50_100 - 5 * HOUR_S)]
    assert estimate_clock(camera, passed) in range(-5 * HOUR_S - 100, -5 * HOUR_S + 101)
    assert passed_landmarks([], points) == passed_landmarks(fixes, {}) == []


@pytest.mark.parametrize(
    ("text", "utc_offset_s", "expected"),
    [
        ("2019-07-14T21:58:03", None, True),
        ("2099-09-29T10:10:10", None, True),
        ("2018-12-31T23:59:59", None, True),
        ("1990-01-02T00:00:01", None, True),
        ("2019-01-01T00:05:00", 3600, True),  # fireworks
        ("2000-01-01T00:00:34", None, False),  # a clock that lost power
        ("2019-07-14T00:00:00", 7200, False),  # a date without a time
        ("1970-01-01T00:00:00", 0, False),
        ("1965-08-02T12:00:00", None, False),  # a scan that somebody dated
    ],
)
def test_times_of_a_running_clock(text, utc_offset_s, expected):
    assert is_clock_time(datetime.fromisoformat(text), utc_offset_s) is expected
