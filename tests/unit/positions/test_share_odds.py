"""What the other photos of a camera's day say about a landmark: the factor of its odds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.positions.camera_days import MOST, odds_of_day, share_odds

TOWER, GATE = 1, 2


@pytest.mark.parametrize(
    ("others", "showing", "odds"),
    [
        (0, 0, 1.0),  # alone
        (10, 0, 0.49),
        (1000, 0, 0.25),  # a lone one among a thousand, at most a quarter
        (1000, 50, 1.0),  # as in other libraries
        (20, 3, 2.5),
        (5, 5, 4.0),
    ],
)
def test_the_share_of_landmark_photos_changes_the_odds(others: int, showing: int, odds: float) -> None:
    assert share_odds(others, showing) == pytest.approx(odds, abs=0.05)


@given(st.integers(0, 10_000), st.data())
def test_more_photos_of_landmarks_never_make_one_less_likely(others: int, data: st.DataObject) -> None:
    showing = data.draw(st.integers(0, others))
    odds = share_odds(others, showing)
    assert 1 / MOST <= odds <= MOST
    assert odds >= share_odds(others + 1, showing)
    assert showing == others or share_odds(others, showing + 1) >= odds


def test_a_landmark_is_likelier_only_beside_others_of_it() -> None:
    found = {number: {TOWER} for number in range(4)}
    odds = odds_of_day(found, 8, {0: {TOWER}, 5: {TOWER, GATE}, 6: {GATE}})
    assert odds[0, TOWER] == share_odds(7, 3)
    assert odds[5, TOWER] == share_odds(7, 4) > 1
    assert odds[5, GATE] == odds[6, GATE] == 1.0
    alone = odds_of_day({0: {TOWER}}, 200, {0: {TOWER}})
    assert alone == {(0, TOWER): 0.25}
