"""What the other photos of a camera's day say about a landmark: the factor of its odds."""

import pytest
from hypothesis import given, strategies as st

from tagger.positions.tag_odds import MOST_OF_DAY, SeenLandmark, odds_of_day, share_odds

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
