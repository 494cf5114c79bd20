"""The figures of each threshold, compared with counting photo by photo."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from trainer.evaluation.metrics import compute_tradeoff, lowest_threshold

EXAMPLES = examples(20)
SCORE = st.integers(0, 20).map(lambda number: number / 20)


@EXAMPLES
@given(
    st.lists(st.tuples(SCORE, st.booleans()), min_size=1, max_size=25),
    st.lists(SCORE, max_size=12),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_thresholds_do_what_counting_says(
    predictions: list[tuple[float, bool]], distractors: list[float], precision: float
) -> None:
    tradeoff = compute_tradeoff(
        torch.tensor([score for score, _ in predictions]),
        torch.tensor([correct for _, correct in predictions]),
        torch.tensor(distractors),
    )
    weight = len(predictions) / len(distractors) if distractors else 0
    precise_enough = []
    for at, threshold in enumerate(tradeoff.thresholds.tolist()):
        correct_count = sum(score >= threshold - 1e-6 for score, correct in predictions if correct)
        wrong_count = sum(score >= threshold - 1e-6 for score, correct in predictions if not correct)
        false_count = sum(score >= threshold - 1e-6 for score in distractors)
        expected = correct_count / (correct_count + wrong_count + weight * false_count)
        assert tradeoff.precision[at].item() == pytest.approx(expected)
        assert tradeoff.tagged_rightly[at].item() == pytest.approx(correct_count / len(predictions))
        assert tradeoff.false_tags[at].item() == pytest.approx(false_count / max(1, len(distractors)))
        if expected >= precision + 1e-9:
            precise_enough.append(threshold)

    point = lowest_threshold(precision, tradeoff)
    if precise_enough:
        assert point is not None
        assert point.threshold <= min(precise_enough) + 1e-9
        assert point.precision >= precision


def test_a_precision_that_no_threshold_reaches_has_none() -> None:
    always_wrong = compute_tradeoff(torch.tensor([0.9, 0.2]), torch.tensor([False, False]), torch.empty(0))

    assert lowest_threshold(0.9, always_wrong) is None
