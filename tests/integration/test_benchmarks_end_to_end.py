"""Benchmarks end to end, with real workers, servers and peers: they run and count correctly."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.artifacts import LABELS, tiny_artifact
from support.commands import draw_many
from support.drawing import save_photos
from support.large_library import make_library

from bench import page
from bench.comparison.measurement import Task
from bench.comparison.photo_sets import BATCH, warm_up_photos
from bench.comparison.programs import program
from bench.comparison.stored import BY_PEER, Wanted, first_tags
from bench.copies import photos_in
from bench.serving import views
from bench.serving.chromium import why_not
from tagger.query import PhotoQuery, find_tagged

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
TAGS = len(LABELS)
PHOTOS = 400
ALL_VIEWS = views.views_of
UPLOADS = 16
NODES = 1500
"""A screen of photos, one above and one below, and the page around them: far fewer than the library has."""


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


def test_outcomes_counts_every_file_once_whatever_it_is(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "odd", 3, (120, 90))
    (tmp_path / "odd" / "copy of the first.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "odd" / "notes.txt").write_text("no photo")
    (tmp_path / "odd" / "empty.jpg").touch()
    done = _run("outcomes", tmp_path / "odd")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### odd: 6 files" in done.stdout
    assert "| failed: not-an-image | 1 |" in done.stdout
    assert "| failed: empty | 1 |" in done.stdout
    assert "| **together** | 6 |" in done.stdout


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A batch of pictures that the tiny model tells apart."""
    tiny_artifact(tmp_path / "tiny.pt")
    draw_many(tmp_path / "photos", BATCH)
    wanted = Wanted(photos_in(tmp_path / "photos"), TAGS)
    (tmp_path / "remembered").mkdir()
    return Task(
        tmp_path / "tiny.pt", tmp_path / "remembered", warm_up_photos(tmp_path), tmp_path / "photos", wanted
    )


@pytest.mark.parametrize("name", ["celery", "celery-batches", "workers"])
def test_workers_store_all_photos_and_name_what_is_drawn(task: Task, name: str) -> None:
    measured = program(name).measure(task)
    _assert_named_as_drawn(measured.firsts, task)
    assert measured.sending_cpu_s
    assert measured.peak_mib > 100


def _assert_named_as_drawn(firsts: Mapping[str, str], task: Task) -> None:
    """Every fifth picture shows nothing that the model knows."""
    for number, photo in enumerate(task.wanted.photos):
        if number % (TAGS + 1) < TAGS:
            assert firsts[str(photo)] == LABELS[number % (TAGS + 1)].slug


