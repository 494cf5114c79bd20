"""Benchmarks end to end, with real workers, servers and peers: they run and count correctly."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.artifacts import LABELS, tiny_artifact
from support.commands import draw_many

from bench.compare.photo_sets import BATCH, warm_up_photos
from bench.compare.programs import Workload, find_program
from bench.compare.stored_tags import ExpectedTags
from bench.page.browser import PROGRAMS
from bench.photos import photos_in

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
TAGS = len(LABELS)
NODES = 1500
"""The grid keeps three screens of photos in the document: far fewer than the library has."""


def _run(
    module: str, *words: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"bench.{module}", *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    """One batch of drawn photos that the tiny model distinguishes."""
    tiny_artifact(tmp_path / "tiny.pt")
    draw_many(tmp_path / "photos", BATCH)
    expected = ExpectedTags(photos_in(tmp_path / "photos"), TAGS)
    (tmp_path / "data").mkdir()
    return Workload(
        tmp_path / "tiny.pt", tmp_path / "data", warm_up_photos(tmp_path), tmp_path / "photos", expected
    )


@pytest.mark.parametrize("name", ["celery", "celery-batches", "workers", "loader-scaled"])
def test_programs_store_all_photos_with_the_drawn_landmark(workload: Workload, name: str) -> None:
    measurement = find_program(name).measure(workload)
    for number, photo in enumerate(workload.expected.photos):
        if number % (TAGS + 1) < TAGS:  # every fifth photo shows no landmark of the model
            assert measurement.top_tags[str(photo)] == LABELS[number % (TAGS + 1)].slug
    assert measurement.peak_mib > 100


def test_compare_prints_and_writes_the_costs_of_programs(workload: Workload, tmp_path: Path) -> None:
    words = ("--programs", "tag", "--rounds", "1", "--model", workload.model, "--cache", tmp_path)
    command = [sys.executable, "-m", "bench.compare", workload.photos, *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.endswith("100.0 % |")]
    assert [row[0] for row in rows] == ["| `tagger tag`"]
    assert "### photos: 32 photos" in done.stdout


def test_faults_and_a_soak_lose_no_photo() -> None:
    small = ("--databases", "sqlite", "--only", "surplus messages", "--photos", "60")
    for words in ((), ("--soak", "0.3")):
        done = _run("faults", *small, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "| surplus messages | " in done.stdout


def test_page_measures_views_and_a_browser() -> None:
    small = ("--photos", "400", "--files", "80", "--rounds", "1", "--screens", "4")
    done = _run("page", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| /places \|( [\d.]+ \|){10} ", done.stdout, re.MULTILINE)
    if not any(map(shutil.which, PROGRAMS)):
        assert "Chromium is not installed" in done.stdout
        return
    nodes = re.search(r"^\| thumbnails cached \|.* (\d+) \| \d+ \|$", done.stdout, re.MULTILINE)
    assert nodes
    assert int(nodes[1]) < NODES
    assert re.search(r"^\| preloaded \| \d+ \|", done.stdout, re.MULTILINE)
