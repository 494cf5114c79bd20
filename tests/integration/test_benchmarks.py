"""Benchmarks run on small inputs, and end to end with real workers, servers and peers: they count correctly."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact
from support.command_line import run_command
from support.commands import draw_many

import bench
from bench.compare import PROGRAMS, Workload
from bench.rig import draw_photos

BENCH = Path(bench.__file__).parent
SCRIPTS = sorted(path.stem for path in BENCH.glob("*.py") if "ArgumentParser(" in path.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_names_the_program_and_its_purpose(name):
    output = run_command(importlib.import_module(f"bench.{name}").main, "--help", code=0)
    assert f"python -m bench.{name}" in output.text


PHOTOS, TAGS = 32, len(LABELS)


def _run_process(module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


@pytest.fixture
def workload(tmp_path) -> Workload:
    """Drawn photos that the tiny model distinguishes."""
    tiny_artifact(tmp_path / "tiny.pt")
    draw_many(tmp_path / "photos", PHOTOS)
    (tmp_path / "data").mkdir()
    draw_photos(tmp_path / "warm-up", 0, 64, (320, 240))
    return Workload(tmp_path / "tiny.pt", tmp_path / "data", tmp_path / "warm-up", tmp_path / "photos")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["worker", "loader", "loader-tuned", "celery"])
def test_programs_store_all_photos_with_the_drawn_landmark(workload, name):
    measurement = PROGRAMS[name][1](workload)
    for number, photo in enumerate(workload.photos):
        if number % (TAGS + 1) < TAGS:  # every fifth photo shows no landmark of the model
            assert measurement.top_tags[str(photo)] == LABELS[number % (TAGS + 1)].slug
    assert measurement.cpu_ms > 0 < measurement.rate


@pytest.mark.slow
def test_compare_prints_the_costs_of_programs(workload):
    words = ("--programs", "tag", "--rounds", "1", "--model", workload.model)
    done = _run_process("bench.compare", workload.model.parent / "photos", *words)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.endswith("100.0 % |")]
    assert [row[:2] for row in rows] == [["| `tagger tag`", "openvino"]]
    assert "### photos: 32 photos" in done.stdout


@pytest.mark.slow
def test_gpu_runs_on_a_cpu_and_passes_what_needs_no_gpu():
    done = _run_process("bench.gpu", "--device", "cpu", "--photos", "96")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| best tag the same, of 96 .* pass \|$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^\| photos lost, counted twice after a kill \| 0, 0 .* pass \|$", done.stdout, re.MULTILINE
    )
    for where in ("one process", "all processes"):
        row = rf"^\| `tagger tag` without its model in {where} \| [\d,]+ photos/s \|"
        assert re.search(row, done.stdout, re.MULTILINE)
    assert re.search(r"^\| its share of the nearest limit .* needs a GPU \|$", done.stdout, re.MULTILINE)


@pytest.mark.slow
def test_growth_compares_libraries():
    done = _run_process("bench.growth", "--photos", "400", "800")
    assert done.returncode == 0, done.stdout + done.stderr
    for row in (
        "query --year 2010", "similar", "trips", "db check, ms a photo", "/api/timeline",
        "/places", "/places, again",
    ):  # fmt: skip
        assert re.search(rf"^\| {row} \|( [\d.]+ \|){{3}} ", done.stdout, re.MULTILINE), done.stdout
