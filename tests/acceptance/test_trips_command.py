"""`tagger trips` as a person types it, and the option --trip."""

from pathlib import Path

import pytest
from support.command_line import CommandRunner
from support.position_library import PositionLibrary

from tagger.database.connection import Database

EIFFEL = ("eiffel-tower", 0.97, True)
PARIS = (48.8584, 2.2945)
TRIP = "2024-05-03-paris"


@pytest.fixture
def library(sqlite_database: Database, tmp_path: Path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(sqlite_database, tmp_path)
    library.camera()
    for hours in range(0, 48, 8):
        library.shot(hours * 60, gps=PARIS)
    library.shot(90, EIFFEL)
    library.update()
    return library


@pytest.mark.usefixtures("library")
def test_trips_are_listed(tagger: CommandRunner) -> None:
    output = tagger("trips")
    assert output.code == 0
    assert output.text == f"{TRIP}\tParis\t3\N{EN DASH}5 May 2024\t7\tParis\tEiffel Tower\n"
    (document,) = tagger("trips", "--json").json
    assert {name: document[name] for name in ("trip", "name", "photos", "first", "last")} == {
        "trip": TRIP,
        "name": "Paris",
        "photos": 7,
        "first": "2024-05-03T12:00:00",
        "last": "2024-05-05T04:00:00",
    }
    assert document["places"][0]["city"] == "Paris"
    assert document["landmarks"] == [{"landmark": "eiffel-tower", "name": "Eiffel Tower", "photos": 1}]
    assert tagger("trips", "--format", "ndjson").json == document


@pytest.mark.usefixtures("library")
def test_dates_select_trips(tagger: CommandRunner) -> None:
    assert len(tagger("trips", "--year", "2024", "--json").json) == 1
    assert tagger("trips", "--year", "2023", "--json").json == []
    assert tagger("trips", "--taken-after", "2024-05-06", "--json").json == []
    assert len(tagger("trips", "--taken-before", "2024-05-04", "--json").json) == 1
    assert tagger("trips", "--year", "2024", "--taken-after", "2024-05-06").code == 2
    assert tagger("trips", "--format", "csv").code == 2
    assert tagger("trips", "--format", "csv-bom").code == 2
    assert "no trips at that time; to list all, run: tagger trips\n" in tagger("trips", "--year", "2023").err


def test_without_trips_the_next_step_is_named(tagger: CommandRunner) -> None:
    output = tagger("trips")
    assert (output.code, output.text) == (0, "")
    assert "tagger locate" in output.err


def test_where_photos_have_positions_what_a_trip_needs_is_named(
    tagger: CommandRunner, sqlite_database: Database, tmp_path: Path
) -> None:
    library = PositionLibrary.with_tiny_model(sqlite_database, tmp_path)
    library.camera()
    library.shot(0, gps=PARIS)
    library.update()
    output = tagger("trips")
    assert "5 photos with positions on two days or more away from home, or 10 on one day" in output.err
    assert "tagger locate" not in output.err


@pytest.mark.usefixtures("library")
def test_commands_select_the_photos_of_a_trip(tagger: CommandRunner) -> None:
    assert len(tagger("query", "--trip", TRIP, "--json").json) == 7
    assert tagger("locate", "--trip", TRIP, "--json").json["photos"] == 7
    assert tagger("metadata", "write", "--trip", TRIP, "--to", "sidecar", "--dry-run").code == 0
    unknown = tagger("query", "--trip", "2024-06-01-rome")
    assert (unknown.code, "`tagger trips` lists the names" in unknown.err) == (1, True)
