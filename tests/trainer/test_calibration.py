import pytest
import torch

from trainer.export.calibration import ORDINARY, OTHER, choose_threshold

NONE: dict[str, torch.Tensor] = {}


def test_threshold_is_the_least_that_reaches_the_precision() -> None:
    top = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    correct = torch.tensor([True, True, True, True, False, False])
    # From 0.4: 4 of 6 right; from 0.5: 4 of 5; from 0.6: 4 of 4.
    assert choose_threshold(top, correct, NONE, precision=0.8).value == pytest.approx(0.45)
    strict = choose_threshold(top, correct, NONE, precision=0.9)
    assert strict.value == pytest.approx(0.55)
    assert (strict.precision, strict.accepted, strict.false_tags) == (1.0, pytest.approx(4 / 6), {})


def test_ordinary_photos_and_other_landmarks_count_alike() -> None:
    top, correct = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True] * 4)
    # One ordinary photo is weighted like two photos, each of the others like one.
    others = {ORDINARY: torch.tensor([0.75]), OTHER: torch.tensor([0.65, 0.1])}
    # From 0.8: 2 right; from 0.7: 3 right against 2 wrong; from 0.6: 4 right against 3 wrong.
    assert choose_threshold(top, correct, others, precision=0.57).value == pytest.approx(0.35)
    assert choose_threshold(top, correct, others, precision=0.6).value == pytest.approx(0.675)
    threshold = choose_threshold(top, correct, others, precision=0.9)
    assert threshold.value == pytest.approx(0.775)
    assert threshold.false_tags == {ORDINARY: 0.0, OTHER: 0.0}
    assert "1 ordinary photos and 2 photos of other landmarks, weighted as half of all" in threshold.reason


def test_a_precision_out_of_reach_gives_the_best_there_is() -> None:
    top, correct = torch.tensor([0.9, 0.8, 0.3]), torch.tensor([False, True, False])

    assert choose_threshold(top, correct, NONE, precision=0.95).value == pytest.approx(0.55)


def test_a_threshold_is_never_zero() -> None:
    assert choose_threshold(torch.tensor([0.0]), torch.tensor([True]), NONE, precision=0.95).value == 0.05
