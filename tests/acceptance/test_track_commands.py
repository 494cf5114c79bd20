"""`tagger locate tracks` as a person types it."""

from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.gpx_files import walk, write_gpx

from tagger.database.connection import Database
from tagger.library.positions.tracks import add_track


@pytest.fixture
def two_tracks(sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    add_track(sqlite_database, write_gpx(tmp_path / "evening.gpx", walk(20, start_s=36_000)))
    add_track(sqlite_database, write_gpx(tmp_path / "morning.gpx", walk(10)))


@pytest.mark.usefixtures("two_tracks")
def test_tracks_are_listed_in_order_of_time_and_removed(tagger: CommandRunner) -> None:
    listed = tagger("locate", "tracks", "--json").json
    assert [(track["name"], track["points"]) for track in listed] == [
        ("morning.gpx", 10),
        ("evening.gpx", 20),
    ]
    assert listed[0]["first_at"] == "2019-05-03T08:00:00+00:00"
    assert listed[0]["last_at"] == "2019-05-03T08:01:30+00:00"
    table = tagger("locate", "tracks").text.splitlines()
    assert table[0].split()[:3] == [str(listed[0]["id"]), "morning.gpx", "10"]

    output = tagger("locate", "forget-track", "morning.gpx")
    assert (output.code, output.text) == (0, "")
    assert output.err == "morning.gpx is removed\n"
    assert tagger("locate", "forget-track", listed[1]["id"], "--json").json["name"] == "evening.gpx"
    output = tagger("locate", "tracks")
    assert (output.text, output.err) == ("", "there is no track; add one with: tagger locate --gpx FILE\n")


@pytest.mark.usefixtures("two_tracks")
def test_an_unknown_track_is_an_error(tagger: CommandRunner) -> None:
    output = tagger("locate", "forget-track", "noon.gpx")
    assert (output.code, output.text) == (1, "")
    assert "There is no track noon.gpx. `tagger locate tracks` shows the tracks." in " ".join(
        output.err.split()
    )
