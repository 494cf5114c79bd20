"""The distribution of tests: what is left of the tests of a process that ended runs in others."""

import os
import re
import subprocess
import sys
from pathlib import Path

SETTINGS = """
from support.ended_processes import pytest_handlecrashitem, pytest_xdist_make_scheduler
"""
TESTS = """
import os, signal, pathlib, pytest

@pytest.mark.parametrize("number", range(12))
def test_number(number):
    marker = pathlib.Path(__file__).with_suffix(".ended")
    if number == 5 and {ends} and ({always} or not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run_tests(folder: Path, *, always: bool) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(SETTINGS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name in "abc":
        (folder / f"test_{name}.py").write_text(TESTS.format(ends=name == "a", always=always))
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-raR",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "--max-worker-restart",
        "2",
    ]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_test_whose_process_ended_is_repeated_and_no_other_is_lost(tmp_path: Path) -> None:
    run = run_tests(tmp_path, always=False)
    assert run.returncode == 0, run.stdout
    assert "RERUN test_a.py::test_number[5]" in run.stdout
    assert "36 passed, 1 rerun" in run.stdout
    for name in "bc":
        processes = re.findall(rf"\[(gw\d)\].* PASSED test_{name}\.py", run.stdout)
        assert (len(processes), len(set(processes))) == (12, 1), "the tests of a module run in one process"


def test_a_test_that_ends_its_process_twice_fails(tmp_path: Path) -> None:
    run = run_tests(tmp_path, always=True)
    assert run.returncode == 1
    assert "FAILED test_a.py::test_number[5]" in run.stdout
