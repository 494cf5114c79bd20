"""What each threshold would do, against counting photo by photo."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.metrics import compute_tradeoff, lowest_threshold

EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)
SCORE = st.integers(0, 20).map(lambda twentieth: twentieth / 20)


@EXAMPLES
@given(
    st.lists(st.tuples(SCORE, st.booleans()), min_size=1, max_size=25),
    st.lists(SCORE, max_size=12),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_thresholds_do_what_counting_says(
    names: list[tuple[float, bool]], distractors: list[float], precision: float
) -> None:
    tradeoff = compute_tradeoff(
        torch.tensor([score for score, _ in names]),
        torch.tensor([right for _, right in names]),
        torch.tensor(distractors),
    )
    weight = len(names) / len(distractors) if distractors else 0
    reaching = []
    for at, threshold in enumerate(tradeoff.thresholds.tolist()):
        right = sum(score >= threshold - 1e-6 for score, correct in names if correct)
        wrong = sum(score >= threshold - 1e-6 for score, correct in names if not correct)
        false = sum(score >= threshold - 1e-6 for score in distractors)
        expected = right / (right + wrong + weight * false)
        assert tradeoff.precision[at].item() == pytest.approx(expected)
        assert tradeoff.tagged_rightly[at].item() == pytest.approx(right / len(names))
        assert tradeoff.false_tags[at].item() == pytest.approx(false / max(1, len(distractors)))
        if expected >= precision + 1e-9:
            reaching.append(threshold)

    point = lowest_threshold(precision, tradeoff)
    if reaching:
        assert point is not None
        assert point.threshold <= min(reaching) + 1e-9
        assert point.precision >= precision


def test_a_precision_that_no_threshold_reaches_has_none() -> None:
    always_wrong = compute_tradeoff(torch.tensor([0.9, 0.2]), torch.tensor([False, False]), torch.empty(0))

    assert lowest_threshold(0.9, always_wrong) is None
    assert always_wrong.precision_on_landmarks.tolist() == [0, 0]
