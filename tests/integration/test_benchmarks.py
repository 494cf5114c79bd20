"""Benchmarks run on small inputs and count correctly; no test checks how fast anything is."""

import importlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact
from support.command_line import CommandOutput, run_command

import bench
from bench.compare.programs import LOADER_QUERY, Workload, read_top_tags

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


def test_a_program_that_stores_fewer_tags_is_not_compared(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "tiny.pt")
    complete, partial, absent = (tmp_path / name / "a.jpg" for name in ("complete", "partial", "absent"))
    for photo in (complete, partial, absent):
        photo.parent.mkdir()
        photo.touch()
    with closing(sqlite3.connect(tmp_path / "tags.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE tags (path TEXT, rank INTEGER, slug TEXT, score REAL)")
        rows = [(str(complete), rank, label.slug, 0.1) for rank, label in enumerate(LABELS, start=1)]
        connection.executemany(
            "INSERT INTO tags VALUES (?, ?, ?, ?)", [*rows, (str(partial), 1, "gate", 0.8)]
        )

    def read(photo: Path) -> dict[str, str]:
        workload = Workload(tmp_path / "tiny.pt", tmp_path, tmp_path, photo.parent)
        return read_top_tags(tmp_path / "tags.sqlite", LOADER_QUERY, workload)

    assert read(complete) == {str(complete): LABELS[0].slug}
    with pytest.raises(SystemExit, match=r"1 tags of .*partial/a.jpg instead of"):
        read(partial)
    with pytest.raises(SystemExit, match=r"0 tags of .*absent/a.jpg instead of"):
        read(absent)
