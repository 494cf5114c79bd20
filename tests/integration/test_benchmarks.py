"""Benchmarks run on small inputs and count correctly; no test checks how fast anything is."""

import importlib
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from rig.drawing import save_photos
from support.artifacts import LABELS, tiny_artifact
from support.command_line import CommandOutput, run_command
from support.teaching import draw_place, teachable_artifact

import bench
from bench.compare.loader import best_scores, load_network
from bench.compare.programs import LOADER_QUERY, Workload, read_top_tags
from bench.metadata import round_trip
from bench.teach import read_collection
from tagger.errors import EmbeddingsMissing
from tagger.metadata.files.replacement import PreparedFile

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


@pytest.mark.parametrize("make", [tiny_artifact, teachable_artifact])
def test_the_loader_classifies_with_models_of_both_formats(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "model.pt")
    network, manifest = load_network(tmp_path / "model.pt")
    size = manifest["input"]["size"]
    (scores,) = best_scores(network, torch.zeros(1, 3, size, size, dtype=torch.uint8), 1).values.tolist()
    assert 0 < sum(scores) <= 1


@pytest.mark.slow
def test_queries_times_each_filter() -> None:
    output = _run("queries", "--photos", "400", "--rounds", "1")
    assert output.code == 0, output.err
    cells = [line.split(" | ") for line in output.text.splitlines() if line.startswith("| --any-rank")]
    assert [row[4] for row in cells] == ["100"]


@pytest.mark.slow
def test_teach_finds_the_other_photos_of_a_landmark_from_its_examples(tmp_path: Path) -> None:
    teachable_artifact(tmp_path / "model.pt")
    for place, folder in ((1, "places/tower"), (2, "places/bridge"), (1, "others/tower"), (3, "others/hill")):
        for seed in range(6):
            draw_place(tmp_path / folder / f"{seed}.png", place, seed=seed, noise=0.2)

    output = _run("teach", tmp_path / "model.pt", tmp_path / "places", tmp_path / "others", "--draws", "2")

    assert output.code == 0, output.err
    assert re.search(r"^\| 3 \| 2 \| 1\.00 ± 0\.00 \| ", output.text, re.MULTILINE)
    assert "18 photos, 2 draws" in output.text  # without the tower among the others


def test_teach_needs_a_model_with_embeddings(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "tiny.pt")
    save_photos(tmp_path / "places" / "a", 2, (64, 48))
    with pytest.raises(EmbeddingsMissing):
        read_collection(tmp_path / "tiny.pt", tmp_path / "places", [tmp_path / "places"])


def test_a_program_that_stores_fewer_tags_is_not_compared(tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "tiny.pt")
    with closing(sqlite3.connect(tmp_path / "tags.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE tags (path TEXT, rank INTEGER, slug TEXT, score REAL)")
        rows = [("/a.jpg", rank, label.slug, 0.1) for rank, label in enumerate(LABELS, start=1)]
        connection.executemany("INSERT INTO tags VALUES (?, ?, ?, ?)", [*rows, ("/b.jpg", 1, "gate", 0.8)])

    def read(*photos: str) -> dict[str, str]:
        workload = Workload(tmp_path / "tiny.pt", tmp_path, tmp_path, list(map(Path, photos)))
        return read_top_tags(tmp_path / "tags.sqlite", LOADER_QUERY, workload)

    assert read("/a.jpg") == {"/a.jpg": LABELS[0].slug}
    with pytest.raises(SystemExit, match=r"1 tags of /b.jpg instead of"):
        read("/a.jpg", "/b.jpg")
    with pytest.raises(SystemExit, match=r"0 tags of /c.jpg instead of"):
        read("/a.jpg", "/c.jpg")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Two photos, half of one, a GIF, a text and an empty file."""
    photos = save_photos(tmp_path / "odd", 2, (120, 90))
    half = photos[0].read_bytes()
    (tmp_path / "odd" / "half.jpg").write_bytes(half[: len(half) // 2])
    (tmp_path / "odd" / "notes.txt").write_text("no photo")
    (tmp_path / "odd" / "empty.jpg").touch()
    return tmp_path / "odd"


def test_every_file_is_counted_once_and_left_as_it_was(odd: Path) -> None:
    before = {file.name: file.read_bytes() for file in odd.iterdir()}
    output = _run("metadata", odd)
    assert output.code == 0, output.text + output.err
    for line in (
        "### odd: 5 files, 0 MiB",
        "| embedded | 2 | 2 | 2 |",
        "| failed: unreadable | 1 | 0 | 0 |",
        "| sidecar: format | 1 | 0 | 0 |",
        "| sidecar: structure | 1 | 1 | 1 |",
        "| **total** | 5 | 3 | 3 |",
        "Of the JPEGs that the tagger decodes, 66.7% were embedded (target: 90%).",
        "| sidecars created | 2 |",
        "| problems | 0 |",
    ):
        assert line in output.text
    assert {file.name: file.read_bytes() for file in odd.iterdir()} == before


def test_what_does_not_come_back_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = save_photos(tmp_path, 1, (120, 90))
    replace = PreparedFile.replace

    def spoil(prepared: PreparedFile) -> None:
        replace(prepared)
        prepared.path.write_bytes(prepared.path.read_bytes()[:-9])

    monkeypatch.setattr(PreparedFile, "replace", spoil)
    result = round_trip.run_round_trip(source, "photo.jpg", round_trip.Copies.create_in(tmp_path / "copies"))
    assert result.embedded
    assert "not the same after undo" in result.problems
