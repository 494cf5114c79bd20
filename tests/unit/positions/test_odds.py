"""The odds of a photo's distance from a landmark, of its day, and what is accepted with them."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tagger.landmarks import REACHES_KM
from tagger.positions.tag_odds import (
    LEAST,
    MOST,
    MOST_OF_DAY,
    SeenLandmark,
    odds_of_day,
    position_odds,
    share_odds,
)
from tagger.tags.rule import LEAST_SCORE, SURE_SCORE, is_accepted, weighed

EXTENTS = st.sampled_from([*REACHES_KM, None, "strange"])
DISTANCES = st.floats(0, 20_040)
SCORES = st.floats(0, 1)
ODDS = st.floats(LEAST, MOST)


def odds_of(distance_km: float, extent: str | None = "point", error_km: float = 0.03) -> float:
    return float(position_odds(np.array([distance_km]), np.array([error_km]), [extent])[0])


def test_odds_rise_near_a_landmark_and_bayes_rule_multiplies_them():
    assert odds_of(0.2) == pytest.approx(MOST)
    assert odds_of(9560.0) == pytest.approx(LEAST)
    assert odds_of(1.0) == pytest.approx(2.2, abs=0.1)
    assert odds_of(200.0) == pytest.approx(0.045, abs=0.005)
    assert weighed(0.5, 3.0) == pytest.approx(0.75)
    assert weighed(0.8, 0.25) == pytest.approx(0.5)
    assert weighed(1.0, 1.0) == SURE_SCORE
    assert is_accepted(0.6, LEAST, 0.0, by_score=True)


@pytest.mark.parametrize(
    ("photo", "distance_km", "extent", "is_enough"),
    [
        ("Eiffel Tower from the hills around Paris", 25.0, "point", True),
        ("Mount Fuji from Tokyo", 100.0, "point", True),
        ("Mount Rainier from Seattle", 95.0, "area", True),
        ("Grand Canyon from its other end", 200.0, "area", True),
        ("Great Wall at Yulin", 640.0, "line", True),
        ("Eiffel Tower from London", 341.0, "point", False),
        ("Grand Canyon from Paris", 7800.0, "area", False),
    ],
)
def test_what_is_seen_from_afar_is_never_lost_and_no_score_is_enough_from_farther_away(
    photo, distance_km, extent, is_enough
):
    score, threshold = (0.82, 0.82) if is_enough else (1.0, 0.5)
    odds = odds_of(distance_km, extent)
    assert is_accepted(score, odds, threshold, by_score=True) == is_enough, photo


@given(EXTENTS, st.floats(0, 1), st.floats(0, 50), SCORES, st.floats(0.01, 1))
def test_a_right_tag_within_the_visible_distance_is_never_lost(extent, part, error_km, score, threshold):
    visible = REACHES_KM[extent if extent in REACHES_KM else "area"][2]
    odds = odds_of(part * visible, extent, error_km)
    assert is_accepted(score, odds, threshold, by_score=True)


@given(EXTENTS, DISTANCES, DISTANCES, st.floats(0, 100))
def test_the_odds_fall_with_the_distance_and_have_limits(extent, first, second, error_km):
    nearer, farther = sorted((first, second))
    near, far = odds_of(nearer, extent, error_km), odds_of(farther, extent, error_km)
    assert LEAST * 0.999 <= far <= near * 1.000001 <= MOST * 1.00001


@given(EXTENTS, DISTANCES, st.floats(0, 100), st.floats(0, 1000))
def test_a_less_exact_position_says_less(extent, distance_km, error_km, more_km):
    exact, vague = (odds_of(distance_km, extent, error) for error in (error_km, error_km + more_km))
    assert abs(np.log(vague)) <= abs(np.log(exact)) + 1e-6


@given(SCORES, ODDS, st.floats(0, 1))
def test_a_position_gives_and_takes_in_one_direction(score, odds, threshold):
    assert is_accepted(score, odds, threshold, by_score=True) or odds < 1
    raised = is_accepted(score, odds, threshold, by_score=False)
    assert not raised or (odds > 1 and score >= LEAST_SCORE)


TOWER, GATE = 1, 2
PLACES = {TOWER: (48.8584, 2.2945), GATE: (52.5163, 13.3777)}
HOUR = 3600.0


@pytest.mark.parametrize(
    ("others", "showing", "odds"),
    [(0, 0, 1.0), (1000, 0, 1.0), (1000, 50, 1.0), (20, 3, 2.5), (5, 5, 4.0)],
)
def test_the_share_of_landmark_photos_raises_the_odds(others, showing, odds):
    assert share_odds(others, showing) == pytest.approx(odds, abs=0.05)


@given(st.integers(0, 10_000), st.data())
def test_more_photos_of_landmarks_never_make_one_less_likely(others, data):
    showing = data.draw(st.integers(0, others))
    odds = share_odds(others, showing)
    assert 1.0 <= odds <= MOST_OF_DAY
    assert odds >= share_odds(others + 1, showing)
    assert showing == others or share_odds(others, showing + 1) >= odds


def seen(image: int, landmark: int, *, hours: float | None = 0.0, is_shown: bool = True) -> SeenLandmark:
    at = None if hours is None else hours * HOUR
    return SeenLandmark(image, landmark, at, is_shown, PLACES[landmark], "point")


def test_only_landmarks_in_other_places_and_on_other_images_speak_for_or_against():
    towers = [seen(image, TOWER) for image in range(4)]
    odds = odds_of_day([*towers, seen(5, TOWER, is_shown=False), seen(6, GATE, is_shown=False, hours=3)], 8)
    assert odds[0, TOWER] == share_odds(7, 3)
    assert odds[5, TOWER] == share_odds(7, 4) > 1
    assert odds[6, GATE] == 1.0
    assert odds_of_day([seen(0, TOWER)], 200) == {(0, TOWER): 1.0}
    assert odds_of_day([seen(0, TOWER, is_shown=False), seen(1, TOWER, is_shown=False)], 2)[0, TOWER] == 1.0
    nowhere = SeenLandmark(1, GATE, 0.0, is_shown=True)
    assert odds_of_day([seen(0, TOWER), nowhere], 9)[0, TOWER] == 1.0
    assert odds_of_day([seen(0, TOWER), seen(0, GATE)], 9)[0, TOWER] == 1.0


@pytest.mark.parametrize(
    ("hours", "gates", "odds"),
    [
        (0.1, 1, 0.5),  # one against one: neither is more likely
        (0.1, 2, 1 / 3),
        (0.1, 9, 0.25),
        (3.0, 2, 1.0),  # time enough to fly there
        (None, 2, 1.0),  # at some time of the day
    ],
)
def test_landmarks_that_cannot_both_be_visited_speak_against_each_other(hours, gates, odds):
    others = [seen(image, GATE, hours=hours) for image in range(1, 1 + gates)]
    assert odds_of_day([seen(0, TOWER), *others], 20)[0, TOWER] == pytest.approx(odds)
    several = [seen(image, TOWER) for image in range(90, 94)]
    most = odds_of_day([*several, seen(1, GATE, hours=0.1)], 20)
    assert most[90, TOWER] == share_odds(19, 3)  # without the gate
    assert most[1, GATE] == 0.25