def test_compare_prints_and_writes_what_programs_cost(task: Task, tmp_path: Path) -> None:
    words = ("--peers", "tag", "--rounds", "1", "--model", task.model, "--cache", tmp_path)
    command = [sys.executable, "-m", "bench.compare", task.photos, *words, "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.endswith("100.0 % |")]
    assert [row[0] for row in rows] == ["| `tagger tag`"]
    assert "### photos: 32 photos" in done.stdout
    assert (tmp_path / "out" / "report.md").read_text() in done.stdout + "\n"
    [figures] = json.loads((tmp_path / "out" / "report.json").read_text())
    assert figures["limit_ms"] > 0
    assert set(figures["programs"]) == {"tag"}
    with Image.open(tmp_path / "out" / "chart.png") as chart:
        assert min(chart.size) > 200


@pytest.mark.parametrize("words", [("plain",), ("loader", "--scaled", "--frozen")])
def test_peers_that_are_commands_store_all_photos_and_name_what_is_drawn(
    task: Task, tmp_path: Path, words: Sequence[str]
) -> None:
    name, *options = words
    command = [f"bench.peers.{name}", task.model, tmp_path / "peer.sqlite", task.photos, *options]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _assert_named_as_drawn(first_tags(tmp_path / "peer.sqlite", BY_PEER, task.wanted, name), task)


def test_every_way_is_measured_and_memory_is_shown(tmp_path: Path) -> None:
    save_photos(tmp_path / "drawn", 16, (320, 240))
    made = tmp_path / "made"
    done = _run(
        "gpu",
        tmp_path / "drawn",
        "--device",
        "cpu",
        "--photos",
        "2",
        "--rounds",
        "1",
        "--batches",
        "1",
        "--made",
        made,
    )
    assert done.returncode == 0, done.stderr
    rates = [
        line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| 12 mega", "| 500 pix"))
    ]
    assert len(rates) == 12
    assert all(float(rate) > 0 for _, rate, _ in rates)
    assert "| 1 | - | - | " in done.stdout


def test_a_killed_benchmark_ends_with_every_photo_written_and_undone() -> None:
    done = _run("metadata", "--scale", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### 120 drawn photos" in done.stdout
    assert "during the work with SIGKILL" in done.stdout
    assert "problem" not in done.stdout


def _words(folder: Path, parts: str) -> list[str | Path]:
    tiny_artifact(folder / "tiny.pt")
    draw_many(folder / "photos", UPLOADS)
    small = ("--photos", str(PHOTOS), "--files", "80", "--uploads", str(UPLOADS), "--rounds", "1")
    model, out = folder / "tiny.pt", folder / "out"
    return [folder / "photos", *small, "--screens", "4", "--parts", parts, "--model", model, "--out", out]


def _run_page(
    folder: Path, parts: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = _run("page", *_words(folder, parts), environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "out" / "report.md").read_text() in done.stdout
    return done


def _figures(folder: Path) -> Any:
    return json.loads((folder / "out" / "report.json").read_text())


def test_views_are_timed_and_the_export_has_a_row_for_each_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A server is started for each view: all of them are asked below, from one.
    monkeypatch.setattr(views, "views_of", lambda library: ALL_VIEWS(library)[::8])
    monkeypatch.setattr(sys, "argv", ["bench.page", *map(str, _words(tmp_path, "views"))])
    page.main()
    output = capsys.readouterr().out
    with closing(make_library(f"sqlite:///{tmp_path / 'same.sqlite'}", PHOTOS)) as database:
        tags = sum(len(photo.tags) for photo in find_tagged(database, PhotoQuery()))
    figures = _figures(tmp_path)["views"]
    assert figures["export"]["rows"] == tags > 100
    for view in figures["views"]:
        assert f"| {view['name']} |" in output
        assert len(view["warm_ms"]) == 1
        assert view["bytes"] > 1000, view["name"]


def test_uploads_are_answered_alike_and_thumbnails_are_made_of_their_photos(tmp_path: Path) -> None:
    output = _run_page(tmp_path, "uploads,thumbnails").stdout
    figures = _figures(tmp_path)
    assert f"{UPLOADS} of {UPLOADS} answers to photos sent at once are those" in output
    assert [len(rounds) for rounds in figures["uploads"]["ways"].values()] == [1, 1, 1]
    made, served, *_of_small_ones = figures["thumbnails"]
    assert made["photos"] > UPLOADS / 2  # some of the photos are gone, some are copies
    assert served["rounds"][0]["kib"] == made["rounds"][0]["kib"] > 0


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_grid_is_scrolled_and_what_is_in_the_document_is_counted(tmp_path: Path) -> None:
    _run_page(tmp_path, "browser")
    figures = _figures(tmp_path)["browser"]
    assert all(each > 0 for rounds in figures["first_contentful_paint_ms"].values() for each in rounds)
    still, *scrolled = figures["scrolled"]
    assert still["screens"] == 0
    for each in scrolled:
        assert each["screens"] >= 4
        assert still["first_nodes"] < each["most_nodes"] < NODES


def test_without_chromium_the_rest_is_measured(tmp_path: Path) -> None:
    output = _run_page(tmp_path, "browser", {**os.environ, "PATH": str(tmp_path)}).stdout
    assert "Not measured: there is no Chromium on this machine." in output
    assert _figures(tmp_path)["browser"] is None
