"""`trainer data split`: shares, groups, reproducibility, and unchanged source photos."""

import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.scenes import draw_label, draw_scene, tree

from trainer.data.split import assign_splits

SHARES = {"test": 0.2, "val": 0.2}
EXAMPLES = examples(10)

groupings = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=40)
"""Groups of photos that stay together; each is a list of the photos' labels."""


@EXAMPLES
@given(groupings, st.integers(0, 3), st.floats(0, 0.45), st.floats(0, 0.45))
def test_groups_stay_together_and_every_label_keeps_a_photo(grouping, seed, val, test):
    labels, groups, digests = flattened(grouping)
    splits = assign_splits(labels, groups, digests, {"test": test, "val": val}, seed=seed)

    splits_by_group: dict[int, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        splits_by_group[group].add(split)
    assert all(len(splits_of_group) == 1 for splits_of_group in splits_by_group.values())
    training_labels = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
    assert training_labels == set(labels)


@EXAMPLES
@given(st.integers(1, 200), st.integers(0, 3))
def test_shares_are_exact_where_no_photos_belong_together(count, seed):
    labels, groups, digests = flattened([["a"]] * count)
    counts = Counter(assign_splits(labels, groups, digests, SHARES, seed=seed))

    expected = int(0.2 * count + 0.5)
    if 2 * expected < count:
        assert (counts["test"], counts["val"]) == (expected, expected)
    assert counts["train"] >= 1


@EXAMPLES
@given(groupings, st.randoms(use_true_random=False))
def test_the_order_of_photos_and_the_names_of_groups_do_not_matter(grouping, rng):
    labels, groups, digests = flattened(grouping)
    splits = assign_splits(labels, groups, digests, SHARES, seed=7)
    order = list(range(len(labels)))
    rng.shuffle(order)
    shuffled = assign_splits(
        [labels[number] for number in order],
        [-groups[number] for number in order],
        [digests[number] for number in order],
        SHARES,
        seed=7,
    )

    assert shuffled == [splits[number] for number in order]


def test_a_label_of_large_scenes_gives_its_smallest():
    labels, groups, digests = flattened([["a"] * 6, ["a"] * 3, ["a"] * 4])
    splits = assign_splits(labels, groups, digests, SHARES, seed=0)

    assert Counter(splits) == {"test": 3, "val": 4, "train": 6}
    assert assign_splits(["a"] * 5, [1] * 5, list("vwxyz"), SHARES, seed=0) == ["train"] * 5


def flattened(grouping: list[list[str]]) -> tuple[list[str], list[int], list[str]]:
    labels = [label for group in grouping for label in group]
    groups = [number for number, group in enumerate(grouping) for _ in group]
    return labels, groups, [f"digest-{number}" for number in range(len(labels))]


@pytest.fixture
def photos(tmp_path) -> Path:
    """20 towers, of which two show one scene; 10 bridges; a hill and its near-duplicate; a broken one."""
    folder = tmp_path / "photos"
    draw_label(folder / "Tower" / "2019", range(19))
    draw_scene(folder / "Tower" / "again.jpg", 5, (160, 120))
    draw_label(folder / "Bridge", range(100, 110))
    draw_scene(folder / "Hill" / "a.jpg", 300)
    draw_scene(folder / "Hill" / "b.jpg", 300, (200, 150))
    (folder / "Bridge" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "landmarks.csv").write_text("label,slug\nTower,the-tower\n")
    return folder


def test_photos_are_copied_into_the_splits_with_a_record(data, photos, tmp_path):
    before = tree(photos)
    output = data("split", photos, "--out", tmp_path / "set", "--json")

    assert output.code == 0, output.err
    assert tree(photos) == before
    done = output.json
    assert done["by_label"] == {
        "Bridge": {"train": 6, "val": 2, "test": 2},
        "Hill": {"train": 2, "val": 0, "test": 0},
        "Tower": {"train": 12, "val": 4, "test": 4},
    }
    assert done["without"] == {"val": ["Hill"], "test": ["Hill"]}
    assert "too few scenes for a photo in val/: Hill" in output.err
    assert [each["path"] for each in done["left_out"]] == ["Bridge/broken.jpg"]
    assert "1 photos cannot be read" in output.err
    files = tree(tmp_path / "set")
    assert files.pop("landmarks.csv") == before["landmarks.csv"]
    record = json.loads(files.pop("split.json"))
    assert (record["seed"], record["shares"]) == (0, {"val": 0.2, "test": 0.2})
    assert Counter(record["photos"].values()) == Counter(path.split("/")[0] for path in files)
    assert sorted(files.values()) == sorted(
        content for path, content in before.items() if path not in {"Bridge/broken.jpg", "landmarks.csv"}
    )
    split_of_name = {path.split("/")[-1]: path.split("/")[0] for path in files if "/Tower/" in path}
    assert split_of_name["5.jpg"] == split_of_name["again.jpg"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_splits_that_are_there_are_pooled(data, photos, tmp_path):
    data("split", photos, "--out", tmp_path / "one")
    output = data("split", tmp_path / "one", "--out", tmp_path / "two", "--val", 0, "--test", 0.5)

    assert "the existing splits (train, val, test) are pooled" in output.err
    assert not (tmp_path / "two" / "val").exists()
    assert "test\t15\n" in output.text


def test_photos_of_one_name_are_all_kept(data, tmp_path):
    for number in range(6):
        draw_scene(tmp_path / "photos" / "A" / f"{number}" / ("IMG.jpg" if number % 2 else "img.JPG"), number)
    shutil.copytree(tmp_path / "photos" / "A" / "1", tmp_path / "photos" / "A" / "copy")
    output = data("split", tmp_path / "photos", "--out", tmp_path / "set", "--val", 0, "--test", 0)

    assert output.code == 0, output.err
    names = [path.name for path in (tmp_path / "set" / "train" / "A").iterdir()]
    assert len({name.casefold() for name in names}) == 7


def test_nothing_is_written_over_among_the_photos_or_without_a_photo(data, photos, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    output = data("split", photos, "--out", tmp_path / "full")
    assert (output.code, output.text) == (1, "")
    assert "is not empty" in output.err
    assert tree(tmp_path / "full") == {"mine.txt": b"mine"}
    output = data("split", photos, "--out", photos / "set")
    assert "which is never written to" in output.err
    assert data("split", photos, "--out", tmp_path / "x", "--val", 0.6, "--test", 0.4).code == 2
    assert data("split", photos).code == 2
    (tmp_path / "none" / "A").mkdir(parents=True)
    (tmp_path / "none" / "A" / "a.jpg").write_text("no photo")
    output = data("split", tmp_path / "none", "--out", tmp_path / "set")
    assert output.code == 1
    assert "none of its photos can be read" in output.err
