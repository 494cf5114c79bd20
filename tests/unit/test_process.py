"""What a program sets for its process, which reads nothing in the working directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tagger.processes import process
from tagger.processes.process import _run_in_root_folder

PROGRAM = """
import os, sys
from {name}.cli.main import main
sys.argv = ["{name}", "--version"]
try:
    main()
except SystemExit:
    pass
before = set(os.listdir("/proc/self/task"))
import numpy
print(len(os.listdir("/proc/self/task")) - len(before), os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("name", ["tagger", "trainer"])
def test_numpy_starts_no_threads_that_spin(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS", "OMP"))}
    command = [sys.executable, "-c", PROGRAM.format(name=name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 PASSIVE"


@pytest.mark.slow
def test_imports_do_not_open_files_of_the_working_directory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "libcuda.so.1")  # opening it would wait for ever
    code = "import os; before = os.getcwd(); import tagger, torch; assert os.getcwd() == before"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("can_have_own_folder", [True, False])
def test_the_root_folder_is_left_again(
    can_have_own_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if not can_have_own_folder:
        monkeypatch.setattr(process, "_has_own_folder", lambda: False)
    folders: list[str] = []
    _run_in_root_folder(lambda: folders.append(os.getcwd()))  # noqa: PTH109 - of this thread
    assert (folders, Path.cwd()) == (["/"], tmp_path)
    with pytest.raises(ZeroDivisionError):
        _run_in_root_folder(lambda: 1 // 0)
    assert Path.cwd() == tmp_path
