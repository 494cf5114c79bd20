"""`trainer compare`: the table and the choice. A failing backbone fails alone."""

from pathlib import Path

import pytest
from support.trainer_commands import NO_NETWORK, run_trainer
from support.training_photos import draw_world

from trainer.comparison import Trial, recommend


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return draw_world(tmp_path_factory.mktemp("compared"))


def test_impossible_options_are_refused_before_any_work(world, tmp_path):
    arguments = ("compare", "--data", world / "landmarks", "--out", tmp_path / "out", "--backbones")
    unknown = run_trainer(*arguments, "mobilenet_v2,mobilenet_v22")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "The backbone mobilenet_v22 cannot be used: there is none of this name" in unknown.stderr
    assert not (tmp_path / "out").exists()
    assert run_trainer(*arguments, "resnet18", "--weights", "resnet50=x").returncode == 2
    assert run_trainer(*arguments, " , ").returncode == 2


def test_where_not_one_can_be_compared_it_could_not_be_done(world, tmp_path):
    done = run_trainer(
        *("compare", "--data", world / "landmarks", "--out", tmp_path, "--backbones", "resnet18"),
        **NO_NETWORK,
        TORCH_HOME=str(tmp_path),
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: Training failed: none of the backbones could be compared."
    )


def test_of_those_as_good_as_the_best_the_fastest_is_chosen():
    trials = {"large": _trial(0.95), "small": _trial(0.94), "tiny": _trial(0.90)}
    speeds = {"large": 10.0, "small": 50.0, "tiny": 200.0}
    backbone, sentence = recommend(trials, speeds)

    assert backbone == "small"
    assert "the best, large with 95.0%" in sentence
    assert "50 photos/s" in sentence
    assert recommend({"large": trials["large"]}, speeds)[0] == "large"


def _trial(top1: float) -> Trial:
    return Trial(weights="", features=1, parameters=1, size_bytes=1, photos=400, top1=top1, top3=1.0)
