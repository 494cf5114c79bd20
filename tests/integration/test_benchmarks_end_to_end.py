"""Benchmarks end to end, with real workers, servers and peers: they run and count correctly."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rig.drawing import save_photos
from rig.large_library import make_library
from sqlalchemy import select
from support.artifacts import LABELS, tiny_artifact
from support.commands import draw_many

from bench.compare.measurement import TAGGER_DATABASE, Workload, cache_backend_selection
from bench.compare.photo_sets import BATCH, warm_up_photos
from bench.compare.programs import find_program
from bench.compare.stored_tags import PEER_QUERY, ExpectedTags, read_top_tags
from bench.page import __main__ as page
from bench.page import chromium, firefox, views
from bench.page.interactions import interactions
from bench.photos import photos_in
from tagger.database.connection import open_database
from tagger.database.tables import backend_selections, photos
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
TAGS = len(LABELS)
PHOTOS = 400
ALL_VIEWS = views.views_of
UPLOADS = 16
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


def test_fleet_classifies_photos_twice_and_prints_how_costs_grow_with_the_library() -> None:
    done = _run("fleet", "--photos", "400", "--stored", "0,800", "--workers", "2", "--rounds", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| seconds for 400 photos | 400 | 1,200 | exponent |" in done.stdout
    for name in (
        "recording a scan of new photos",
        "classifying all again",
        "`photos`",
        "--landmark",
        "/api/status",
    ):
        assert re.search(
            rf"^\| {re.escape(name)}( \| [\d.,]+){{2}} \| -?[\d.]+ \|$", done.stdout, re.MULTILINE
        ), name


def test_outcomes_counts_every_file_once(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "odd", 3, (120, 90))
    (tmp_path / "odd" / "copy of the first.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "odd" / "notes.txt").write_text("no photo")
    (tmp_path / "odd" / "empty.jpg").touch()
    done = _run("outcomes", tmp_path / "odd")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### odd: 6 files" in done.stdout
    assert "| failed: not-an-image | 1 |" in done.stdout
    assert "| failed: empty | 1 |" in done.stdout
    assert "| **total** | 6 |" in done.stdout


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


@pytest.mark.parametrize("name", ["celery", "celery-batches", "workers"])
def test_workers_store_all_photos_with_the_drawn_landmark(workload: Workload, name: str) -> None:
    measurement = find_program(name).measure(workload)
    _assert_drawn_landmarks(measurement.top_tags, workload)
    assert measurement.enqueue_cpu_s
    assert measurement.peak_mib > 100


def _assert_drawn_landmarks(top_tags: Mapping[str, str], workload: Workload) -> None:
    """Every fifth photo shows no landmark of the model."""
    for number, photo in enumerate(workload.expected.photos):
        if number % (TAGS + 1) < TAGS:
            assert top_tags[str(photo)] == LABELS[number % (TAGS + 1)].slug


def test_the_backend_is_selected_once_for_all_runs_and_no_photo_is_kept(workload: Workload) -> None:
    selections = []
    for _ in range(2):
        cache_backend_selection(workload.model, workload.warm_up, workload.data_folder)
        url = f"sqlite:///{workload.data_folder / TAGGER_DATABASE}"
        with closing(open_database(url)) as database, database.read() as connection:
            assert connection.execute(select(photos)).all() == []
            selections += connection.execute(select(backend_selections)).all()
    assert len(selections) == 2
    assert selections[0] == selections[1]


def test_compare_prints_and_writes_the_costs_of_programs(workload: Workload, tmp_path: Path) -> None:
    words = ("--programs", "tag", "--rounds", "1", "--model", workload.model, "--cache", tmp_path)
    command = [sys.executable, "-m", "bench.compare", workload.photos, *words, "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.endswith("100.0 % |")]
    assert [row[0] for row in rows] == ["| `tagger tag`"]
    assert "### photos: 32 photos" in done.stdout
    assert (tmp_path / "out" / "report.md").read_text() in done.stdout + "\n"
    [values] = json.loads((tmp_path / "out" / "report.json").read_text())
    assert values["limit_ms"] > 0
    assert set(values["programs"]) == {"tag"}
    with Image.open(tmp_path / "out" / "chart.png") as chart:
        assert min(chart.size) > 200


@pytest.mark.parametrize("words", [("plain",), ("loader", "--scaled", "--frozen")])
def test_scripts_store_all_photos_with_the_drawn_landmark(
    workload: Workload, tmp_path: Path, words: Sequence[str]
) -> None:
    name, *options = words
    command = [f"bench.peers.{name}", workload.model, tmp_path / "peer.sqlite", workload.photos, *options]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    top_tags = read_top_tags(tmp_path / "peer.sqlite", PEER_QUERY, workload.expected, name)
    _assert_drawn_landmarks(top_tags, workload)


def test_gpu_measures_each_part(tmp_path: Path) -> None:
    save_photos(tmp_path / "drawn", 16, (320, 240))
    done = _run(
        "gpu",
        tmp_path / "drawn",
        "--device",
        "cpu",
        "--photos",
        "2",
        "--rounds",
        "1",
        "--cache",
        tmp_path / "cache",
    )
    assert done.returncode == 0, done.stderr
    rates = [
        line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| 12 mega", "| 500 pix"))
    ]
    assert len(rates) == 8
    assert all(float(rate) > 0 for _, rate, _ in rates)


def test_killed_metadata_commands_end_with_every_photo_written_and_undone() -> None:
    done = _run("metadata", "--scale", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### 120 drawn photos" in done.stdout
    assert "during the work with SIGKILL" in done.stdout
    assert "problem" not in done.stdout


def _page_arguments(folder: Path, parts: str) -> list[str | Path]:
    tiny_artifact(folder / "tiny.pt")
    draw_many(folder / "photos", UPLOADS)
    small = ("--photos", str(PHOTOS), "--files", "80", "--uploads", str(UPLOADS), "--rounds", "1")
    model, out = folder / "tiny.pt", folder / "out"
    return [folder / "photos", *small, "--screens", "4", "--parts", parts, "--model", model, "--out", out]


def _run_page(
    folder: Path, parts: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = _run("page", *_page_arguments(folder, parts), environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "out" / "report.md").read_text() in done.stdout
    return done


def _report_json(folder: Path) -> Any:
    return json.loads((folder / "out" / "report.json").read_text())


def test_page_measures_views_and_an_export_with_a_row_for_each_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each view starts a server, so this test measures only some; another test requests all of them.
    monkeypatch.setattr(views, "views_of", lambda library: ALL_VIEWS(library)[::8])
    monkeypatch.setattr(sys, "argv", ["bench.page", *map(str, _page_arguments(tmp_path, "views"))])
    page.main()
    output = capsys.readouterr().out
    with closing(make_library(f"sqlite:///{tmp_path / 'same.sqlite'}", PHOTOS)) as database:
        tags = sum(len(photo.tags) for photo in find_tagged(database, PhotoQuery()))
    values = _report_json(tmp_path)["views"]
    assert values["export"]["rows"] == tags > 100
    for view in values["views"]:
        assert f"| {view['name']} |" in output
        assert len(view["warm_ms"]) == 1
        assert view["bytes"] > 1000, view["name"]


def test_page_measures_uploads_and_thumbnails(tmp_path: Path) -> None:
    output = _run_page(tmp_path, "uploads,thumbnails").stdout
    values = _report_json(tmp_path)
    assert f"{UPLOADS} of {UPLOADS} concurrent predictions equal the sequential ones" in output
    assert [len(rounds) for rounds in values["uploads"]["modes"].values()] == [1, 1, 1]
    created, served, *_of_small_photos = values["thumbnails"]
    assert created["photos"] > UPLOADS / 2  # some of the photos are gone, some are copies
    assert served["rounds"][0]["kib"] == created["rounds"][0]["kib"] > 0


def test_page_measures_each_installed_browser(tmp_path: Path) -> None:
    if (installed := _browsers()) == set():
        pytest.skip("neither Chromium nor Firefox is installed")
    output = _run_page(tmp_path, "browser").stdout
    values = _report_json(tmp_path)["browser"]
    assert set(values["versions"]) == installed
    assert len(values["times_ms"]) == len(interactions([]))
    for name, by_browser in values["times_ms"].items():
        assert set(by_browser) == installed
        assert name in output
        for times_ms in by_browser.values():
            assert all(each > 0 for each in times_ms)
            assert times_ms or "map" in name  # which needs WebGL
    for browser in installed:
        idle, *scrolling = (each for each in values["scrolling"] if each["browser"] == browser)
        assert idle["screens"] == 0
        for each in scrolling:
            assert each["screens"] >= 4
            assert idle["start_nodes"] < each["max_nodes"] < NODES


def test_page_without_browsers_measures_the_rest(tmp_path: Path) -> None:
    output = _run_page(tmp_path, "browser", {**os.environ, "PATH": str(tmp_path)}).stdout
    assert "Not measured: neither Chromium nor Firefox is installed." in output
    assert _report_json(tmp_path)["browser"] is None


def _browsers() -> set[str]:
    programs = {"Chromium": chromium.PROGRAMS, "Firefox": firefox.PROGRAMS}
    return {name for name, names in programs.items() if any(map(shutil.which, names))}


def test_reading_from_a_bucket_is_measured_next_to_the_disk() -> None:
    done = _run("objects", "--photos", "6", "--latency", "0,5", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    passes = json.loads(done.stdout)["passes"]
    assert {(each["store"], each["program"]) for each in passes} == {
        (store, program) for store in ("disk", "0 ms", "5 ms") for program in ("model", "decode", "read")
    }
    assert all(each["photos"] % 6 == 0 and each["in_flight"] for each in passes)


def test_all_programs_list_all_keys_of_a_bucket() -> None:
    done = _run("object_listing", "--keys", "2500", "--few-keys", "1500", "--json")
    assert done.returncode == 0, done.stderr
    keys = {each["program"]: each["keys"] for each in json.loads(done.stdout)}
    assert keys == {"tagger": 2500, "exact": 1500, "obstore": 2500, "boto3": 1500}


def test_training_is_measured_with_each_source_of_batches(tmp_path: Path) -> None:
    for part in ("train", "val"):
        draw_many(tmp_path / part, 240)  # three folders, which are the labels
    done = _run("training", tmp_path, "--rounds", "1", "--batches", "1", "--size", "64")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| landmark_cnn, (\w+) \| [\d.]+ \| [\d.]+ \|$", done.stdout, re.MULTILINE)
    assert rows == ["compute", "trainer", "loader"]
