"""A resumed run ends like an uninterrupted one; other options, photos or weights are refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file
from support.training_photos import draw_small_world, require_same, train, transfer_options

from trainer import TrainingFailed
from trainer.export.artifact import export_run
from trainer.learning.classifier import AVERAGE, CHECKPOINT


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """A small data set in a folder that is removed after this module, as checkpoints are large."""
    with TemporaryDirectory() as folder:
        yield draw_small_world(Path(folder))


@pytest.fixture
def out() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "run"


@pytest.fixture(scope="module")
def interrupted(world) -> Path:
    """A run of `trainer train transfer` that was interrupted after its first epoch."""

    def interrupt(_epoch: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(transfer_options(world, world / "broken-off"), interrupt)
    return world / "broken-off"


def test_a_backbone_that_goes_on_ends_halfway_between_before_and_after(world, out):
    first = train(transfer_options(world, out / "first", epochs=0))
    export_run(out / "first", out / "model.pt", name=None)

    second = train(transfer_options(world, out / "second", epochs=1, weights=out / "model.pt"))

    before, mean = first.classifier.encoder.state_dict(), second.classifier.encoder.state_dict()
    checkpoint = load_file(out / "second" / CHECKPOINT)
    for name, values in mean.items():
        tuned = checkpoint[f"{AVERAGE}encoder.{name}"]
        assert torch.allclose(values, (before[name] + tuned) / 2, atol=1e-3)
    assert any(not torch.equal(values, before[name]) for name, values in mean.items())


def test_interrupted_fine_tuning_ends_as_an_unbroken_one(world, interrupted, out):
    shutil.copytree(interrupted, out)
    resumed = train(transfer_options(world, out, resume=True))

    require_same(resumed, train(transfer_options(world, out)))


@pytest.mark.parametrize(
    ("change", "option_name"),
    [
        ({"epochs": 5}, "epochs"),
        ({"learning_rate": 1e-3}, "learning rate"),
        ({"unknown": None}, "photos"),
    ],
)
def test_other_options_or_photos_are_refused(world, interrupted, change, option_name):
    with pytest.raises(TrainingFailed) as excinfo:
        train(transfer_options(world, interrupted, resume=True, **change))
    assert f"has another {option_name} " in str(excinfo.value)
    assert "Train without --resume to start over" in str(excinfo.value)


def test_damaged_checkpoint_is_refused(world, interrupted, out):
    checkpoint = out / CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    whole = (interrupted / CHECKPOINT).read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(TrainingFailed) as excinfo:
        train(transfer_options(world, out, resume=True))
    assert str(checkpoint) in str(excinfo.value)
    assert "it is damaged (" in str(excinfo.value)
