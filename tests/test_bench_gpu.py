"""The benchmark of GPUs runs, on a CPU too; how fast anything is, no test says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drawing import save_photos

REPOSITORY = Path(__file__).parent.parent


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.gpu", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("there is no GPU here")
    assert done.stderr.count("\n") == 1


def test_every_way_is_measured_and_memory_is_shown(tmp_path: Path) -> None:
    save_photos(tmp_path / "drawn", 16, (320, 240))
    made = tmp_path / "made"
    done = _run(
        tmp_path / "drawn",
        "--device",
        "cpu",
        "--photos",
        "2",
        "--rounds",
        "1",
        "--batches",
        "1",
        "--made",
        made,
    )
    assert done.returncode == 0, done.stderr
    rates = [
        line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| 12 mega", "| 500 pix"))
    ]
    assert len(rates) == 12
    assert all(float(rate) > 0 for _, rate, _ in rates)
    assert "| 1 | - | - | " in done.stdout
