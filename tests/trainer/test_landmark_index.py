"""The index of landmarks: it finds what a comparison with all landmarks in full precision finds."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tagger.library.teaching.classifiers import Direction, EmbeddingSpace
from tagger.model.artifact import BackgroundStatistics
from trainer.gldv2 import landmark_index
from trainer.gldv2.landmark_index import LandmarkIndex, write_index
from trainer.gldv2.recipe import challenge_gap

DIMENSION, LANDMARKS = 96, 2500


def test_the_best_landmark_is_that_of_a_comparison_in_full_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmark_index, "BLOCK", 1000)
    random = np.random.default_rng(0)
    mixing = random.normal(0, 1, (DIMENSION, DIMENSION)) / np.sqrt(DIMENSION)
    background = (1 + random.normal(0, 1, (2000, DIMENSION)) @ mixing).astype(np.float32)
    space = EmbeddingSpace.of(BackgroundStatistics.measured(background))
    places = random.normal(0, 1, (LANDMARKS, DIMENSION)) @ mixing
    weights = places @ space.precision
    weights /= np.sqrt(np.einsum("ld,ld->l", weights, places))[:, None]
    expected = random.uniform(3, 8, LANDMARKS)
    directions = [
        Direction(row, float(row @ space.mean), 4, each) for row, each in zip(weights, expected, strict=True)
    ]
    file = tmp_path / "index.safetensors"
    ids = [7 * number for number in range(LANDMARKS)]
    assert write_index(file, zip(ids, directions, strict=True), {7: "Dom"}, space, "digest") == LANDMARKS

    shown = random.integers(0, LANDMARKS, 200)
    photos = (space.mean + places[shown] + 0.5 * random.normal(0, 1, (200, DIMENSION)) @ mixing).astype(
        np.float32
    )
    scores = (photos - space.mean) @ weights.T / expected
    found, found_scores = LandmarkIndex.open(file).best(photos)

    same = found == 7 * scores.argmax(axis=1)
    assert same.mean() >= 0.98
    assert found_scores[same] == pytest.approx(scores.max(axis=1)[same], abs=0.01)
    with safe_open(file, "np") as tensors:
        assert tensors.metadata()["model"] == "digest"
        assert json.loads(tensors.metadata()["names"])["7"] == "Dom"


def test_gap_counts_photos_of_several_landmarks_of_none_and_without_a_guess() -> None:
    solution = {"a": frozenset({1}), "b": frozenset({2, 3}), "c": frozenset({4}), "d": frozenset[int]()}
    guesses = {"d": (1, 0.9), "b": (3, 0.8), "a": (1, 0.7), "elsewhere": (9, 1.0)}

    # Right at ranks 2 and 3; three photos show a landmark, and c has no guess.
    assert challenge_gap(guesses, solution) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert challenge_gap({}, solution) == 0
    assert challenge_gap(guesses, {"d": frozenset()}) == 0
