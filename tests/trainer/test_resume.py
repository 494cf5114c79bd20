"""A resumed run ends like an uninterrupted one; other options, photos or weights are refused."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.scenes import draw_scene
from support.small_world import SIZE, draw_small_world, require_same, scratch_options, train, transfer_options

from trainer.errors import CheckpointUnusable, ValidationPhotosMissing
from trainer.export.run import RECORD, FinishedRun, load_run
from trainer.learning.loop import Epoch
from trainer.learning.training import CHECKPOINT
from trainer.recipes.options import RecipeOptions


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """Removed at once: checkpoints are large."""
    with TemporaryDirectory() as folder:
        yield draw_small_world(Path(folder))


@pytest.fixture
def out() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "run"


@pytest.fixture(scope="module")
def unbroken(world: Path) -> FinishedRun:
    """A run of `trainer train scratch` that nothing happened to."""
    return train(scratch_options(world, world / "unbroken"))


@pytest.fixture(scope="module")
def broken_off(world: Path) -> Path:
    """A run of `trainer train transfer` that somebody interrupted after its first epoch."""
    break_off(transfer_options(world, world / "broken-off"))
    return world / "broken-off"


def break_off(options: RecipeOptions, after: int = 1) -> None:
    def interrupt(epoch: Epoch) -> None:
        if epoch.number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(options, interrupt)


def test_killed_run_ends_as_an_unbroken_one(world: Path, unbroken: FinishedRun, out: Path) -> None:
    words = ("--data", world / "data", "--unknown", world / "unknown", "--cache", world / "pixels")
    words += ("--out", out, "--epochs", 2, "--size", SIZE, "--batch-size", 8, "--seed", 3, "--device", "cpu")
    command = [sys.executable, "-c", "from trainer.cli.main import main; main()", "train", "scratch"]
    running = subprocess.Popen([*command, *map(str, words)])
    try:
        while not (out / CHECKPOINT).exists():
            assert running.poll() is None
            time.sleep(0.005)
    finally:
        running.kill()
        assert running.wait() == -signal.SIGKILL
    assert not (out / RECORD).exists()

    seen: list[int] = []
    resumed = train(scratch_options(world, out, resume=True), lambda epoch: seen.append(epoch.number))

    assert seen in ([2], [])
    require_same(resumed, unbroken)
    require_same(load_run(out), load_run(world / "unbroken"))


def test_interrupted_fine_tuning_ends_as_an_unbroken_one(world: Path, broken_off: Path, out: Path) -> None:
    shutil.copytree(broken_off, out)
    resumed = train(transfer_options(world, out, resume=True))

    require_same(resumed, train(transfer_options(world, out)))


def test_resuming_a_finished_run_trains_no_more_and_gives_it_again(
    world: Path, unbroken: FinishedRun
) -> None:
    seen: list[Epoch] = []
    again = train(scratch_options(world, world / "unbroken", resume=True), seen.append)

    assert seen == []
    require_same(again, unbroken)
    assert again.record.epochs == unbroken.record.epochs


def test_resuming_without_a_checkpoint_begins(world: Path, out: Path) -> None:
    seen: list[int] = []
    train(transfer_options(world, out, epochs=1, resume=True), lambda epoch: seen.append(epoch.number))

    assert seen == [1]


def test_without_resume_a_run_starts_again(world: Path, broken_off: Path, out: Path) -> None:
    shutil.copytree(broken_off, out)
    seen: list[int] = []
    train(transfer_options(world, out), lambda epoch: seen.append(epoch.number))

    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 5}, "epochs"),
        ({"size": 64}, "size"),
        ({"batch_size": 4}, "batch size"),
        ({"learning_rate": 1e-3}, "learning rate"),
        ({"seed": 4}, "seed"),
        ({"unknown": None}, "photos"),
    ],
)
def test_other_options_or_photos_are_refused(
    world: Path, broken_off: Path, change: dict[str, object], named: str
) -> None:
    with pytest.raises(CheckpointUnusable) as caught:
        train(transfer_options(world, broken_off, resume=True, **change))
    assert f"has another {named} " in str(caught.value)
    assert "Train without --resume to start over" in str(caught.value)


def test_other_photos_and_weights_are_refused(world: Path, broken_off: Path, out: Path) -> None:
    shutil.copytree(world / "data", out / "data")
    draw_scene(out / "data" / "train" / "Arch" / "new.jpg", 777)
    with pytest.raises(CheckpointUnusable, match="has another photos"):
        train(transfer_options(world, broken_off, resume=True, data=out / "data"))


def test_checkpoint_of_another_recipe_is_refused(world: Path, broken_off: Path) -> None:
    with pytest.raises(CheckpointUnusable, match="another backbone"):
        train(scratch_options(world, broken_off, resume=True))


@pytest.mark.parametrize("damage", ["cut off", "empty", "text"])
def test_damaged_checkpoint_is_refused(world: Path, broken_off: Path, out: Path, damage: str) -> None:
    checkpoint = out / CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    whole = (broken_off / CHECKPOINT).read_bytes()
    damaged = {"cut off": whole[: len(whole) // 2], "empty": b"", "text": b"hello " * 9}
    checkpoint.write_bytes(damaged[damage])

    with pytest.raises(CheckpointUnusable) as caught:
        train(transfer_options(world, out, resume=True))
    assert str(checkpoint) in str(caught.value)
    assert "it is damaged (" in str(caught.value)


def test_photos_that_are_gone_when_training_ends_can_be_put_back(world: Path, out: Path) -> None:
    shutil.copytree(world / "data", out / "data")
    options = transfer_options(world, out, epochs=1, data=out / "data")

    def take_away(_epoch: Epoch) -> None:
        (out / "data" / "train").rename(out / "elsewhere")

    with pytest.raises(ValidationPhotosMissing, match=r"validation photos .* --resume"):
        train(options, take_away)
    (out / "elsewhere").rename(out / "data" / "train")
    seen: list[Epoch] = []
    train(replace(options, resume=True), seen.append)
    assert seen == []
