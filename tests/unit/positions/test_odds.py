"""The odds of a photo's distance from a landmark, and what is accepted with them."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tagger.landmarks import REACHES_KM
from tagger.positions.tag_odds import LEAST, MOST, position_odds
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
