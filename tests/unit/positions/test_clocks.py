"""Clocks of cameras: which dates they tell, and how they are set, from landmarks that others photographed as well."""

from datetime import datetime

import pytest

from tagger.cameras import is_clock_time
from tagger.positions.companions import Sighting, TimedPosition, estimate_clock, passed_landmarks

HOUR = 3600
COLOSSEUM, PANTHEON, TREVI = 1, 2, 3


def test_landmarks_tell_a_clock_unless_they_disagree():
    phone = [Sighting(COLOSSEUM, 36_000, 7200), Sighting(PANTHEON, 50_000, 7200)]
    camera = [Sighting(COLOSSEUM, 36_000 + 5 * HOUR + 60), Sighting(PANTHEON, 50_000 + 5 * HOUR + 120)]
    assert estimate_clock(camera, phone) == 5 * HOUR + 90
    camera[0] = Sighting(COLOSSEUM, 36_000 + 2 * HOUR)
    assert estimate_clock(camera, phone) is None
    phone = [Sighting(COLOSSEUM, 36_000, 7200)]
    assert estimate_clock([Sighting(COLOSSEUM, 36_000 + 7200 + 300)], phone) == 7500
    assert estimate_clock([Sighting(COLOSSEUM, 36_000 + 3 * HOUR)], phone) is None
    assert estimate_clock([Sighting(COLOSSEUM, 36_000 + 7200)], [Sighting(COLOSSEUM, 36_000)]) is None
    phone = [Sighting(landmark, 36_000 + HOUR * landmark, 3600) for landmark in (COLOSSEUM, PANTHEON, TREVI)]
    phone.append(Sighting(COLOSSEUM, 80_000, 3600))
    camera = [Sighting(each.landmark_id, each.at - 2 * HOUR) for each in phone[:3]]
    assert estimate_clock(camera, phone) == -2 * HOUR


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
    camera = [Sighting(COLOSSEUM, 36_000 - 5 * HOUR), Sighting(PANTHEON, 50_100 - 5 * HOUR)]
    assert estimate_clock(camera, passed) in range(-5 * HOUR - 100, -5 * HOUR + 101)
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
