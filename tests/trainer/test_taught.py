"""Few landmarks are taught on the shipped model's network; what was not tested is not called good."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.trainer_commands import run_trainer
from support.training_photos import GREY, TINTS, draw_others, draw_tinted

from tagger.model.artifact import file_digest, read_manifest, without_deprecations
from tagger.model.devices import Device
from tagger.model.model import load_model
from tagger.photos.decoding import decode_photo
from trainer.export.calibration import CAREFUL_THRESHOLD


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for number, (label, tint) in enumerate(TINTS.items()):
        draw_tinted(folder / "places" / "train" / label, range(100 * number, 100 * number + 6), tint)
        draw_tinted(
            folder / "places" / "val" / label, range(1000 + 100 * number, 1000 + 100 * number + 8), tint
        )
    draw_tinted(folder / "ordinary" / "sheds", range(2000, 2006), GREY)
    draw_others(folder / "others")
    return folder


@pytest.fixture(scope="module")
def taught(world) -> Path:
    done = run_trainer(
        "train", "transfer", "--data", world / "places", "--out", world / "run", "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("3 landmarks with 18 photos are few for a network, so they are taught.")
    (world / "answer.txt").write_text(done.stdout)
    assert run_trainer("export", world / "run", "--out", world / "model.pt", "-q").returncode == 0
    return world


def test_its_scores_are_those_of_the_file_alone(taught):
    path = taught / "model.pt"
    manifest = read_manifest(path)
    photo = next((taught / "places" / "val" / "Green Tower").iterdir())
    image = decode_photo(photo.read_bytes(), manifest.input.resize, max_pixels=10**6).pixels
    tagged = load_model(path, file_digest(path), manifest, Device("cpu", "float32", 1)).outputs([image])
    with without_deprecations(), torch.inference_mode():
        batch = torch.from_numpy(image.copy())[None].permute(0, 3, 1, 2)
        alone = torch.jit.load(path)(batch)
    np.testing.assert_allclose(alone[0].numpy(), tagged.scores, atol=1e-5)
    assert tagged.embeddings is not None
    np.testing.assert_allclose(alone[1].numpy(), tagged.embeddings, atol=1e-3)
    assert tagged.scores.sum() <= 1
    assert manifest.labels[int(tagged.scores[0].argmax())].label == "Green Tower"


def test_without_tests_on_other_landmarks_its_threshold_is_careful_and_says_why(taught):
    manifest = read_manifest(taught / "model.pt")
    assert manifest.threshold >= CAREFUL_THRESHOLD
    assert "of other landmarks, 0 photos of 0 were tested" in manifest.threshold_reason
    assert "\ngood enough" not in (taught / "answer.txt").read_text()


def test_evaluation_ends_with_the_answer_of_training_on_the_same_photos(taught, trainer, tmp_path):
    done = trainer(
        "evaluate", taught / "model.pt", "--data", taught / "places" / "val", "--out", tmp_path / "report"
    )
    *answer, _next, _report = done.text.replace("test photos", "validation photos").splitlines()
    assert answer == (taught / "answer.txt").read_text().splitlines()[:-1]


def test_photos_that_were_in_training_are_no_test(taught, trainer, tmp_path):
    trained = trainer(
        *("evaluate", taught / "model.pt", "--data", taught / "places" / "train", "--out", tmp_path / "a"),
        code=1,
    )
    assert "all of its photos were in training" in trained.err
    shutil.copytree(taught / "places" / "val", tmp_path / "mixed")
    for number, label in enumerate(TINTS):
        shutil.copy(taught / "places" / "train" / label / f"{100 * number}.jpg", tmp_path / "mixed" / label)
    mixed = trainer("evaluate", taught / "model.pt", "--data", tmp_path / "mixed", "--out", tmp_path / "b")
    assert mixed.text.startswith("3 photos are left out, because")
    assert "24 test photos of landmarks" in mixed.text


@pytest.mark.slow
def test_with_enough_other_landmarks_its_threshold_is_chosen_by_them(taught, trainer, tmp_path):
    options = ("--data", taught / "places", "--unknown", taught / "ordinary", "--others", taught / "others")
    done = trainer("train", "transfer", *options, "--out", tmp_path / "run", "--device", "cpu")
    assert "photos of other landmarks: " in done.text
    assert "not known" not in done.text
    others = ("--others", taught / "others", "--data", taught / "places" / "val")
    tested = trainer("evaluate", taught / "model.pt", *others, "--out", tmp_path / "report")
    assert "photos of other landmarks: " in tested.text
    assert "not known" not in tested.text


def test_a_network_that_learns_few_landmarks_needs_photos_of_others(world, trainer, tmp_path):
    """Without them, it gives its names to most other sights; see docs/tutorial/own-model.md."""
    few = tmp_path / "few"
    shutil.copytree(world / "others" / "place-0", few / "place-0")
    for others in ((), ("--others", few)):
        folders = "--data", world / "places", *others, "--out", tmp_path / "run"
        done = trainer("train", "transfer", *folders, "--backbone", "resnet18", code=1)
        assert "a network that learns 3 landmarks gives their names to many others" in done.err
        assert "Name --others, a folder with 20 photos of 10 other landmarks or more" in done.err
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").rglob("*.safetensors"))
