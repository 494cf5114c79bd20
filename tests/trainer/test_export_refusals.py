"""`trainer export` refuses everything but finished runs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.artifacts import tiny_artifact

from tagger.errors import TaggerError
from trainer.export.artifact import export_run


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
