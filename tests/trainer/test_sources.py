"""Sources of photos: training balances them, and validates on whole sources that it was not trained on."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from support.scenes import draw_label

from tagger.model.artifact import Label
from trainer.data.preparation import TrainingData, find_training_photos, photo_weights, prepare
from trainer.evaluation.mixture import FAMILY
from trainer.evaluation.recognition import measure_recognition, measure_sources
from trainer.export.calibration import measure

SIZE = 32


def list_sources(data: Path, sources: dict[str, range]) -> None:
    """Draw photos of `LABEL/SOURCE` into `data`/train/LABEL, and list their sources."""
    rows = [("photo", "source")]
    for name, seeds in sources.items():
        label, _, source = name.partition("/")
        draw_label(data / "train" / label, seeds)
        rows += [(f"{label}/{seed}.jpg", source) for seed in seeds]
    with (data / "sources.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """A label of three sources, one of two equally large ones, one of one, and ordinary photos of two kinds."""
    folder = tmp_path_factory.mktemp("sources")
    list_sources(
        folder,
        {
            "Arch/web": range(12),
            "Arch/phone": range(20, 25),
            "Arch/museum": range(30, 33),
            "Bridge/web": range(40, 50),
            "Bridge/phone": range(50, 60),
            "Tower/web": range(60, 70),
        },
    )
    draw_label(folder / "ordinary" / "rooms", range(70, 80))
    draw_label(folder / "ordinary" / "roads" / "dry", range(80, 90))
    return prepare(
        find_training_photos(folder, folder / "ordinary", None), folder / "pixels", size=SIZE, seed=0
    )


def held_out(data: TrainingData, label: str) -> dict[str, tuple[int, int]]:
    """By source of a label's photos: how many there are, and how many are held out."""
    of_label = np.array([photo.label == label for photo in data.cached.photos])
    return {
        source: (int(rows.sum()), int((rows & data.is_validation).sum()))
        for source in np.unique(data.sources[of_label]).tolist()
        for rows in [of_label & (data.sources == source)]
    }


def test_a_whole_small_source_of_a_label_is_held_out(data: TrainingData) -> None:
    assert held_out(data, "Arch") == {"web": (12, 0), "phone": (5, 0), "museum": (3, 3)}
    names = [(photo.label, photo.path.name) for photo in data.cached.photos]
    new = [name for name, is_new in zip(names, data.is_from_new_source, strict=True) if is_new]
    assert new == [("Arch", f"{seed}.jpg") for seed in (30, 31, 32)]


def test_large_sources_stay_in_training_with_a_share_of_photos_held_out(data: TrainingData) -> None:
    bridge, tower = held_out(data, "Bridge"), held_out(data, "Tower")
    assert sum(count for _, count in bridge.values()) == 3
    assert all(count < total for total, count in bridge.values())
    assert tower == {"web": (10, 2)}


def test_each_kind_of_ordinary_photos_is_a_class(data: TrainingData) -> None:
    assert data.classes == 3 + 2
    kinds = np.array([photo.kind for photo in data.cached.photos])
    classes = {kind: set(data.classes_of_photos[kinds == kind].tolist()) for kind in ("roads", "rooms")}
    assert sorted(classes.values(), key=min) == [{3}, {4}]


def test_the_largest_source_of_a_group_has_at_most_its_share_and_the_group_keeps_its_weight() -> None:
    groups = np.repeat([0, 1, 2], [20, 20, 20])
    sources = np.array(["a"] * 16 + ["b"] * 4 + ["a"] * 10 + ["b"] * 10 + ["a"] * 20)
    weights = photo_weights(groups, sources, 0.5)

    assert weights[:16].sum() == pytest.approx(0.6 * weights[:20].sum())
    assert weights[20:40] == pytest.approx(np.full(20, 20**-0.5))
    assert [weights[groups == group].sum() for group in range(3)] == pytest.approx([20**0.5] * 3)


def test_few_photos_of_another_source_are_repeated_only_so_often() -> None:
    weights = photo_weights(np.zeros(101, dtype=np.int64), np.array(["a"] * 100 + ["b"]), 1.0)
    assert weights[100] == pytest.approx(4 * weights[0])


def test_photos_of_new_sources_are_measured_apart() -> None:
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.1], [0.1, 0.7], [0.95, 0.0]])
    targets, no = torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.bool)
    _, metrics = measure(scores, targets, no, torch.tensor([False, True, True, True]), 0.5, FAMILY, 0)
    new = {name: value for name, value in metrics.items() if "new_source" in name}

    assert new == {
        "val_new_source_photos": 3,
        "val_new_source_top1": pytest.approx(2 / 3),
        "val_new_source_accepted_rightly": pytest.approx(2 / 3),
        "val_new_source_accepted_wrongly": pytest.approx(1 / 3),
    }
    assert not [name for name in measure(scores, targets, no, no, 0.5, FAMILY, 0)[1] if "new_source" in name]


def test_an_evaluation_has_figures_by_source() -> None:
    scores = torch.tensor([[0.9, 0.0], [0.3, 0.1], [0.6, 0.1], [0.0, 0.9]])
    labels = [Label(label=name, slug=name.lower(), name=name) for name in ("Arch", "Bridge")]
    recognition = measure_recognition(labels, scores, torch.tensor([0, 0, 1, 1]), 0.5, 0.2)
    results = measure_sources(recognition, ["web", "web", "phone", ""], 0.5)

    assert list(results) == ["web", "phone"]
    assert (recognition.accepted_right.value, recognition.suggested_right.value) == (0.5, 0.75)
    web, phone = results.values()
    assert (web.photos, web.top1.value, web.accepted_right.value, web.accepted_wrong.value) == (2, 1, 0.5, 0)
    assert (phone.photos, phone.top1.value, phone.accepted_right.value) == (1, 0, 0)
    assert phone.accepted_wrong.value == 1
