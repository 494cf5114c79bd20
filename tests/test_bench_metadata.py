"""`bench.metadata` counts every file and finds what is wrong; how fast anything is, no test says."""

import subprocess
import sys
from pathlib import Path

import pytest
from drawing import save_photos

from bench import rewritten
from bench.second_opinion import Fields, lost_fields, new_warnings
from tagger.metadata.replacing import Prepared

REPOSITORY = Path(__file__).parent.parent


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.metadata", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False)


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
    done = _run(odd)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "### odd: 5 files, 0 MiB",
        "| embedded | 2 | 2 | 2 | 2 |",
        "| failed: unreadable | 1 | 0 | 0 | 0 |",
        "| sidecar: format | 1 | 0 | 0 | 0 |",
        "| sidecar: structure | 1 | 1 | 1 | 0 |",
        "| **together** | 5 | 3 | 3 | 2 |",
        "Of the JPEGs that decode whole, 100.0% were embedded (aim: 90%).",
        "| sidecars made | 2 |",
        "| not the same bytes after undo | 0 |",
    ):
        assert line in done.stdout
    assert {file.name: file.read_bytes() for file in odd.iterdir()} == before


def test_so_many_files_are_spread_over_the_folder(odd: Path) -> None:
    done = _run(odd, "--files", "2")
    assert done.returncode == 0, done.stderr
    assert "### odd: 2 files" in done.stdout


def test_a_folder_that_is_not_there_or_none_at_all_is_said_to_be(tmp_path: Path) -> None:
    assert "there is no folder" in _run(tmp_path / "missing").stderr
    assert "name a folder" in _run().stderr


def test_the_command_killed_on_the_way_ends_with_every_photo_written_and_taken_back() -> None:
    done = _run("--scale", "120")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### 120 drawn photos" in done.stdout
    assert "amid the work with SIGKILL" in done.stdout
    assert "wrong" not in done.stdout


def test_what_does_not_come_back_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = save_photos(tmp_path, 1, (120, 90))
    replace = Prepared.replace

    def spoil(prepared: Prepared) -> None:
        replace(prepared)
        prepared.path.write_bytes(prepared.path.read_bytes()[:-9])

    monkeypatch.setattr(Prepared, "replace", spoil)
    tried = rewritten.try_photo(source, "photo.jpg", rewritten.Copies.below(tmp_path / "copies"))
    assert tried.embedded
    assert "not the same after undo" in tried.wrong


BEFORE: Fields = {
    "IFD0:Make": ["Maker"],
    "XMP-dc:Subject": [["mine", "yours"]],
    "IFD0:ImageDescription": ["  "],
    "Photoshop:IPTCDigest": ["aa"],
    "File:CurrentIPTCDigest": ["aa"],
    "Photoshop:Photoshop_Unknown_0x0404": ["another"],
    "System:FileSize": [7],
    "ExifTool:Warning": ["odd"],
}
AFTER: Fields = {
    **BEFORE,
    "XMP-dc:Subject": [["mine", "yours", "ours"]],
    "IFD0:ImageDescription": ["ours"],
    "Photoshop:IPTCDigest": ["bb"],
    "File:CurrentIPTCDigest": ["bb"],
    "Photoshop:Photoshop_Unknown_0x0404": ["another, ours"],
    "System:FileSize": [9],
}


def test_what_only_grows_or_follows_is_not_lost() -> None:
    assert lost_fields(BEFORE, AFTER) == []
    assert new_warnings(BEFORE, AFTER) == []


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"IFD0:Make": ["maker"]}, "IFD0:Make"),
        ({"IFD0:Make": []}, "IFD0:Make"),
        (
            {"Photoshop:Photoshop_Unknown_0x0404": ["an other, and ours"]},
            "Photoshop:Photoshop_Unknown_0x0404",
        ),
        ({"XMP-dc:Subject": [["mine", "ours"]]}, "XMP-dc:Subject"),
        ({"Photoshop:IPTCDigest": ["aa"]}, "Photoshop:IPTCDigest"),
        ({"File:CurrentIPTCDigest": ["cc"]}, "Photoshop:IPTCDigest"),
    ],
)
def test_what_is_gone_or_another_is_lost(changed: Fields, lost: str) -> None:
    assert lost_fields(BEFORE, {**AFTER, **changed}) == [lost]


def test_what_exiftool_warns_of_only_now_is_new() -> None:
    assert new_warnings(BEFORE, {**AFTER, "ExifTool:Warning": ["odd", "worse"]}) == ["worse"]
