"""The commands as a person types them: train, export, evaluate; and what is said when something is missing."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from pictures import TINTS, draw_world, save_random_weights

from tagger.artifact import file_digest, load_module, read_manifest
from tagger.devices import Device
from tagger.model import load_model
from trainer.cli import main as cli
from trainer.model.runs import load_run
from trainer.photos.decoding import decode_batches


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """`trainer` with these words, in this process."""
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["trainer", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    yield run
    logging.getLogger("trainer").handlers = []


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_world(tmp_path_factory.mktemp("world"))
    save_random_weights(folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="session")
def trained(world: Path) -> Path:
    """A world in which somebody has typed `trainer train` and `trainer export`."""
    (world / "landmarks" / "train" / "Green Tower" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photo")
    (world / "landmarks" / "landmarks.csv").write_text(
        "label,slug,name,country,latitude,longitude,extent\n01.Red_House,red-house,The Red House,France,48.5,2.5,point\n"
    )
    words = (
        *(
            "train",
            "transfer",
            "--data",
            world / "landmarks",
            "--unknown",
            world / "unknown",
            "--out",
            world / "run",
        ),
        *(
            "--weights",
            world / "weights.safetensors",
            "--size",
            64,
            "--epochs",
            0,
            "--device",
            "cpu",
            "--json",
        ),
    )
    done = _type(*words)
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    assert "1 could not be read" in done.stderr
    assert json.loads(done.stdout)["metrics"]["val_top1"] > 0.6
    done = _type("export", world / "run", "--out", world / "model.pt", "--name", "tinted", "--json")
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    assert json.loads(done.stdout)["digest"] == file_digest(world / "model.pt")
    return world


def test_run_leaves_checkpoint_metrics_curves_and_log(trained: Path) -> None:
    run = trained / "run"

    figures = json.loads((run / "metrics.json").read_text())
    assert figures["metrics"].keys() >= {"val_top1", "val_top3", "val_ece", "val_auroc"}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "1 could not be read" in (run / "train.log").read_text()
    record = load_run(run).record
    assert figures["training"]["photos"] + figures["training"]["validation_photos"] == 48
    assert len(record.validation_photos) == sum(
        figures["training"][name] for name in ("validation_photos", "validation_ordinary_photos")
    )


def test_exported_and_training_model_agree_on_every_photo(trained: Path) -> None:
    run = load_run(trained / "run")
    with torch.inference_mode():
        exported = load_module(trained / "model.pt", file_digest(trained / "model.pt")).float().eval()
        photos = sorted((trained / "landmarks").rglob("*[0-9].jpg"))
        for batch in decode_batches(photos, run.record.input.resize, 7):  # a batch size that neither has seen
            ours, theirs = run.classifier(batch.images), exported(batch.images)
            assert torch.equal(ours.argmax(dim=1), theirs.argmax(dim=1))
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
            assert theirs.dtype == torch.float32
            assert bool((theirs.sum(dim=1) <= 1).all())


def test_manifest_says_what_the_model_is(trained: Path) -> None:
    manifest = read_manifest(trained / "model.pt")

    assert manifest.name == "tinted"
    assert [label.label for label in manifest.labels] == sorted(TINTS)
    assert [label.slug for label in manifest.labels] == ["red-house", "green-tower", "toa-xanh"]
    assert manifest.labels[0].country == "France"
    assert manifest.input.size == 64
    assert "98%" in manifest.threshold_reason
    assert str(trained) not in manifest.model_dump_json()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_artifact_runs_frozen_in_either_precision(trained: Path, dtype: torch.dtype) -> None:
    path = trained / "model.pt"
    model = load_model(path, file_digest(path), read_manifest(path), Device("cpu", dtype, 4), threads=1)
    scores = torch.from_numpy(model.scores([torch.full((64, 64, 3), 99, dtype=torch.uint8).numpy()] * 3))

    assert scores.shape == (3, len(TINTS))
    assert bool((scores.sum(dim=1) <= 1).all())


def test_evaluation_reports_figures_and_drawings(trained: Path, trainer: Command, tmp_path: Path) -> None:
    shutil.copytree(trained / "landmarks" / "test", tmp_path / "photos" / "test")
    shutil.copytree(
        tmp_path / "photos" / "test" / "Green Tower", tmp_path / "photos" / "test" / "Yellow Door"
    )
    words = (
        "--data",
        tmp_path / "photos",
        "--distractors",
        trained / "unknown",
        "--out",
        tmp_path / "report",
    )
    said = trainer("evaluate", trained / "model.pt", *words, "--json")

    assert said.code == 0, said.err
    assert "no label Yellow Door: its photos are left out (5)" in said.err
    figures = json.loads(said.out)
    assert figures == json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert (figures["photos"], figures["left_out"]) == (15, {"Yellow Door": 5})
    assert figures["top1"] > 0.6
    assert figures["top1"] <= figures["top3"] == 1.0
    assert figures["rejection"]["by_folder"]["deep"]["photos"] == 12
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for drawing in ("confusion.png", "reliability.png", "scores.png"):
        assert f"({drawing})" in report
        assert (tmp_path / "report" / drawing).read_bytes().startswith(b"\x89PNG")


def test_label_folders_may_lie_in_the_data_folder_itself(
    trained: Path, trainer: Command, tmp_path: Path
) -> None:
    said = trainer(
        "evaluate", trained / "model.pt", "--data", trained / "landmarks" / "test", "--out", tmp_path
    )

    assert said.code == 0, said.err
    assert "photos\t15\n" in said.out
    assert "false_tags" not in said.out


def test_training_again_in_the_same_folder_reuses_features_and_gives_the_same_model(
    trained: Path, trainer: Command, tmp_path: Path
) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    said = trainer(
        *("train", "transfer", "--data", trained / "landmarks", "--unknown", trained / "unknown"),
        *("--out", tmp_path / "run", "--weights", trained / "weights.safetensors"),
        *("--size", 64, "--epochs", 0, "--device", "cpu"),
    )

    assert said.code == 0, said.err
    assert "reading 1 photos" in said.err  # the broken one
    assert "looking at" not in said.err
    before, after = load_run(trained / "run"), load_run(tmp_path / "run")
    assert before.record == after.record
    assert torch.equal(before.classifier.head.weight, after.classifier.head.weight)


def test_missing_pieces_are_named_with_a_remedy(world: Path, trainer: Command, tmp_path: Path) -> None:
    def train(data: Path, weights: Path = world / "weights.safetensors") -> Said:
        return trainer("train", "transfer", "--data", data, "--out", tmp_path / "run", "--weights", weights)

    def refused(said: Said, *texts: str) -> None:
        assert said.code == 1
        assert said.out == ""
        *_, last = said.err.splitlines()
        assert last.startswith("error: ")
        assert all(text in last for text in texts), last

    refused(train(tmp_path / "nowhere"), "There is no file or folder at")
    data = tmp_path / "data"
    data.mkdir()
    refused(train(data), "no folder train/", "train/LABEL/photo.jpg")
    (data / "train" / "One").mkdir(parents=True)
    refused(train(data), "two labels or more")
    (data / "train" / "Two").mkdir()
    refused(train(data), "The label folder", "One", "has no photo")
    (tmp_path / "text.safetensors").write_text("hello")
    refused(train(world / "landmarks", tmp_path / "text.safetensors"), "it is no file of weights")
    refused(
        trainer("export", tmp_path / "run", "--out", tmp_path / "m.pt"), "no finished run", "trainer train"
    )
    refused(trainer("evaluate", tmp_path / "m.pt", "--data", data, "--out", tmp_path / "r"), "cannot be used")


def test_weights_of_another_network_are_refused(world: Path, trainer: Command, tmp_path: Path) -> None:
    words = ("--data", world / "landmarks", "--out", tmp_path, "--weights", world / "weights.safetensors")
    said = trainer("train", "transfer", *words, "--backbone", "resnet18")

    assert said.code == 1
    assert "for the backbone resnet18" in said.err


def test_export_refuses_to_write_where_it_cannot_check(
    trained: Path, trainer: Command, tmp_path: Path
) -> None:
    shutil.copytree(trained / "run", tmp_path / "run")
    record = tmp_path / "run" / "checkpoint" / "run.json"
    record.write_text(record.read_text().replace(str(trained), "/gone"))
    said = trainer("export", tmp_path / "run", "--out", tmp_path / "model.pt")

    assert said.code == 1
    assert "none of its validation photos can be read" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_wrong_usage_exits_with_2_and_help_teaches(trainer: Command) -> None:
    assert trainer("train", "transfer").code == 2
    assert trainer("train", "transfer", "--data", ".", "--out", "x", "--size", 100).code == 2
    said = trainer("--help")
    assert said.code == 0
    assert "train/LABEL/photo.jpg" in said.out


def test_help_and_wrong_usage_do_not_import_torch() -> None:
    for words in (["--help"], ["train", "transfer", "--help"], ["train", "transfer", "--bogus"]):
        program = f"import sys, trainer.cli.main\nsys.argv[1:] = {words!r}\ntry: trainer.cli.main.main()\nfinally: assert 'torch' not in sys.modules"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert "AssertionError" not in done.stderr
        assert done.returncode == (2 if "--bogus" in words else 0)


def _type(*words: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from trainer.cli.main import main; main()", *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=120)
