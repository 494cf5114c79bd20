"""`tagger locate` is killed before a commit: the same command again gives the same positions."""

from datetime import UTC
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, func, select
from support.commands import Terminal
from support.databases import create_sqlite_database
from support.gpx_files import START, walk, write_gpx
from support.position_library import NOON, PositionLibrary

from tagger.database.tables import cameras, changed_days, photos, positions, tags, tracks

EIFFEL = ("eiffel-tower", 0.97, True)
SHOTS = 30
SMALL_BATCHES = "tagger.kept.update.BATCH=6"
COMMAND = ("locate", "--gpx", "walk.gpx", "--clock-offset", "Canon=+00:00", "--max-gap", "3h")
FACTS = {
    positions: ("photo_id", "latitude", "longitude", "error_m", "source", "evidence"),
    cameras: ("id", "clock_offset_s", "clock_source", "companions_id"),
    tags: ("content_id", "landmark_id", "score", "rank", "enough", "odds_reason"),
    photos: ("id", "camera_id", "taken_at"),
}


class Library:
    """Photos of two cameras, some with GPS or a landmark, and a track, in a new database each time."""

    def __init__(self, folder: Path) -> None:
        self.terminal = Terminal(folder)
        self.terminal.inject(values=SMALL_BATCHES)
        noon_s = (NOON.replace(tzinfo=UTC) - START).total_seconds()
        write_gpx(folder / "walk.gpx", walk(60, start_s=noon_s + 4 * 3600, step_s=60))

    def use(self, url: str) -> None:
        """Fill an empty database, which the commands use from now on."""
        self.terminal.environment["TAGGER_DATABASE_URL"] = url
        with self.terminal.database() as database:
            library = PositionLibrary.with_tiny_model(database, self.terminal.folder)
            library.camera("Canon")
            library.camera("Nikon")
            for number in range(SHOTS):
                predictions = (EIFFEL,) if number % 7 == 3 else ()
                gps = (48.7 + number / 1000, 2.2) if number % 5 == 0 else None
                library.shot(
                    number * 11, *predictions, camera=number % 2 + 1, gps=gps, digest=f"1-{number:064x}"
                )

    def locate(self) -> dict[str, list[dict[str, Any]]]:
        """Run the command undisturbed. Returns what it led to."""
        self.terminal.run(*COMMAND)
        self.terminal.run("db", "check")
        with self.terminal.database() as database, database.read() as connection:
            for table, rows in ((changed_days, 0), (tracks, 1)):
                assert connection.scalar(select(func.count()).select_from(table)) == rows
            return {table.name: _rows(connection, table) for table in FACTS}


def _rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    columns = [table.c[name] for name in FACTS[table]]
    rows = connection.execute(select(*columns).order_by(*table.primary_key.columns)).mappings()
    # PostgreSQL does not use the id of a track again that was rolled back.
    return [
        {
            name: {**value, "track": 1} if name == "evidence" and "track" in value else value
            for name, value in row.items()
        }
        for row in rows
    ]


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path / "terminal")


def test_locating_that_was_killed_is_completed_by_the_same_command(library, tmp_path):
    library.use(create_sqlite_database(tmp_path / "undisturbed.sqlite"))
    undisturbed = library.locate()
    sources = {row["source"] for row in undisturbed["positions"]}
    assert sources == {"camera", "landmark", "track", "neighbour", "trip"}
    library.use(create_sqlite_database(tmp_path / "killed.sqlite"))
    assert library.terminal.is_killed(*COMMAND, commit=5)
    assert library.locate() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_locating_that_was_killed_before_any_commit_is_completed_by_the_same_command(
    library, tmp_path, kind, postgres_databases
):
    undisturbed: dict[str, list[dict[str, Any]]] = {}
    for commit in count(0):
        with postgres_databases.migrated() as url:
            library.use(
                url if kind == "postgresql" else create_sqlite_database(tmp_path / f"{commit}.sqlite")
            )
            is_killed = commit > 0 and library.terminal.is_killed(*COMMAND, commit=commit)
            undisturbed = undisturbed or library.locate()
            assert library.locate() == undisturbed, f"killed before commit {commit}"
        if commit and not is_killed:
            break
    assert commit > 8, "the command commits less often than expected; does the test still see it?"
