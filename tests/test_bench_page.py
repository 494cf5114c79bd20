"""`bench.page` asks every view of a library that it made, and counts what comes back; how fast anything is, no test says."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from artifacts import tiny_artifact
from commands import draw, draw_many

from bench import page
from bench.many_photos import make_library
from bench.serving import library, views
from bench.serving.chromium import why_not
from tagger.query import PhotoQuery, find_tagged

REPOSITORY = Path(__file__).parent.parent
PHOTOS = 400
ALL_VIEWS = views.views_of
UPLOADS = 16
NODES = 1500
"""A screen of photos, one above and one below, and the page around them: far fewer than there are in the library."""


def _words(folder: Path, parts: str) -> list[str | Path]:
    tiny_artifact(folder / "tiny.pt")
    draw_many(folder / "photos", UPLOADS)
    small = ("--photos", str(PHOTOS), "--files", "80", "--uploads", str(UPLOADS), "--rounds", "1")
    model, out = folder / "tiny.pt", folder / "out"
    return [folder / "photos", *small, "--screens", "4", "--parts", parts, "--model", model, "--out", out]


def _run(
    folder: Path, parts: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.page", *_words(folder, parts)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
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
    said = capsys.readouterr().out
    with closing(make_library(f"sqlite:///{tmp_path / 'same.sqlite'}", PHOTOS)) as database:
        tags = sum(len(photo.tags) for photo in find_tagged(database, PhotoQuery()))
    figures = _figures(tmp_path)["views"]
    assert figures["export"]["rows"] == tags > 100
    for view in figures["views"]:
        assert f"| {view['name']} |" in said
        assert len(view["warm_ms"]) == 1
        assert view["bytes"] > 1000, view["name"]


def test_every_view_has_an_answer(tmp_path: Path) -> None:
    made = library.make_library(tmp_path, PHOTOS, 80, [draw(tmp_path / "own.jpg")])
    with views.started(made, {"device": "cpu"}) as server:
        for view in ALL_VIEWS(made):
            answer, _ = views.until_counted(server, view.address)
            assert len(answer.body) > 1000, view.name


def test_uploads_are_answered_alike_and_thumbnails_are_made_of_their_photos(tmp_path: Path) -> None:
    said = _run(tmp_path, "uploads,thumbnails").stdout
    figures = _figures(tmp_path)
    assert f"{UPLOADS} of {UPLOADS} answers to photos sent at once are those" in said
    assert [len(rounds) for rounds in figures["uploads"]["ways"].values()] == [1, 1, 1]
    made, served, *_of_small_ones = figures["thumbnails"]
    assert made["photos"] > UPLOADS / 2  # some of the photos are gone, some are copies
    assert served["rounds"][0]["kib"] == made["rounds"][0]["kib"] > 0


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_grid_is_scrolled_and_what_is_in_the_document_is_counted(tmp_path: Path) -> None:
    _run(tmp_path, "browser")
    figures = _figures(tmp_path)["browser"]
    assert all(each > 0 for rounds in figures["first_contentful_paint_ms"].values() for each in rounds)
    still, *scrolled = figures["scrolled"]
    assert still["screens"] == 0
    for each in scrolled:
        assert each["screens"] >= 4
        assert still["first_nodes"] < each["most_nodes"] < NODES


def test_without_chromium_that_is_said_and_the_rest_is_measured(tmp_path: Path) -> None:
    said = _run(tmp_path, "browser", {**os.environ, "PATH": str(tmp_path)}).stdout
    assert "Not measured: there is no Chromium on this machine." in said
    assert _figures(tmp_path)["browser"] is None
