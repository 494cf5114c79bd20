"""`tagger db check` of an SQLite file with a damaged page names the damage, and does not stop there."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.empty_databases import create_sqlite_database
from support.stored_photos import StoredPhotos

from tagger.database.connection import open_database
from tagger.transfer.integrity import NOT_CHECKED, check_database


@pytest.mark.parametrize("table", ["photos", "tags", "contents"])
def test_a_damaged_page_is_named(tmp_path: Path, table: str) -> None:
    file = tmp_path / "tagger.sqlite"
    url = create_sqlite_database(file)
    with closing(open_database(url)) as database:
        StoredPhotos.with_tiny_model(database, tmp_path).photo("a.jpg", ("eiffel-tower", 0.9, True))
    _damage(file, table)
    with closing(open_database(url)) as database:
        problems = list(check_database(database))
    assert problems[0].startswith("the file is damaged: ")
    assert problems[-1] == NOT_CHECKED


def _damage(file: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(file)) as connection:  # what is still in its log would hide the damage
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        root = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?"
        (page,) = connection.execute(root, (table,)).fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)
