"""GAP as the Google Landmarks challenges define it."""

from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.evaluation.challenge import Guess, global_average_precision
from trainer.evaluation.metrics import average_precisions

SOLUTION = {"a": frozenset({1}), "b": frozenset({2, 3}), "c": frozenset({4}), "d": frozenset[int]()}


def test_gap_counts_photos_of_several_landmarks_of_none_and_without_a_guess() -> None:
    guesses = {"d": Guess(1, 0.9), "b": Guess(3, 0.8), "a": Guess(1, 0.7), "elsewhere": Guess(9, 1.0)}

    # Right at ranks 2 and 3; three photos show a landmark, and c has no guess.
    assert global_average_precision(guesses, SOLUTION) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert global_average_precision({}, SOLUTION) == 0
    assert global_average_precision(guesses, {"d": frozenset()}) == 0


def test_equal_scores_are_ranked_by_photo_id() -> None:
    first_right = {"a": Guess(1, 0.5), "b": Guess(9, 0.5)}
    first_wrong = {"a": Guess(9, 0.5), "b": Guess(2, 0.5)}
    solution = {name: SOLUTION[name] for name in "ab"}

    assert global_average_precision(first_right, solution) == pytest.approx(1 / 2)
    assert global_average_precision(first_wrong, solution) == pytest.approx(1 / 4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_without_equal_scores_gap_is_that_of_the_evaluation(
    photos: list[tuple[bool, bool]], random: Random
) -> None:
    scores = random.sample(range(1000), len(photos))
    shows = {str(row): frozenset({1} if has_landmark else ()) for row, (has_landmark, _) in enumerate(photos)}
    guesses = {str(row): Guess(int(right), scores[row]) for row, (_, right) in enumerate(photos)}
    of_landmarks = [row for row, (has_landmark, _) in enumerate(photos) if has_landmark]
    others = [row for row in range(len(photos)) if row not in of_landmarks]
    if not of_landmarks:
        return
    values = torch.tensor(scores, dtype=torch.float64)
    right = torch.tensor([photos[row][1] for row in of_landmarks])
    expected = average_precisions(values[of_landmarks][None], right[None], values[others][None]).item()

    assert global_average_precision(guesses, shows) == pytest.approx(expected)
