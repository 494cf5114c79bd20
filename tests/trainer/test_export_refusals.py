"""`trainer export` refuses everything but runs, and reports the agreement of the exported with the training model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.artifacts import tiny_artifact
from support.trainer_commands import run_trainer
from support.training_photos import draw_world, save_random_weights

from tagger.errors import TaggerError
from tagger.inference.artifact import file_digest, load_module
from trainer.export.artifact import export_run
from trainer.export.run import load_run


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with training photos and a finished run."""
    folder = draw_world(tmp_path_factory.mktemp("exported"))
    weights = save_random_weights(folder / "weights.safetensors")
    done = run_trainer(
        *("train", "transfer", "--data", folder / "landmarks", "--out", folder / "run"),
        *("--weights", weights, "--size", 64, "--epochs", 0, "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_agreement_is_reported_for_every_measurable_precision(world: Path) -> None:
    done = run_trainer("export", world / "run", "--out", world / "model.pt", "--json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    photos = document["photos_compared"]
    full, half = document["agreement"]["cpu_float32"], document["agreement"]["cpu_bfloat16"]
    assert (full["photos"], full["same_top1"]) == (photos, photos)
    assert full["max_difference"] < 1e-4
    assert (half["photos"], half["max_difference"] < 0.5) == (photos, True)
    assert (document["agreement"]["cuda_bfloat16"] is None) == (not torch.cuda.is_available())


def test_what_is_stored_in_half_precision_loses_nothing(world: Path) -> None:
    export_run(world / "run", world / "again.pt", name=None)
    stored = load_module(world / "again.pt", file_digest(world / "again.pt")).state_dict()
    trained = load_run(world / "run").classifier.state_dict()

    assert stored.keys() == trained.keys()
    assert stored["head.weight"].dtype == torch.float16
    assert stored["distance.centres"].dtype == torch.float32
    assert all(torch.equal(stored[name].to(values.dtype), values) for name, values in trained.items())


def test_what_is_no_run_is_refused_by_what_it_is(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "exported.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "scripted.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "checkpoint.pth")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "empty").mkdir()

    for name, reason in {
        "exported.pt": "already an exported model",
        "scripted.pt": "TorchScript file without labels",
        "checkpoint.pth": "weights file",
        "weights.safetensors": "it is a file",
        "empty": "the folder has no run",
        "gone": "there is no such folder",
    }.items():
        with pytest.raises(TaggerError, match=reason) as refused:
            export_run(tmp_path / name, tmp_path / "out.pt", name=None)
        assert "Name a folder that `trainer train` wrote" in str(refused.value)
    assert not (tmp_path / "out.pt").exists()


def test_an_unfinished_run_is_to_be_finished_first(tmp_path: Path) -> None:
    (tmp_path / "train.log").touch()

    with pytest.raises(TaggerError, match="--resume"):
        export_run(tmp_path, tmp_path / "out.pt", name=None)
