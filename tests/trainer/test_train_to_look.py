"""From photos to a model that names landmarks, as a person types it: train, export, evaluate, look."""

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from small_world import LABELS, SIZE, draw_small_world

from tagger.artifact import read_manifest
from tagger.cli import main as tagger_cli
from trainer.cli import main as trainer_cli
from trainer.cli.training import _logged_in
from trainer.errors import TensorBoardMissing
from trainer.learning.events import watching
from trainer.learning.loop import Epoch, Validation
from trainer.model.runs import LOG

Typed = Callable[..., str]
WITH_TENSORBOARD = find_spec("tensorboard") is not None


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Typed]:
    """`typed(trainer_cli, "train", …)`: what the command says in this process, where it ends with `code`."""
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "tagger"))

    def run(program: ModuleType, *words: object, code: int = 0) -> str:
        monkeypatch.setattr(program.signal, "signal", lambda *_: None)
        monkeypatch.setattr(sys, "argv", ["program", *map(str, words)])
        try:
            program.main()
            ended = 0
        except SystemExit as end:
            ended = int(end.code or 0)
        said = capsys.readouterr()
        assert ended == code, said.err
        return said.err if code else said.out

    yield run
    logging.getLogger("trainer").handlers = []


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield draw_small_world(Path(folder))


def words_for(world: Path, run: Path) -> list[object]:
    where = ["--data", world / "data", "--unknown", world / "unknown", "--out", run]
    return [*where, "--epochs", 1, "--size", SIZE, "--batch-size", 8, "--device", "cpu"]


@pytest.mark.parametrize("recipe", ["scratch", "transfer"])
def test_trained_model_is_exported_evaluated_and_looks_at_photos(
    world: Path, typed: Typed, recipe: str
) -> None:
    run, model = world / recipe / "run", world / recipe / "model.pt"
    weights = ["--weights", world / "weights.safetensors"] if recipe == "transfer" else []
    figures = json.loads(typed(trainer_cli, "train", recipe, *words_for(world, run), *weights, "--json"))
    assert 0 <= figures["metrics"]["val_top1"] <= 1
    assert [epoch["number"] for epoch in figures["epochs"]] == [1]
    assert recipe in figures["training"]["recipe"]
    assert "epoch 1 of 1: loss " in (run / LOG).read_text()

    typed(trainer_cli, "export", run, "--out", model)
    manifest = read_manifest(model)
    assert (manifest.input.size, manifest.input.fit) == (SIZE, "stretch")
    assert str(world) not in manifest.model_dump_json()

    words = (
        "--data",
        world / "data" / "train",
        "--distractors",
        world / "unknown",
        "--out",
        world / "report",
    )
    assert (
        json.loads(typed(trainer_cli, "evaluate", model, *words, "--device", "cpu", "--json"))["photos"] == 16
    )

    photo = next((world / "data" / "train" / LABELS[0]).iterdir())
    (looked,) = json.loads(typed(tagger_cli, "look", photo, "--model", model, "--device", "cpu", "--json"))
    assert sorted(tag["label"] for tag in looked["tags"]) == list(LABELS)
    assert sum(tag["score"] for tag in looked["tags"]) <= 1
    shutil.rmtree(world / recipe)


def test_learning_rates_that_teach_nothing_are_wrong_usage(world: Path, typed: Typed, tmp_path: Path) -> None:
    for rate in ("0", "-1", "fast"):
        words = (*words_for(world, tmp_path / "run"), "--learning-rate", rate)
        assert "--learning-rate" in typed(trainer_cli, "train", "scratch", *words, code=2)


def test_whoever_interrupts_training_learns_how_to_go_on(tmp_path: Path) -> None:
    logging.getLogger("trainer").setLevel(logging.INFO)
    with pytest.raises(KeyboardInterrupt), _logged_in(tmp_path / "run"):
        raise KeyboardInterrupt
    assert "with --resume, the same command goes on" in (tmp_path / "run" / LOG).read_text()


@pytest.mark.skipif(WITH_TENSORBOARD, reason="TensorBoard, an extra, is installed")
def test_tensorboard_that_is_missing_is_named_before_any_work(
    world: Path, typed: Typed, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said = typed(
        trainer_cli, "train", "scratch", *words_for(world, run), "--tensorboard", tmp_path / "events", code=1
    )

    assert said == f"error: {TensorBoardMissing()}\n"
    assert "landmark-tagger[tensorboard]" in said
    assert not (run / "pixels").exists()


@pytest.mark.skipif(not WITH_TENSORBOARD, reason="TensorBoard, an extra, is not installed")
def test_tensorboard_is_told_of_every_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with watching(tmp_path) as watch:
        for number in (1, 2):
            watch(Epoch(number, 3.0 / number, Validation(2.0, 0.5), 0.01, 9.0, 100.0))
    events = EventAccumulator(str(tmp_path))
    events.Reload()

    assert [(event.step, event.value) for event in events.Scalars("loss/training")] == [(1, 3.0), (2, 1.5)]
    assert [event.value for event in events.Scalars("top-1/validation")] == [0.5, 0.5]
