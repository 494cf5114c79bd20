"""`trainer data inspect`: its findings in a folder with one flaw of each kind, and the files it writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.scenes import draw_label, draw_scene, tree


@pytest.fixture
def flawed(tmp_path) -> Path:
    """A training folder with two good labels and one flaw of each kind."""
    folder = tmp_path / "set"
    draw_label(folder / "train" / "Tower", range(22))
    draw_label(folder / "train" / "Bridge", range(100, 121))
    draw_label(folder / "test" / "Tower", range(200, 203))
    draw_label(folder / "test" / "Hill", range(300, 302))
    (folder / "train" / "Empty").mkdir()
    (folder / "train" / "Tower" / "cut.jpg").write_bytes(
        (folder / "train" / "Tower" / "1.jpg").read_bytes()[:300]
    )
    (folder / "train" / "Tower" / "page.png").write_text("<html>not found</html>")
    (folder / "train" / "Tower" / "notes.txt").write_text("hello")
    (folder / "train" / "Tower" / ".DS_Store").write_text("junk")
    shutil.copy(folder / "train" / "Tower" / "2.jpg", folder / "train" / "Bridge" / "same.jpg")
    shutil.copy(folder / "train" / "Tower" / "3.jpg", folder / "test" / "Tower" / "copy of 3.jpg")
    draw_scene(folder / "test" / "Tower" / "near 4.jpg", 4, (160, 120), quality=60)
    draw_scene(folder / "train" / "Bridge" / "near 100.jpg", 100, (160, 120))
    Image.new("RGB", (50, 40), "black").save(folder / "train" / "Bridge" / "black.jpg")
    draw_scene(folder / "train" / "stray.jpg", 400)
    draw_label(folder / "other", [401])
    (folder / "landmarks.csv").write_text("label,slug\nTower,tower\nBridge,bridge\nCastle,castle\n")
    return folder


def test_everything_that_is_wrong_is_found(data, flawed, tmp_path):
    before = tree(flawed)
    output = data("inspect", flawed, "--out", tmp_path / "report", "--json", code=0)

    report = output.json
    assert report == json.loads((tmp_path / "report" / "inspection.json").read_text(encoding="utf-8"))
    assert report["splits"] == ["train", "test"]
    assert {each["label"]: each["splits"] for each in report["labels"]} == {
        "Bridge": {"train": 24, "test": 0},
        "Empty": {"train": 0, "test": 0},
        "Hill": {"train": 0, "test": 2},
        "Tower": {"train": 22, "test": 5},
    }
    assert report["photos"] == 53
    assert {each["path"]: each["kind"] for each in report["broken"]} == {
        "train/Tower/cut.jpg": "truncated",
        "train/Tower/page.png": "not-an-image",
    }
    assert all(each["text"].endswith(".") for each in report["broken"])
    assert report["not_photos"] == ["train/Tower/notes.txt"]
    assert report["outside_labels"] == ["train/stray.jpg"]
    assert report["passed_over"] == ["other"]
    assert report["blank"] == ["train/Bridge/black.jpg"]
    assert paths(report["exact_duplicates"]) == [
        ["train/Bridge/same.jpg", "train/Tower/2.jpg"],
        ["test/Tower/copy of 3.jpg", "train/Tower/3.jpg"],
    ]
    assert paths(report["label_conflicts"]) == [["train/Bridge/same.jpg", "train/Tower/2.jpg"]]
    assert paths(report["leaks"]["exact"]) == [["test/Tower/copy of 3.jpg", "train/Tower/3.jpg"]]
    assert paths(report["leaks"]["near"]) == [["test/Tower/near 4.jpg", "train/Tower/4.jpg"]]
    assert ["train/Bridge/100.jpg", "train/Bridge/near 100.jpg"] in paths(report["near_duplicates"])
    assert report["landmarks"] == {
        "rows": 3,
        "without_folder": ["Castle"],
        "without_row": ["Empty", "Hill"],
        "problem": None,
    }
    assert report["few"] == {"Empty": 0, "Hill": 0}
    assert report["sizes"] == {"min": [50, 40], "median": [96, 72], "max": [160, 120]}
    assert tree(flawed) == before


def test_the_report_suggests_remedies(data, flawed, tmp_path):
    output = data("inspect", flawed, "--out", tmp_path / "report")

    assert "leaks between splits\t2\n" in output.text
    assert f"run: trainer data split {flawed} --out" in output.err
    assert f"report\t{tmp_path / 'report' / 'report.md'}\n" in output.text
    summary = dict(line.split("\t", 1) for line in output.text.splitlines())
    report = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for heading in (
        "Leaks between splits: 2",
        "Label conflicts: 1",
        "Broken photos: 2",
        "Blank photos: 1",
        f"Exact duplicates: {summary['exact duplicates']}",
        f"Near-duplicates: {summary['near-duplicates']}",
    ):
        assert f"## {heading}\n" in report
    assert "`train/Tower/cut.jpg`: truncated. The file ends" in report
    assert "no row for the folder Hill" in report
    assert "| Tower | 22 | 5 |" in report
    assert "(sheet.png)" in report


def test_labels_may_lie_in_the_folder_and_bad_gazetteers_are_findings(data, tmp_path):
    draw_label(tmp_path / "set" / "Tòa Xanh", range(20))
    draw_label(tmp_path / "set" / "B|ridge", range(40, 45))
    report = data("inspect", tmp_path / "set", "--out", tmp_path / "report", "--json").json

    assert report["splits"] == []
    assert {each["label"]: each["photos"] for each in report["labels"]} == {"Tòa Xanh": 20, "B|ridge": 5}
    assert (report["few"], report["landmarks"]) == ({"B|ridge": 5}, None)
    assert "landmarks.csv\tnone\n" in data("inspect", tmp_path / "set", "--out", tmp_path / "report").text
    report = (tmp_path / "report" / "report.md").read_text()
    assert "There is no landmarks.csv, so labels are named after their folders." in report
    assert "## landmarks.csv" not in report
    draw_label(tmp_path / "set" / "A", range(3))
    (tmp_path / "set" / "landmarks.csv").write_text("label,latitude\nA,north\n")
    report = data("inspect", tmp_path / "set", "--out", tmp_path / "report", "--json").json

    assert "label A, column latitude" in report["landmarks"]["problem"]


def test_the_report_goes_where_the_person_is_and_never_among_the_photos(data, tmp_path, monkeypatch):
    draw_label(tmp_path / "there" / "set" / "A", range(2))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert data("inspect", tmp_path / "there" / "set").code == 0
    assert (tmp_path / "here" / "set-inspection" / "sheet.png").is_file()
    monkeypatch.chdir(tmp_path / "there" / "set")
    assert data("inspect", ".").code == 0
    assert (tmp_path / "there" / "set-inspection" / "sheet.png").is_file()
    output = data("inspect", ".", "--out", "report", code=1)
    assert "which is never written to" in output.err
    assert [path.name for path in (tmp_path / "there" / "set").iterdir()] == ["A"]


def test_a_folder_without_photos_is_refused_with_how_to_lay_them_out(data, tmp_path):
    (tmp_path / "set" / "A").mkdir(parents=True)
    output = data("inspect", tmp_path / "set", "--out", tmp_path / "report")
    assert (output.code, output.text) == (1, "")
    assert "LABEL/photo.jpg" in output.err
    assert data("inspect", tmp_path / "nowhere").code == 1
    assert data("inspect").code == 2


def paths(groups: list[list[dict[str, Any]]]) -> list[list[str]]:
    return [sorted(each["path"] for each in group) for group in groups]
