"""From photos to positions in their metadata and back, as a person types it, on both databases."""

import os
import re
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path

import piexif
import pytest
from support.artifacts import tiny_artifact
from support.camera_photos import NOON, draw_shot
from support.command_line import CommandRunner
from support.gpx_files import START, write_gpx
from support.scenes import tree

from tagger.database.connection import open_database
from tagger.database.tables import photos
from tagger.tags.contents import record_matching_photos

PARIS = (48.8584, 2.2945)


@pytest.fixture
def both(
    tagger: CommandRunner, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> CommandRunner:
    """The command with a tiny model, on SQLite, then on PostgreSQL."""
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_DATABASE_URL", database_url)
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    return tagger


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A day in Paris and an hour in a valley, by a phone and by a camera whose clock is two hours ahead."""
    folder = tmp_path / "photos"
    for name, minutes, gps, label in (
        ("phone1.jpg", 0, PARIS, None),
        ("phone2.jpg", 4, None, None),
        ("phone3.jpg", 8, PARIS, None),
        ("tower.jpg", 300, None, 0),
    ):
        draw_shot(folder / name, minutes, gps=gps, label=label, model="Pixel", offset="+02:00")
    for name, minutes in (("valley1.jpg", 1450), ("valley2.jpg", 1470)):
        draw_shot(folder / name, minutes)
    draw_shot(folder / "undated.jpg", None)
    return folder


@pytest.fixture
def track(tmp_path: Path) -> Path:
    start_s = (NOON.replace(tzinfo=UTC) + timedelta(hours=22) - START).total_seconds()
    points = [(start_s + 60 * minute, 45.0 + minute / 2000, 7.0) for minute in range(60)]
    return write_gpx(tmp_path / "valley.gpx", points)


def names(output: str) -> set[str]:
    return {Path(line).name for line in output.splitlines()}


def test_a_dry_run_says_that_positions_are_not_up_to_date(both: CommandRunner, folder: Path) -> None:
    both("tag", folder, "-q")
    both("locate")
    write = ("metadata", "write", "--to", "sidecar", "--gps-estimated", "--dry-run")
    assert "up to date: run tagger locate" not in both(*write).err
    with (
        closing(open_database(os.environ["TAGGER_DATABASE_URL"])) as database,
        database.write() as connection,
    ):
        record_matching_photos(connection, photos.c.camera_id.is_not(None))
    assert "positions are not up to date; run: tagger locate" in both(*write).err


def test_positions_go_into_photos_and_come_out_again(both: CommandRunner, folder: Path, track: Path) -> None:
    before = tree(folder)
    assert both("tag", folder).code == 0
    located = both("locate", "--gpx", track, "--clock-offset", "eos=+02:00", "--json").json
    counts = {"photos": 7, "camera": 2, "landmark": 1, "track": 2, "neighbour": 1, "unknown": 1}
    assert located == located | counts
    assert names(both("query", "--position", "track", "--format", "paths").text) == {
        "valley1.jpg",
        "valley2.jpg",
    }
    assert names(both("query", "--position", "none", "--format", "paths").text) == {"undated.jpg"}

    preview = both("metadata", "write", "--to", "embed", "--gps-estimated", "--dry-run", "-v")
    assert "  + XMP:exif:GPSProcessingMethod: landmark-tagger track" in preview.text
    assert "4 photos would be changed" in preview.err
    assert tree(folder) == before

    output = both("metadata", "write", "--to", "embed", "--gps-estimated")
    assert "4 photos: 4 written" in output.err
    assert re.search(
        r"phone2\.jpg: written: position ± [\d.,]+ k?m \(neighbour\) → the photo itself", output.text
    )
    assert re.search(r"tower\.jpg: written: Eiffel Tower, position ± 300 m \(landmark\)", output.text)
    after = tree(folder)
    changed = {name for name, data in after.items() if data != before[name]}
    assert changed == {"phone2.jpg", "tower.jpg", "valley1.jpg", "valley2.jpg"}
    latitude = piexif.load(after["valley1.jpg"])["GPS"][piexif.GPSIFD.GPSLatitude]
    assert [numerator / denominator for numerator, denominator in latitude] == [45, 0, 18]
    assert "position to the photo" in both("show", folder / "phone2.jpg").text

    # What was written is not read as a measurement.
    assert both("tag", folder, "--again").code == 0
    assert both("locate", "--json").json == located

    assert both("metadata", "undo", folder).code == 0
    assert tree(folder) == before
