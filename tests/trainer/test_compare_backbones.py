"""`trainer compare`: the table and the choice. A failing backbone fails alone."""

import json
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import save_file
from support.trainer_commands import NO_NETWORK, run_trainer
from support.training_photos import draw_world
from torchvision import models

from trainer.recipes.comparison import Trial, recommend


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_world(tmp_path_factory.mktemp("compared"))
    for name in ("shufflenet_v2_x1_0", "squeezenet1_1"):
        save_file(models.get_model(name, weights=None).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def comparison(world: Path) -> dict[str, object]:
    """The output of the first comparison, of two backbones and one that cannot be downloaded."""
    done = _compare(world)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("are few for a network. The comparison goes on;") == 1
    figures: dict[str, object] = json.loads(done.stdout)
    return figures


@pytest.mark.slow
def test_every_backbone_has_a_row_with_figures_or_a_reason(
    comparison: dict[str, object], world: Path
) -> None:
    first, second, third = comparison["backbones"]  # type: ignore[misc]  # of JSON

    for row, features in ((first, 1024), (second, 512)):
        assert row["features"] == features
        assert row["top1_interval"][0] <= row["top1"] <= row["top1_interval"][1]
        assert row["top3"] >= row["top1"]
        assert row["photos_per_second"] > 0
        assert row["reason"] is None
    assert first["parameters"] > 1_000_000 > second["parameters"]
    assert first["size_bytes"] > second["size_bytes"] > 1_000_000
    assert third["backbone"] == "resnet18"
    assert "could not be downloaded" in third["reason"]
    assert comparison["chosen"] in {"shufflenet_v2_x1_0", "squeezenet1_1"}
    assert comparison == json.loads((world / "comparison" / "comparison.json").read_text())


def test_impossible_options_are_refused_before_any_work(world: Path, tmp_path: Path) -> None:
    arguments = ("compare", "--data", world / "landmarks", "--out", tmp_path / "out", "--backbones")
    unknown = run_trainer(*arguments, "mobilenet_v2,mobilenet_v22")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "The backbone mobilenet_v22 cannot be used: there is none of this name" in unknown.stderr
    assert not (tmp_path / "out").exists()
    assert run_trainer(*arguments, "resnet18", "--weights", "resnet50=x").returncode == 2
    assert run_trainer(*arguments, " , ").returncode == 2


def test_where_not_one_can_be_compared_it_could_not_be_done(world: Path, tmp_path: Path) -> None:
    done = run_trainer(
        *("compare", "--data", world / "landmarks", "--out", tmp_path, "--backbones", "resnet18"),
        **NO_NETWORK,
        TORCH_HOME=str(tmp_path),
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: Training failed: none of the backbones could be compared."
    )


def test_of_those_as_good_as_the_best_the_fastest_is_chosen() -> None:
    trials = {"large": _trial(0.95), "small": _trial(0.94), "tiny": _trial(0.90)}
    speeds = {"large": 10.0, "small": 50.0, "tiny": 200.0}
    backbone, sentence = recommend(trials, speeds)

    assert backbone == "small"
    assert "the best, large with 95.0%" in sentence
    assert "50 photos/s" in sentence
    assert recommend({"large": trials["large"]}, speeds)[0] == "large"


def _trial(top1: float) -> Trial:
    return Trial(weights="", features=1, parameters=1, size_bytes=1, photos=400, top1=top1, top3=1.0)


def _compare(world: Path) -> subprocess.CompletedProcess[str]:
    backbones = "shufflenet_v2_x1_0,squeezenet1_1,resnet18"
    files = [world / f"{name}.safetensors" for name in backbones.split(",")]
    weights = [f"--weights={file.stem}={file}" for file in files if file.exists()]
    folders = ("--data", world / "landmarks", "--unknown", world / "unknown", "--out", world / "comparison")
    options = ("--backbones", backbones, *weights, *["--size", "32", "--device", "cpu", "--json"])
    return run_trainer("compare", *folders, *options, **NO_NETWORK, TORCH_HOME=str(world))
