"""The best predictions of an image, of few labels and of many."""

import numpy as np
import pytest

from tagger.model.predictions import best_predictions


@pytest.mark.parametrize("count", [1, 5, 8, 20])
def test_the_best_of_any_number_of_labels_are_those_of_a_full_sort(count: int) -> None:
    scores = (np.random.default_rng(count).integers(0, 5, 3000) / 5).astype(
        np.float32
    )  # with many equal ones
    for each in (scores, scores[:8], np.append(scores, np.float32("nan"))):
        found = best_predictions(each, count, 0.5, is_damaged=False)
        assert [one.position for one in found] == (-each).argsort(kind="stable")[:count].tolist()
        assert [one.rank for one in found] == list(range(1, len(found) + 1))
