"""The wheel: the same bytes at each build. A checkout: installed without torch, it tags photos."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import draw

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def built(folder: Path) -> dict[str, str]:
    """The digests of what a build wrote, by name."""
    subprocess.run(["deploy/build.sh", folder], check=True)
    files = [file for file in folder.iterdir() if file.name.startswith("landmark_tagger-")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.skipif(not Path(".git").exists(), reason="a build needs the repository")
def test_a_wheel_is_the_same_at_each_build(tmp_path: Path) -> None:
    digests = built(tmp_path / "first")
    assert len(digests) == 2
    assert built(tmp_path / "second") == digests


@pytest.mark.skipif(not Path(".git").exists(), reason="a clone needs the repository")
def test_a_checkout_installs_without_torch_and_tags_photos(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{Path.cwd()}", checkout], check=True)
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    package = f"{checkout}[embedded,heic,web]"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, package], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1
    draw(tmp_path / "photo.jpg", 1)
    done = subprocess.run(
        [python.with_name("tagger"), "tag", "photo.jpg"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "TAGGER_DATA_FOLDER": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "job 1 finished: 1 photo" in done.stdout + done.stderr
    assert not (tmp_path / "data" / "conversions").exists()
