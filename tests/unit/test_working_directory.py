"""A working directory that was deleted is replaced, and packages that are imported do not read it: a stranger's files may be there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tagger.system import working_directory
from tagger.system.working_directory import _run_in_root_folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "file"),
    [
        ("tagger, torch", "libcuda.so.1"),
        pytest.param("trainer.cli.program, matplotlib", "matplotlibrc", marks=pytest.mark.slow),
    ],
)
def test_imports_do_not_open_files_of_the_working_directory(modules: str, file: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / file)  # opening it would wait for ever
    code = f"import os; before = os.getcwd(); import {modules}; assert os.getcwd() == before"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, check=True, timeout=300)


@pytest.mark.parametrize("can_have_own_folder", [True, False])
def test_the_root_folder_is_left_again(
    can_have_own_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if not can_have_own_folder:
        monkeypatch.setattr(working_directory, "_has_own_folder", lambda: False)
    folders: list[str] = []
    _run_in_root_folder(lambda: folders.append(os.getcwd()))  # noqa: PTH109 - of this thread
    assert (folders, Path.cwd()) == (["/"], tmp_path)
    with pytest.raises(ZeroDivisionError):
        _run_in_root_folder(lambda: 1 // 0)
    assert Path.cwd() == tmp_path


def test_a_deleted_working_directory_is_replaced_by_an_empty_one(tmp_path: Path) -> None:
    deleted = tmp_path / "deleted"
    deleted.mkdir()
    (tmp_path / "a.jpg").write_bytes(b"")
    code = (
        "import os; os.rmdir(os.getcwd()); from tagger.system.working_directory import leave_deleted_folder;"
        "leave_deleted_folder(); print(os.getcwd(), os.listdir())"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], check=False, cwd=deleted, capture_output=True, text=True
    )
    folder, _, entries = done.stdout.strip().partition(" ")
    assert (entries, done.stderr) == ("[]", "")
    assert not Path(folder).exists(), "it is removed at the end"
