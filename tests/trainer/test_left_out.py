"""What training and the other commands leave out is said, and labels are one however accents are encoded."""

import csv
import logging
import shutil
import unicodedata
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact
from support.scenes import draw_label

from trainer import DataUnusable
from trainer.data import read_gazetteer, sources_of
from trainer.data.preparation import FoundPhotos, find_training_photos, prepare
from trainer.evaluation import evaluate
from trainer.options import FAMILY

COMPOSED, DECOMPOSED = "Château", unicodedata.normalize("NFD", "Château")


@pytest.fixture(autouse=True)
def log(caplog) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "trainer")
    return caplog


@pytest.fixture
def folder(tmp_path) -> Path:
    """A training folder with two labels of 8 photos, and one for validation."""
    folder = tmp_path / "set"
    draw_label(folder / "train" / COMPOSED, range(8))
    draw_label(folder / "train" / "Bridge", range(100, 108))
    draw_label(folder / "val" / "Bridge", range(200, 203))
    return folder


def find(folder: Path) -> FoundPhotos:
    return find_training_photos(folder, None, None)


def test_what_training_does_not_use_is_said(folder, log):
    draw_label(folder / "val" / "Church", range(300, 306))
    draw_label(folder / "val", [400, 401])
    draw_label(folder / "validation" / "Bridge", [600])
    draw_label(folder / "unknown", [601])
    for name in ("__MACOSX", "@eaDir", "lost+found"):
        draw_label(folder / "train" / name, [500])
    (folder / "train" / "Bridge" / "clip.mp4").touch()
    found = find_training_photos(folder, folder / "unknown", None)

    assert [label.label for label in found.labels] == ["Bridge", COMPOSED]
    assert len(found.val) == 3
    assert {
        "train/ has no label Church: its photos in val/ are skipped (6)",
        f"skipped: photos outside label folders (2), such as {folder / 'val' / '400.jpg'}",
        f"{folder / 'validation'} is not used: photos are in train/, val/ and test/",
        f"files in {folder / 'train'} that are no photos: 1 (.mp4)",
    } <= set(log.messages)
    assert sum(message.startswith("left out: 1 folder (") for message in log.messages) == 3
    assert not any(str(folder / "unknown") in message for message in log.messages)


def test_one_image_under_two_labels_is_said_by_each_command(folder, tmp_path, data, log):
    shutil.copy(folder / "train" / "Bridge" / "100.jpg", folder / "train" / COMPOSED / "copy.jpg")
    prepare(find(folder), tmp_path / "pixels", size=32, seed=0)
    assert any(
        message.startswith("images with several labels, or one and none: 1; the first: ")
        for message in log.messages
    )

    output = data("split", folder, "--out", tmp_path / "split", "--json")
    assert output.json["label_conflicts"] == 1
    assert "images with several labels, or one and none: 1" in output.err


def test_evaluation_says_which_image_has_two_labels(tmp_path, log):
    tiny_artifact(tmp_path / "tiny.pt")
    for label in LABELS[:2]:
        draw_label(tmp_path / "test" / label.label, [1])
    evaluate(tmp_path / "tiny.pt", tmp_path, None, None, mixture=FAMILY, device="cpu")

    assert any(
        message.startswith("images with several labels, or one and none: 1; the first: ")
        for message in log.messages
    )


def test_a_label_is_one_however_its_accents_are_encoded(folder, tmp_path, data, log):
    (folder / "train" / COMPOSED).rename(folder / "train" / DECOMPOSED)
    draw_label(folder / "val" / COMPOSED, range(700, 706))
    _write(folder / "landmarks.csv", ("label", "name"), (COMPOSED, "Le Château"), ("Bridge", "Bridge"))
    found = find(folder)

    assert [(label.label, label.name) for label in found.labels] == [
        ("Bridge", "Bridge"),
        (COMPOSED, "Le Château"),
    ]
    assert (len(found.train), len(found.val)) == (16, 9)
    assert log.messages == []
    split = data("split", folder, "--out", tmp_path / "split", "--json").json
    assert set(split["by_label"]) == {COMPOSED, "Bridge"}


def test_blanks_and_decomposed_labels_do_not_count(tmp_path):
    labels = (LABELS[0].model_copy(update={"label": DECOMPOSED}), *LABELS[1:])
    tiny_artifact(tmp_path / "tiny.pt", labels=labels)
    draw_label(tmp_path / "test" / COMPOSED, [1])
    result = evaluate(tmp_path / "tiny.pt", tmp_path, None, None, mixture=FAMILY, device="cpu")

    assert (result.photos, result.skipped) == (1, {})
    path = tmp_path / "landmarks.csv"
    path.write_text('label, name, aliases\nTower, "The Tower, Paris",\n Bridge , Old Bridge , \n', "utf-8")

    assert {label: row.name for label, row in read_gazetteer(path).items()} == {
        "Tower": "The Tower, Paris",
        "Bridge": "Old Bridge",
    }


def test_sources_of_photos_are_found_however_their_accents_are_encoded(folder):
    _write(folder / "sources.csv", ("photo", " source"), (f"{DECOMPOSED}/1.jpg", " museum"))
    photos = [folder / "train" / COMPOSED / f"{number}.jpg" for number in (1, 2)]

    assert sources_of(photos, folder) == ["museum", ""]


@pytest.mark.parametrize(
    "content", ["photo,source\nBridge,web\n", "photo\nBridge/1.jpg\n", "photo,source\n\xff"]
)
def test_a_list_that_is_no_list_of_sources_is_refused(folder, content):
    (folder / "sources.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataUnusable, match=r"sources\.csv cannot be used"):
        sources_of([folder / "train" / "Bridge" / "100.jpg"], folder)


def test_what_a_gazetteer_has_to_no_effect_is_said(folder, log):
    rows = ("Bridge", "Old", "3"), ("Bridge", "New", "4"), ("", "Nobody", "5"), ("Castle", "Castle", "6")
    _write(folder / "landmarks.csv", ("label", "name", "stars"), (COMPOSED, "", ""), *rows)
    labels = {label.label: label.name for label in find(folder).labels}

    assert labels == {"Bridge": "New", COMPOSED: COMPOSED}
    assert log.messages == [
        "landmarks.csv: these columns are not used: stars",
        "landmarks.csv has several rows for the label Bridge; the last one counts",
        "landmarks.csv, line 5: the row has no label and is skipped",
        "landmarks.csv: rows of other labels: 1, such as Castle",
    ]


def _write(path: Path, *rows: tuple[str, ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
