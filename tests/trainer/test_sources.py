"""Sources of photos: training balances them, and validates on whole sources that it was not trained on."""

import csv
from pathlib import Path

import numpy as np
import pytest
from support.scenes import draw_label

from trainer.data.preparation import TrainingData, find_training_photos, photo_weights, prepare

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
def data(tmp_path_factory) -> TrainingData:
    """A label of three sources, one of two equal ones, one of one, and ordinary photos of two kinds."""
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


def test_sources_are_held_out_whole_or_in_part_and_ordinary_ones_are_a_class(data):
    assert held_out(data, "Arch") == {"web": (12, 0), "phone": (5, 0), "museum": (3, 3)}
    bridge, tower = held_out(data, "Bridge"), held_out(data, "Tower")
    assert sum(count for _, count in bridge.values()) == 3
    assert all(count < total for total, count in bridge.values())
    assert tower == {"web": (10, 2)}
    assert data.classes == 3 + 2
    kinds = np.array([photo.kind for photo in data.cached.photos])
    classes = {kind: set(data.classes_of_photos[kinds == kind].tolist()) for kind in ("roads", "rooms")}
    assert sorted(classes.values(), key=min) == [{3}, {4}]


def test_a_source_has_at_most_its_share_of_its_group_and_few_photos_are_repeated():
    groups = np.repeat([0, 1, 2], [20, 20, 20])
    sources = np.array(["a"] * 16 + ["b"] * 4 + ["a"] * 10 + ["b"] * 10 + ["a"] * 20)
    weights = photo_weights(groups, sources, 0.5)

    assert weights[:16].sum() == pytest.approx(0.6 * weights[:20].sum())
    assert weights[20:40] == pytest.approx(np.full(20, 20**-0.5))
    assert [weights[groups == group].sum() for group in range(3)] == pytest.approx([20**0.5] * 3)
    weights = photo_weights(np.zeros(101, dtype=np.int64), np.array(["a"] * 100 + ["b"]), 1.0)
    assert weights[100] == pytest.approx(4 * weights[0])
