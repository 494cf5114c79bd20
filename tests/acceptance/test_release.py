"""The wheel: the same bytes at each build, and it tags photos in an environment without torch."""

import hashlib
import shutil
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
def test_a_wheel_is_the_same_at_each_build_and_tags_photos_without_torch(tmp_path: Path) -> None:
    assert shutil.which("git") is not None
    digests = built(tmp_path / "first")
    assert len(digests) == 2
    assert built(tmp_path / "second") == digests
    (wheel,) = (tmp_path / "first").glob("*.whl")
    uv = Path(sys.executable).with_name("uv")
    python = tmp_path / "environment" / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, wheel], check=True)
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
