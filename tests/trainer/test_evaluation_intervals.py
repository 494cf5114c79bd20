import math

import pytest
import torch
from torch import Tensor

from trainer.evaluation.metrics import (
    bootstrap,
    wilson_interval,
)
from trainer.evaluation.recognition import measure_rejection


def test_wilson_interval_of_a_known_share() -> None:
    interval = wilson_interval(0.9, 100)

    assert (interval.low, interval.high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(1.0, 10).high == pytest.approx(1.0)
    assert wilson_interval(math.nan, 0).low == 0.0


def test_bootstrap_of_a_mean_agrees_with_theory() -> None:
    values = torch.rand(500, generator=torch.Generator().manual_seed(3))
    measured = bootstrap(_mean, (values,))
    expected = 1.959964 * values.std().item() / math.sqrt(500)

    assert measured.value == pytest.approx(values.mean().item())
    assert measured.interval.high - measured.value == pytest.approx(expected, rel=0.15)
    assert measured.value - measured.interval.low == pytest.approx(expected, rel=0.15)


def test_few_distractors_none_of_them_taken_for_a_landmark_prove_little() -> None:
    landmarks, distractors = torch.linspace(0.8, 1, 200), torch.full((20,), 0.1)
    rejection = measure_rejection(landmarks, distractors, ["cats"] * 15 + ["."] * 5, 0.5)

    assert rejection is not None
    assert rejection.overall.fpr_at_95_recall.value == rejection.overall.false_tags.value == 0
    assert rejection.overall.fpr_at_95_recall.interval.high > 0.15
    assert {name: folder.photos for name, folder in rejection.by_folder.items()} == {"cats": 15, ".": 5}


def test_each_folder_of_distractors_is_measured_against_all_landmark_photos() -> None:
    landmarks = torch.tensor([0.9, 0.8, 0.7, 0.6])
    distractors = torch.tensor([0.1, 0.2, 0.65, 0.95])
    rejection = measure_rejection(landmarks, distractors, ["cats", "cats", "towers", "towers"], 0.5)

    assert rejection is not None
    assert rejection.by_folder["cats"].auroc.value == 1.0
    assert rejection.by_folder["towers"].auroc.value == pytest.approx(3 / 8)
    assert rejection.by_folder["towers"].fpr_at_95_recall.value == 1.0
    assert rejection.by_folder["towers"].false_tags.value == 1.0
    assert rejection.overall.false_tags.value == 0.5
    assert measure_rejection(landmarks, torch.empty(0), [], 0.5) is None


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=1)
