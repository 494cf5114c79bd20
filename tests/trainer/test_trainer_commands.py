"""The trainer's commands: train, export with what it refuses, evaluate, and their errors."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from support.bare_environments import run_with_packages
from support.command_line import CommandOutput, run_command
from support.trainer_commands import run_trainer
from support.training_photos import TINTS, draw_world, save_random_weights

from tagger.model.artifact import file_digest, load_module, read_manifest
from tagger.model.devices import Device
from tagger.model.model import load_model
from tagger.photos.decoding import decode_photo
from tagger.processes import run_interruptible
from trainer import DataUnusable
from trainer.cli.program import _train
from trainer.data.preparation import decode_batches
from trainer.export.artifact import FinishedRun, assess_run, create_run_folder, export_run, load_run

HOW_TO_TRAIN = Path(__file__).parents[2] / "docs" / "how-to" / "train.md"


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    folder = draw_world(tmp_path_factory.mktemp("world"))
    save_random_weights(folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="session")
def trained(world) -> Path:
    """A folder in which `trainer train` and `trainer export` have run."""
    (world / "landmarks" / "train" / "Green Tower" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    (world / "landmarks" / "landmarks.csv").write_text(
        "label,slug,name,country,latitude,longitude,extent\n"
        "01.Red_House,red-house,The Red House,France,48.5,2.5,point\n"
    )
    folders = ("--data", world / "landmarks", "--unknown", world / "unknown", "--out", world / "run")
    folders += ("--others", world / "others")
    options = (
        "--weights",
        world / "weights.safetensors",
        *["--size", "64", "--epochs", "0", "--device", "cpu", "--json"],
    )
    done = run_trainer("train", "transfer", *folders, *options)
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    assert "1 could not be read" in done.stderr
    assert "computing features" in done.stderr
    assert json.loads(done.stdout)["metrics"]["val_top1"] > 0.6
    done = run_trainer("export", world / "run", "--out", world / "model.pt", "--name", "tinted", "--json")
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    stages = [line.partition(" (")[0] for line in done.stderr.splitlines()]
    assert stages[1:] == ["compiling the model", "comparing on validation photos"]
    document = json.loads(done.stdout)
    assert document["digest"] == file_digest(world / "model.pt")
    agreement = document["agreement"]
    assert agreement["photos"] == agreement["same_top1"] == document["photos_compared"] > 0
    assert agreement["max_difference"] < 1e-4
    assert agreement["least_similarity"] > 0.9999
    return world


def test_run_leaves_checkpoint_metrics_curves_and_log(trained):
    run = trained / "run"

    figures = json.loads((run / "metrics.json").read_text())
    assert figures["metrics"].keys() >= {"val_top1", "val_top3", "val_ece", "val_ordinary_photos"}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "1 could not be read" in (run / "train.log").read_text()
    record = load_run(run).record
    assert figures["training"]["photos_of_landmarks"] == {
        "The Red House": 16,
        "Green Tower": 16,
        "Tòa Xanh": 16,
    }
    *_, following = assess_run(record).lines("trainer export RUN --out MODEL.pt")
    assert following == "next: trainer export RUN --out MODEL.pt"
    assert figures["training"]["photos"] + figures["training"]["validation_photos"] == 48
    # The layer and the nearest photos learn at last from all photos, validation photos included.
    assert figures["training"]["photos_seen"] == {"last_layer": 80, "nearest_photos": 80}
    kinds = "photos", "ordinary_photos", "other_landmark_photos"
    assert len(record.validation_photos) == sum(figures["training"][f"validation_{kind}"] for kind in kinds)


def test_exported_and_training_model_agree_on_every_photo(trained):
    run = load_run(trained / "run")
    with torch.inference_mode(), torch.jit.optimized_execution(False):
        exported = load_module(trained / "model.pt", file_digest(trained / "model.pt")).eval()
        photos = sorted((trained / "landmarks").rglob("*[0-9].jpg"))
        # Another batch size than in training and export.
        for batch in decode_batches(photos, run.record.input.resize, 7):
            run_scores, run_embeddings = run.classifier(batch.images)
            artifact_scores, artifact_embeddings = exported(batch.images)
            assert torch.equal(run_scores.argmax(dim=1), artifact_scores.argmax(dim=1))
            torch.testing.assert_close(run_scores, artifact_scores, atol=1e-4, rtol=0)
            torch.testing.assert_close(run_embeddings, artifact_embeddings, atol=1e-3, rtol=0)
            assert (artifact_scores.dtype, artifact_embeddings.dtype) == (torch.float32, torch.float32)
            assert bool((artifact_scores.sum(dim=1) <= 1).all())


def test_the_file_runs_without_this_program_as_the_docs_show(trained, tmp_path):
    photo = next((trained / "landmarks" / "test" / "Green Tower").iterdir())
    shutil.copy(photo, tmp_path / "photo.jpg")
    shutil.copy(trained / "model.pt", tmp_path / "places.pt")
    (code,) = re.findall(
        "^```python\n(.*?)^```", HOW_TO_TRAIN.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    code_in_bfloat16 = code.replace(" = model(", " = model.to(torch.bfloat16)(")

    lines = run_with_packages(tmp_path, ("torch", "pillow"), code + code_in_bfloat16).splitlines()

    manifest = read_manifest(trained / "model.pt")
    model = load_model(
        trained / "model.pt", file_digest(trained / "model.pt"), manifest, Device("cpu", "float32", 1)
    )
    image = decode_photo(photo.read_bytes(), manifest.input.resize, max_pixels=10**6)
    scores = {
        label.name: score
        for label, score in zip(manifest.labels, model.outputs([image.pixels]).scores[0], strict=True)
    }
    for line in lines[: len(scores)]:
        score, _, name = line.partition(" ")
        assert float(score) == pytest.approx(scores[name], abs=2e-3)
    assert lines[0].endswith("Green Tower")
    assert lines[len(scores)].endswith("Green Tower")


def test_the_manifest_describes_the_model(trained):
    manifest = read_manifest(trained / "model.pt")

    assert manifest.name == "tinted"
    assert [label.label for label in manifest.labels] == sorted(TINTS)
    assert [label.slug for label in manifest.labels] == ["red-house", "green-tower", "toa-xanh"]
    assert manifest.labels[0].country == "France"
    assert manifest.input.size == 64
    assert "95%" in manifest.threshold_reason
    assert manifest.suggestion_threshold <= manifest.threshold
    assert manifest.training["mixture"] == "5:15:80"
    training = manifest.training
    assert manifest.embedding.dimension == 1280
    kinds = "photos", "ordinary_photos", "other_landmark_photos"
    assert manifest.embedding.background_photos == sum(int(str(training[kind])) for kind in kinds)
    assert str(trained) not in manifest.model_dump_json()


def test_missing_pieces_are_named_with_a_remedy(world, trainer, tmp_path):
    def train(data: Path, weights: Path = world / "weights.safetensors") -> CommandOutput:
        folders = "--data", data, "--others", world / "others", "--out", tmp_path / "run"
        return trainer("train", "transfer", *folders, "--weights", weights)

    def assert_refused(output: CommandOutput, *texts: str) -> None:
        assert output.code == 1
        assert output.text == ""
        *_, last = output.err.splitlines()
        assert last.startswith("error: ")
        assert all(text in last for text in texts), last

    assert_refused(train(tmp_path / "nowhere"), "There is no file or folder at")
    data = tmp_path / "data"
    data.mkdir()
    assert_refused(train(data), "two label folders or more, and has 0", "train/LABEL/photo.jpg")
    (data / "train" / "One").mkdir(parents=True)
    assert_refused(train(data), "and has 1")
    (data / "train" / "Two").mkdir()
    assert_refused(train(data), "One cannot be used", "none of its photos can be read")
    (tmp_path / "text.safetensors").write_text("hello")
    assert_refused(train(world / "landmarks", tmp_path / "text.safetensors"), "it is not a weights file")
    assert_refused(
        train(world / "landmarks", tmp_path / "gone.safetensors"), "gone.safetensors", "No such file"
    )
    assert_refused(
        trainer("evaluate", tmp_path / "m.pt", "--data", data, "--out", tmp_path / "r"), "cannot be used"
    )


@pytest.mark.slow
def test_export_refuses_to_write_where_it_cannot_check(trained, trainer, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    record = tmp_path / "run" / "checkpoint" / "run.json"
    record.write_text(record.read_text().replace(str(trained), "/gone"))
    output = trainer("export", tmp_path / "run", "--out", tmp_path / "model.pt", code=1)

    assert "none of its validation photos can be read" in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_wrong_usage_exits_with_2_and_help_teaches(trainer):
    assert trainer("train", "transfer").code == 2
    assert trainer("train", "transfer", "--data", ".", "--out", "x", "--size", 100).code == 2
    output = trainer("--help", code=0)
    assert "train/LABEL/photo.jpg" in output.text


@pytest.mark.parametrize("name", ["exported.pt", "empty", "unfinished", "gone"])
def test_what_is_no_finished_run_is_refused(tmp_path, name):
    (tmp_path / "exported.pt").touch()
    (tmp_path / "empty").mkdir()
    create_run_folder(tmp_path / "unfinished")

    with pytest.raises(DataUnusable, match=r"no finished run; to finish one, repeat .* --resume"):
        export_run(tmp_path / name, tmp_path / "out.pt", name=None)
    assert not (tmp_path / "out.pt").exists()


def test_interrupted_training_prints_how_to_resume(tmp_path):
    def interrupt() -> FinishedRun:
        raise KeyboardInterrupt

    output = run_command(
        lambda: run_interruptible(lambda: _train(interrupt, tmp_path / "run", as_json=False), "")
    )
    assert output.code == 130
    assert (
        output.err
        == "interrupted; repeat the command with --resume to continue after the last finished epoch\n"
    )


@pytest.mark.parametrize(
    ("words", "former"),
    [
        ("data combine one two", "trainer data combine"),
        ("train transfer --data places --multiply-adds 600 --out run", "--multiply-adds"),
        ("train transfer --data places --teacher old.pt --out run", "--teacher"),
    ],
)
def test_a_former_command_says_what_replaces_it(trainer, words, former):
    done = trainer(*words.split())
    assert (done.code, done.text, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith(f"error: `{former}` is gone: ")
