"""Visits that the database keeps."""

from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.position_library import PositionLibrary

from tagger.database.connection import Database, open_database
from tagger.database.tables import changed_days, photos, visits
from tagger.kept.days import read_visits
from tagger.kept.update import update_kept
from tagger.transfer.copying import copy_database


@pytest.mark.postgresql
def test_a_change_without_a_consequence_leaves_visits_alone(database: Database, tmp_path: Path) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    library.shot(0, gps=(48.86, 2.35))
    update_kept(database)
    with database.write() as connection:
        connection.execute(update(photos).values(size_bytes=photos.c.size_bytes + 1, gone_since=None))
    with database.read() as connection:
        assert connection.execute(select(changed_days)).all() == []
        assert len(connection.execute(select(visits)).all()) == 1


def test_an_update_of_positions_tells_its_progress_for_each_page_of_visits(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    for day in range(3):
        library.shot(day * 1440, gps=(48.86, 2.35))
    monkeypatch.setattr("tagger.kept.days.MOST_STORED", 1)
    stored = []

    def stop_at_second(step: str, _done: int, _total: int | None) -> None:
        if step != "counting photos":
            return
        with database.read() as connection:
            stored.append(len(connection.execute(select(visits)).all()))
        if stored[-1] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_kept(database, stop_at_second)
    assert stored == [1, 2]
    update_kept(database)
    with database.read() as connection:
        assert len(connection.execute(select(visits)).all()) == 3


def test_a_copy_has_the_visits(database: Database, tmp_path: Path) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    library.shot(0, gps=(48.86, 2.35))
    update_kept(database)
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    copy_database(database, url)
    copy = open_database(url)
    with database.read() as connection, copy.read() as copied:
        assert list(read_visits(copied)) == list(read_visits(connection)) != []
        assert copied.execute(select(changed_days)).all() == []
    copy.close()
