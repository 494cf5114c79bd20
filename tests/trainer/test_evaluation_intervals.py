import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from torch import Tensor

from trainer.evaluation import metrics
from trainer.evaluation.metrics import (
    aurocs,
    bootstrap,
    estimate_share,
    macro_accuracies,
    widen,
    wilson_interval,
)
from trainer.evaluation.recognition import measure_rejection

EXAMPLES = examples(20)


def test_wilson_interval_of_a_known_share() -> None:
    interval = wilson_interval(0.9, 100)

    assert (interval.low, interval.high) == (pytest.approx(0.8256, abs=1e-4), pytest.approx(0.9448, abs=1e-4))
    assert wilson_interval(1.0, 10).high == pytest.approx(1.0)
    assert wilson_interval(math.nan, 0).low == 0.0


@EXAMPLES
@given(st.integers(1, 2000), st.floats(0, 1))
def test_wilson_interval_ends_where_the_share_seen_is_just_not_surprising(count: int, part: float) -> None:
    share = round(part * count) / count
    interval = wilson_interval(share, count)

    assert 0 <= interval.low <= share + 1e-9
    assert share - 1e-9 <= interval.high <= 1
    for end in (interval.low, interval.high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count), abs=1e-6)


def test_a_share_of_no_photos_is_zero_with_the_widest_interval() -> None:
    nothing = estimate_share(torch.empty(0, dtype=torch.bool))

    assert (nothing.value, nothing.interval.low, nothing.interval.high) == (0.0, 0.0, 1.0)


def test_bootstrap_of_a_mean_agrees_with_theory() -> None:
    values = torch.rand(500, generator=torch.Generator().manual_seed(3))
    measured = bootstrap(_mean, (values,))
    expected = 1.959964 * values.std().item() / math.sqrt(500)

    assert measured.value == pytest.approx(values.mean().item())
    assert measured.interval.high - measured.value == pytest.approx(expected, rel=0.15)
    assert measured.value - measured.interval.low == pytest.approx(expected, rel=0.15)


def test_bootstrap_gives_the_same_interval_every_time() -> None:
    positives, negatives = torch.linspace(0.2, 1, 60), torch.linspace(0, 0.7, 40)

    assert bootstrap(aurocs, (positives,), (negatives,)) == bootstrap(aurocs, (positives,), (negatives,))


def test_bootstrap_draws_what_belongs_to_one_photo_together_and_groups_apart() -> None:
    numbers = torch.arange(30.0)
    calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def figure(one: Tensor, twice: Tensor, other: Tensor) -> Tensor:
        calls.append((one, twice, other))
        return one.mean(dim=1)

    bootstrap(figure, (numbers, 2 * numbers), (100 + torch.arange(7.0),))
    resampled, twice, other = calls[0]
    assert resampled.shape == (metrics.RESAMPLES, 30)
    assert torch.equal(twice, 2 * resampled)
    assert other.shape == (metrics.RESAMPLES, 7)
    assert bool((other >= 100).all())
    assert len(set(resampled[0].tolist())) < 30  # with replacement


def test_bootstrap_of_very_many_photos_comes_in_blocks() -> None:
    largest = 0

    def figure(values: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, values.numel())
        return values[:, 0]

    bootstrap(figure, (torch.rand(30_000),))
    assert largest <= 4_000_000


def test_bootstrap_does_without_distractors() -> None:
    correct, targets = torch.tensor([True, False, True]), torch.tensor([0, 1, 1])

    def figure(correct: Tensor, labels: Tensor, none: Tensor) -> Tensor:
        assert none.shape[1] == 0
        return partial(macro_accuracies, labels=2)(correct, labels)

    assert bootstrap(figure, (correct, targets), (torch.empty(0),)).value == 0.75


def test_an_interval_can_be_widened_to_another() -> None:
    measured = widen(bootstrap(_mean, (torch.zeros(9),)), wilson_interval(0.0, 9))

    assert (measured.value, measured.interval.low) == (0.0, 0.0)
    assert measured.interval.high == pytest.approx(0.299, abs=1e-3)


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
