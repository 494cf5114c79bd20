"""Sweepers bring positions up to date, a few at a time, while no job runs."""

from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.enums import Priority, Runner
from tagger.database.tables import position_changes
from tagger.ledger.job_control import pause
from tagger.ledger.jobs import NewJob, create_job
from tagger.library.positions import update
from tagger.library.positions.update import SmallUpdates, lock_positions
from worker.sweeper import Sweeper

SHOTS = 7


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    """Photos with GPS, which are not located."""
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    for minutes in range(SHOTS):
        library.shot(minutes, gps=(48.0, 2.0))
    return library


def changes(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(position_changes)) or 0


def test_a_sweep_locates_photos_only_while_no_job_runs(library: PositionLibrary, sweeper: Sweeper) -> None:
    new = NewJob(library.model.id, top_k=5, threshold=0.5, runner=Runner.WORKERS, priority=Priority.BULK)
    job = create_job(library.database, new)
    sweeper.sweep()
    assert library.found() == {}
    pause(library.database, job)
    sweeper.sweep()
    assert len(library.found()) == SHOTS
    assert changes(library.database) == 0


def test_a_small_update_takes_a_limited_number_of_changes(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "SMALL_BATCH", 2)
    updates = SmallUpdates(library.database)
    updates.update()
    assert changes(library.database) == SHOTS - 2
    while updates.update():
        pass
    assert changes(library.database) == 0
    assert len(library.found()) == SHOTS


@pytest.mark.postgresql
def test_a_small_update_does_not_wait_for_a_long_one(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library.database.is_sqlite:
        pytest.skip("SQLite has one writer")
    monkeypatch.setattr(update, "LOCK_S", 0.1)
    updates = SmallUpdates(library.database)
    with library.database.write() as connection:
        lock_positions(connection)
        assert not updates.update()
    assert library.found() == {}
    assert updates.update()
