"""From photos to a model on the command line: train, export, evaluate, predict."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from support.command_line import run_command
from support.small_world import LABELS, SIZE, draw_small_world

from tagger.cli import main as tagger_cli
from tagger.model.artifact import read_manifest
from tagger.system.interruption import run_interruptible
from trainer.cli import main as trainer_cli
from trainer.cli.train import _run_log
from trainer.export.run import LOG

CommandText = Callable[..., str]


@pytest.fixture
def output_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandText:
    """`output_of(trainer_cli, "train", …)`: the stdout of a command in this process, or its stderr if it ends with another exit code than 0."""
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "tagger"))

    def run(program: ModuleType, *arguments: object, code: int = 0) -> str:
        output = run_command(program.main, *arguments)
        assert output.code == code, output.err
        return output.err if code else output.text

    return run


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield draw_small_world(Path(folder))


def training_options(world: Path, run: Path) -> list[object]:
    return [
        *("--data", world / "data", "--out", run),
        "--epochs",
        1,
        "--size",
        SIZE,
        "--batch-size",
        8,
        "--device",
        "cpu",
    ]


@pytest.mark.slow
def test_trained_model_is_exported_evaluated_and_looks_at_photos(
    world: Path, output_of: CommandText, tmp_path: Path
) -> None:
    run, model = tmp_path / "run", tmp_path / "model.pt"
    options = (*training_options(world, run), "--unknown", world / "unknown")
    figures = json.loads(output_of(trainer_cli, "train", "scratch", *options, "--json"))
    assert 0 <= figures["metrics"]["val_top1"] <= 1
    assert [epoch["number"] for epoch in figures["epochs"]] == [1]
    assert "scratch" in figures["training"]["recipe"]
    assert "epoch 1 of 1: loss " in (run / LOG).read_text()

    output_of(trainer_cli, "export", run, "--out", model)
    manifest = read_manifest(model)
    assert (manifest.input.size, manifest.input.fit) == (SIZE, "stretch")
    assert str(world) not in manifest.model_dump_json()

    arguments = (
        "--data",
        world / "data" / "train",
        "--distractors",
        world / "unknown",
        "--out",
        tmp_path / "report",
    )
    assert (
        json.loads(output_of(trainer_cli, "evaluate", model, *arguments, "--device", "cpu", "--json"))[
            "photos"
        ]
        == 16
    )

    photo = next((world / "data" / "train" / LABELS[0]).iterdir())
    (prediction,) = json.loads(
        output_of(tagger_cli, "predict", photo, "--model", model, "--device", "cpu", "--json")
    )
    assert sorted(tag["label"] for tag in prediction["tags"]) == list(LABELS)
    assert sum(tag["score"] for tag in prediction["tags"]) <= 1


def test_learning_rates_that_teach_nothing_are_wrong_usage(
    world: Path, output_of: CommandText, tmp_path: Path
) -> None:
    for rate in ("0", "-1", "fast"):
        arguments = (*training_options(world, tmp_path / "run"), "--learning-rate", rate)
        assert "--learning-rate" in output_of(trainer_cli, "train", "scratch", *arguments, code=2)


def test_interrupted_training_prints_how_to_resume(tmp_path: Path) -> None:
    def train() -> None:
        with _run_log(tmp_path / "run"):
            raise KeyboardInterrupt

    output = run_command(lambda: run_interruptible(train, ""))
    assert output.code == 130
    assert (
        output.err
        == "interrupted; repeat the command with --resume to continue after the last finished epoch\n"
    )
