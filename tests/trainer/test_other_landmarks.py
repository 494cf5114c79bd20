"""Photos of landmarks without a label: whole landmarks are held out, and sampled as often as labels."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.scenes import draw_label
from support.training_photos import LABELS, draw_small_world, train, transfer_options

from trainer.data import preparation
from trainer.data.preparation import TrainingData, find_training_photos, prepare
from trainer.learning.classifier import validation_loss
from trainer.learning.loop import sample_rows

PLACES = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Two labels of 8 photos, 5 ordinary photos, 12 other landmarks of 2, and one with a label's folder."""
    folder = draw_small_world(tmp_path_factory.mktemp("world"))
    for number in range(PLACES):
        draw_label(folder / "others" / f"place-{number}", range(2000 + 2 * number, 2002 + 2 * number))
    draw_label(folder / "others" / "bridge", range(3000, 3003))
    return folder


@pytest.fixture(scope="module")
def data(world) -> TrainingData:
    return prepared(world)


def prepared(world: Path, seed: int = 0) -> TrainingData:
    return prepare(
        find_training_photos(world / "data", world / "unknown", world / "others"),
        world / "pixels",
        size=32,
        seed=seed,
    )


def test_other_landmarks_with_a_label_are_left_out(data, world):
    places = {photo.place for photo in data.cached.photos if photo.place}
    assert places == {f"place-{number}" for number in range(PLACES)}
    assert data.is_other.sum() == 2 * PLACES
    assert set(data.targets[data.is_other]) == {len(LABELS)}


@pytest.mark.parametrize("seed", range(3))
def test_whole_landmarks_are_held_out(world, seed):
    data = prepared(world, seed)
    places = np.array([photo.place or "" for photo in data.cached.photos])
    held_out = set(places[data.is_validation & data.is_other])
    assert len(held_out) == round(0.15 * PLACES)
    assert not held_out & set(places[~data.is_validation])


def test_ordinary_photos_and_other_landmarks_are_classes_balanced_by_half(data):
    classes, training = data.classes_of_photos, ~data.is_validation
    assert data.classes == len(LABELS) + 1 + (PLACES - 2)
    assert set(classes[training]) == set(range(data.classes))
    for photos in (training & data.is_other, training & (data.targets < len(LABELS))):
        pairs = set(zip(classes[photos].tolist(), data.groups[photos].tolist(), strict=True))
        assert len(pairs) == len(set(data.groups[photos]))
    assert (classes[data.targets < len(LABELS)] == data.targets[data.targets < len(LABELS)]).all()
    weights = data.training_weights()
    is_ordinary = (~data.is_other & (data.targets == len(LABELS)))[data.training]
    assert weights[is_ordinary] == pytest.approx(np.full(is_ordinary.sum(), is_ordinary.sum() ** -0.25))


def test_a_linear_layer_learns_at_last_from_the_photos_that_were_held_out(world, tmp_path):
    run = train(transfer_options(world, tmp_path / "run", epochs=0, others=world / "others"))
    assert run.classifier.head.out_features == len(LABELS) + 1 + PLACES + 1  # and blends
    neighbours = run.classifier.scoring.neighbours
    assert len(neighbours.landmarks) == 16
    assert len(neighbours.others) == 5 + 2 * PLACES
    assert run.record.training["photos"] < 16
    assert run.record.metrics["val_photos"] == 16 - run.record.training["photos"]
    assert run.record.background_photos < 16 + 5 + 2 * PLACES


def test_photos_of_val_are_never_learnt(world, tmp_path):
    shutil.copytree(world / "data", tmp_path / "data")
    for label in LABELS:
        photos = sorted((tmp_path / "data" / "train" / label).iterdir())
        (tmp_path / "data" / "val" / label).mkdir(parents=True)
        for photo in photos[:2]:
            photo.rename(tmp_path / "data" / "val" / label / photo.name)
    data = prepare(find_training_photos(tmp_path / "data", None, None), tmp_path / "pixels", size=32, seed=0)
    assert len(data.whole.validation) == 4
    run = train(replace(transfer_options(world, tmp_path / "run", epochs=0), data=tmp_path / "data"))
    assert len(run.classifier.scoring.neighbours.landmarks) == 12


def test_background_classes_count_together_in_the_loss():
    probabilities = torch.tensor([[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.3, 0.5]])
    loss = validation_loss(probabilities.log(), torch.tensor([0, 2]), labels=2)
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2, rel=1e-5)
    alone = validation_loss(probabilities[:, :2].log(), torch.tensor([0, 2]), labels=2)
    assert alone.item() == pytest.approx(-math.log(0.5 / 0.7), rel=1e-5)


def test_landmarks_with_few_photos_are_sampled_as_often_as_labels(data, monkeypatch):
    monkeypatch.setattr(preparation, "BALANCE", 1.0)
    rows = data.training[sample_rows(data.training_weights(), 3000, np.random.default_rng(0))]
    is_landmark = data.is_other | (data.targets < len(LABELS))
    _, counts = np.unique(data.groups[rows[is_landmark[rows]]], return_counts=True)
    assert counts.min() > 0.9 * counts.max()
