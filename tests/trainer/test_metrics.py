import math

import pytest
import torch

from trainer.metrics import (
    auroc,
    confusion_counts,
    expected_calibration_error,
    false_positive_rate_at,
    reliability,
    top_k_accuracy,
    wilson_interval,
)


def test_top_k_accuracy() -> None:
    scores = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.1, 0.2, 0.7]])
    targets = torch.tensor([0, 1, 0, 2])

    assert [top_k_accuracy(scores, targets, k) for k in (1, 2, 3, 5)] == [0.5, 0.75, 1.0, 1.0]


def test_confusion_has_right_labels_in_rows_and_predictions_in_columns() -> None:
    counts = confusion_counts(torch.tensor([1, 1, 0]), torch.tensor([0, 1, 0]), 2)

    assert counts.tolist() == [[1, 1], [0, 1]]


def test_auroc_counts_pairs_and_half_of_ties() -> None:
    positives, negatives = torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1])

    assert auroc(positives, negatives) == pytest.approx(3.5 / 4)
    assert auroc(negatives, positives) == pytest.approx(0.5 / 4)


def test_false_positive_rate_at_a_recall() -> None:
    positives, negatives = torch.linspace(0.05, 1.0, 20), torch.tensor([0.01, 0.1, 0.5, 0.99])

    assert false_positive_rate_at(0.95, positives, negatives) == 0.75
    assert false_positive_rate_at(0.5, positives, negatives) == 0.25


def test_calibration_error_is_the_distance_between_sureness_and_accuracy() -> None:
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = torch.tensor([True, True, True, False, True, False])
    bins = reliability(confidence, correct, bins=10)

    assert [entry.count for entry in bins] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]
    assert expected_calibration_error(bins) == pytest.approx((4 * 0.20 + 2 * 0.05) / 6, abs=1e-6)
    assert reliability(torch.tensor([1.0]), torch.tensor([True]), bins=10)[9].count == 1


def test_wilson_interval() -> None:
    interval = wilson_interval(0.9, 100)

    assert (interval.low, interval.high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(1.0, 10).high == pytest.approx(1.0)
    assert wilson_interval(math.nan, 0).low == 0.0
