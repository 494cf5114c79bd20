"""Metrics, intervals and thresholds against their definitions, computed photo by photo."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from support.examples import examples
from torch import Tensor

from trainer.evaluation import (
    bootstrap,
    calibration_errors,
    in_top_k,
    measure_library,
    measure_rejection,
    top_k_accuracy,
    wilson_interval,
)
from trainer.export.calibration import (
    ChosenThreshold,
    ValidationScores,
    choose_threshold,
    library_precision,
    tail_shares,
)
from trainer.options import FAMILY, ORDINARY, OTHERS as OTHER, Mixture

EXAMPLES = examples(10)
TIED = st.integers(0, 20).map(lambda number: float(torch.tensor(number / 20)))  # as scores are: float32
LOOSE = st.floats(0, 1, width=32)
SCORE = TIED | LOOSE
NAMED = st.lists(st.tuples(SCORE, st.booleans()), min_size=1, max_size=30)
NONE: dict[str, torch.Tensor] = {}


def test_accuracy_and_intervals_agree_with_theory():
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.1, 0.2, 0.7]])
    targets = torch.tensor([0, 1, 0, 2])

    assert [top_k_accuracy(scores, targets, k) for k in (1, 2, 3, 5)] == [0.5, 0.75, 1.0, 1.0]
    assert in_top_k(scores, targets, 2).tolist() == [True, True, False, True]
    interval = wilson_interval(0.9, 100)

    assert interval == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(math.nan, 0)[0] == 0.0
    values = torch.rand(500, generator=torch.Generator().manual_seed(3))
    measured = bootstrap(lambda rows: rows.mean(dim=1), (values,))
    expected = 1.959964 * values.std().item() / math.sqrt(500)

    assert measured.value == pytest.approx(values.mean().item())
    assert measured.high - measured.value == pytest.approx(expected, rel=0.15)
    assert measured.value - measured.low == pytest.approx(expected, rel=0.15)


@EXAMPLES
@given(NAMED)
def test_calibration_error_has_fifteen_bins_of_equal_width(predictions):
    confidence = _scores([score for score, _ in predictions])
    correct = torch.tensor([is_correct for _, is_correct in predictions])
    bins: dict[int, list[tuple[float, bool]]] = {}
    for score, is_correct in zip(confidence.tolist(), correct.tolist(), strict=True):
        # In float32, like the scores; in float64 a score on an edge may fall into the other bin.
        bins.setdefault(min(14, int((torch.tensor(score) * 15).item())), []).append((score, is_correct))
    gaps = [abs(math.fsum(score - is_right for score, is_right in scored)) for scored in bins.values()]
    expected = sum(gaps) / len(predictions)

    assert calibration_errors(confidence[None], correct[None]).item() == pytest.approx(expected, abs=1e-6)


def test_false_tags_are_counted_by_folder_of_distractors():
    distractors = torch.tensor([0.1, 0.2, 0.65, 0.95])
    rejection = measure_rejection(distractors, ["cats", "cats", "towers", "towers"], 0.5)

    assert {name: folder.photos for name, folder in rejection.by_folder.items()} == {"cats": 2, "towers": 2}
    assert rejection.by_folder["cats"].false_tags.value == 0.0
    assert rejection.by_folder["cats"].false_tags.high > 0.5, "few photos prove little"
    assert rejection.by_folder["towers"].false_tags.value == 1.0
    assert rejection.overall.false_tags.value == 0.5
    assert measure_rejection(torch.empty(0), [], 0.5) is None


def _scores(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


HALF = Mixture(0.5, 0.25, 0.25)


def test_thresholds_reach_a_precision_and_suggestions_half_of_it():
    top = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    correct = torch.tensor([True, True, True, True, False, False])
    # From 0.4: 4 of 6 right; from 0.5: 4 of 5; from 0.6: 4 of 4.
    assert chosen(top, correct, NONE, 0.79).value == pytest.approx(0.45)
    strict = chosen(top, correct, NONE, 0.9)
    assert strict.value == pytest.approx(0.55)
    assert (strict.precision.value, strict.accepted.value) == (1.0, pytest.approx(4 / 6))
    assert strict.false_tags == {}
    # A precision out of reach gives the best there is.
    few, right = torch.tensor([0.9, 0.8, 0.3]), torch.tensor([False, True, False])
    assert chosen(few, right, NONE, 0.95).value == pytest.approx(0.55)
    assert chosen(torch.tensor([0.0]), torch.tensor([True]), NONE, 0.95).value == 0.05
    top, correct = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.3]), torch.tensor([True, True, True, False, True])
    others = {ORDINARY: torch.tensor([0.65, 0.2, 0.1]), OTHER: torch.tensor([0.2, 0.1])}
    threshold = chosen(top, correct, others, 0.9)
    assert threshold.value == pytest.approx(0.725)
    # Below it, of half a library's five landmark photos, down to 0.6 0.1 of 0.183 are right, to 0.5 0.1 of
    # 0.283, to 0.3 0.2 of 0.383, and to 0.2 0.2 of 0.592.
    assert threshold.suggested_from == pytest.approx(0.25)


def test_mixtures_weight_the_kinds_of_photos():
    top, correct = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True] * 4)
    others = {ORDINARY: torch.tensor([0.75]), OTHER: torch.tensor([0.65, 0.1])}
    # From 0.6: 0.5 right against 0.375 wrong; from 0.7: 0.375 against 0.25; from 0.8: 0.25 against none.
    assert chosen(top, correct, others, 0.57).value == pytest.approx(0.35)
    assert chosen(top, correct, others, 0.59).value == pytest.approx(0.675)
    threshold = chosen(top, correct, others, 0.9)
    assert threshold.value == pytest.approx(0.775)
    assert threshold.suggested_from == threshold.value  # below it, fewer than half of the names are right
    assert threshold.false_tags == {ORDINARY: 0.0, OTHER: 0.0}
    assert "in a library of 50:25:25" in threshold.reason
    assert "1 ordinary photos, 2 photos of other landmarks" in threshold.reason
    top, correct = torch.tensor([0.9, 0.7]), torch.tensor([True, True])
    both = {ORDINARY: torch.tensor([0.8, 0.1]), OTHER: torch.tensor([0.8, 0.1])}
    for kind, highest in both.items():
        scores, expected = apart(top, correct, {kind: highest}), apart(top, correct, both)
        for threshold in (0.5, 0.85):
            assert library_precision(scores, HALF, threshold) == pytest.approx(
                library_precision(expected, HALF, threshold)
            )
    assert Mixture.parse("5:15:80") == FAMILY
    assert Mixture.parse("1:3:16") == FAMILY
    assert str(FAMILY) == "5:15:80"
    for text in ("", "5:15", "0:20:80", "5:-15:80", "5:15:inf", "5:15:80:0"):
        with pytest.raises(ValueError, match="KNOWN:OTHER:ORDINARY"):
            Mixture.parse(text)


def test_intervals_follow_groups_and_tails_go_on_above_the_highest_score():
    """Many photos of few places say less than as many of different ones."""
    generator = torch.Generator().manual_seed(0)
    top, correct = torch.rand(400, generator=generator) * 0.5 + 0.5, torch.ones(400, dtype=torch.bool)
    place = torch.arange(400) // 40
    top += (torch.rand(10, generator=generator) - 0.5)[place] * 0.6
    others = {OTHER: torch.rand(400, generator=generator) * 0.8}
    widths = []
    for groups in (torch.arange(400), place):
        scores = ValidationScores(top, correct, others, [groups, groups])
        accepted = choose_threshold(scores, HALF, 0.95).accepted
        assert accepted.low <= accepted.value <= accepted.high
        widths.append(accepted.high - accepted.low)
    assert widths[1] > 1.5 * widths[0]
    logits = -torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log() * 2
    beyond = logits.max() + 2
    assert tail_shares(logits.sigmoid(), beyond.sigmoid()[None]).item() == pytest.approx(
        math.exp(-beyond / 2), rel=0.8
    )


@EXAMPLES
@given(st.lists(LOOSE, min_size=41, max_size=60))
def test_shares_above_few_scores_are_those_of_a_falling_tail(values):
    thresholds = torch.linspace(0, 1, 50)
    shares = tail_shares(_scores(values), thresholds)
    assert (shares.diff() <= 1e-9).all()
    below = thresholds <= sorted(values)[len(values) // 2]
    counted = [
        sum(value >= threshold for value in values) / len(values) for threshold in thresholds[below].tolist()
    ]
    assert shares[below].tolist() == pytest.approx(counted, abs=1e-6)


def chosen(top: Tensor, correct: Tensor, others: dict[str, Tensor], precision: float) -> ChosenThreshold:
    return choose_threshold(apart(top, correct, others), HALF, precision)


def apart(top: Tensor, correct: Tensor, others: dict[str, Tensor]) -> ValidationScores:
    """Scores of photos of which each is a group of its own."""
    groups = [torch.arange(len(each)) for each in (top, *others.values())]
    return ValidationScores(top, correct, others, groups)


def test_a_library_weights_the_kinds_of_photos():
    yes, no = torch.tensor([True]), torch.tensor([False])
    library = measure_library(
        correct=torch.tensor([True, True, True, False]),
        accepted=torch.tensor([True, True, False, True]),
        others=torch.cat([yes, no, no]),
        ordinary=torch.cat([yes, no, no, no, no]),
        mixture=Mixture(0.5, 0.3, 0.2),
    )
    # Of 100 photos, 25 have a right tag; wrong ones: 12.5 of landmarks, 10 of others, 4 of ordinary ones.
    assert library.precision.value == pytest.approx(25 / 51.5)
    assert library.false_tags.value == pytest.approx(0.265)
    assert measure_library(yes, yes, yes, yes[:0], FAMILY) is None
    assert measure_library(yes, yes, yes[:0], yes, FAMILY) is None
