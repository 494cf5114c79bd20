"""Modules whose tests run on PostgreSQL in the long form alone."""

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = """
import pytest
from support.long_forms import mark_long_forms

@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    mark_long_forms(items)

@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    return request.param
"""
TESTS = """
import pytest
{mark}

def test_pages(database_url): ...

@pytest.mark.parametrize("value", ["postgresql"])
def test_values(value): ...

def test_locks(database_url): ...
"""


def collect(folder: Path, mark: str, expression: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    markers = "\n  slow: long\n  long_on_postgresql(but): rule"
    (folder / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers\nmarkers ={markers}\n")
    (folder / "test_a.py").write_text(TESTS.format(mark=mark))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "-m", expression],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def names(run: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.partition("::")[2] for line in run.stdout.splitlines() if "::" in line]


def test_tests_of_a_module_are_slow_on_postgresql_but_for_those_it_names(tmp_path: Path) -> None:
    mark = 'pytestmark = pytest.mark.long_on_postgresql(but=["test_locks"])'
    fast = ["test_pages[sqlite]", "test_values[postgresql]", "test_locks[sqlite]", "test_locks[postgresql]"]
    assert names(collect(tmp_path, mark, "not slow")) == fast
    assert names(collect(tmp_path, mark, "slow")) == ["test_pages[postgresql]"]
    assert len(names(collect(tmp_path, "", "not slow"))) == 5


def test_a_name_of_no_test_is_an_error(tmp_path: Path) -> None:
    run = collect(tmp_path, 'pytestmark = pytest.mark.long_on_postgresql(but=["test_gone"])', "not slow")
    assert run.returncode != 0
    assert "long_on_postgresql of test_a names tests that do not exist: test_gone" in run.stdout + run.stderr
