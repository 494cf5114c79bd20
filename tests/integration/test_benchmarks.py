"""Benchmarks run on small inputs and count correctly; no test checks how fast anything is."""

import importlib
from pathlib import Path

import pytest
from support.command_line import CommandOutput, run_command

import bench

BENCH = Path(bench.__file__).parent
PACKAGES = sorted(path.parent.name for path in BENCH.glob("*/__main__.py"))
SCRIPTS = sorted(path.stem for path in BENCH.glob("*.py") if "ArgumentParser(prog=" in path.read_text())


def _run(name: str, *words: str | Path) -> CommandOutput:
    module = f"bench.{name}.__main__" if name in PACKAGES else f"bench.{name}"
    return run_command(importlib.import_module(module).main, *words)


@pytest.mark.parametrize("name", PACKAGES + SCRIPTS)
def test_help_names_the_program_and_its_purpose(name: str) -> None:
    output = _run(name, "--help")
    assert output.code == 0, output.err
    assert f"python -m bench.{name}" in output.text
