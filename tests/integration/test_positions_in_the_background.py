"""Sweepers bring positions up to date, a few at a time, while no job runs, and count photos again."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rig.servers import RedisServer
from sqlalchemy import func, select
from support.artifacts import tiny_artifact
from support.colour_folders import EIFFEL
from support.counted_rows import marked_blocks
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.enums import Priority, Runner
from tagger.database.tables import photos, position_changes
from tagger.ledger.job_control import pause
from tagger.ledger.jobs import NewJob, create_job
from tagger.library.catalog.contents import record_contents
from tagger.library.catalog.registered_models import add_model
from tagger.library.positions import update
from tagger.library.positions.update import SmallUpdates, lock_positions
from tagger.library.query.counts import landmark_counts
from tagger.settings import Settings
from worker.broker import Broker, RedisMonitor
from worker.producer import make_app
from worker.sweeper import Sweeper, WorkerIdentity
from worker.throttle import Throttle

SHOTS = 7


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    """Photos with GPS, which are not located."""
    file = tmp_path / "tiny.pt"
    tiny_artifact(file)
    library = PositionLibrary(database, tmp_path / "photos", add_model(database, file))
    library.camera()
    for minutes in range(SHOTS):
        library.shot(minutes, gps=(48.0, 2.0))
    return library


@pytest.fixture
def sweeper(redis_server: RedisServer, database: Database) -> Iterator[Sweeper]:
    with closing(make_app(redis_server.url)) as app:
        monitor = RedisMonitor(Broker(redis_server.url, embedded=False))
        throttle = Throttle((), lambda: None)
        yield Sweeper(app, monitor, database, Settings(), WorkerIdentity("w", "cpu"), throttle)


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


@pytest.mark.postgresql
def test_a_sweep_counts_photos_and_leaves_what_a_job_changes(
    library: PositionLibrary, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.shot(99, (EIFFEL, 0.9, True))
    assert marked_blocks(library.database) != []
    new = NewJob(library.model.id, top_k=5, threshold=0.5, runner=Runner.WORKERS, priority=Priority.BULK)
    job = create_job(library.database, new)
    sweeper.sweep()
    assert marked_blocks(library.database) != []
    monkeypatch.setattr("tagger.library.catalog.kept_counts.BLOCKS_OF_JOBS", 0)
    sweeper.sweep()
    assert marked_blocks(library.database) == []
    monkeypatch.undo()
    pause(library.database, job)
    library.shot(100, (EIFFEL, 0.9, True))
    sweeper.sweep()
    assert marked_blocks(library.database) == []
    (count,) = landmark_counts(library.database)
    assert (count.landmark, count.photos) == (EIFFEL, 2)


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


def test_changes_of_images_are_expanded_in_parts(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.update()
    monkeypatch.setattr(update, "SMALL_BATCH", 2)
    with library.database.write() as connection:
        record_contents(connection, connection.scalars(select(photos.c.content_id)).all())
    updates = SmallUpdates(library.database)
    while updates.update():
        assert changes(library.database) <= SHOTS
    assert changes(library.database) == 0


def test_small_updates_follow_cameras_and_times_whatever_was_stored_first(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = library.camera("Nikon")
    for minutes in range(SHOTS):
        library.shot(minutes, gps=(48.0, 2.0), camera=second)
    library.update()
    with library.database.write() as connection:
        by_time = select(photos.c.content_id).order_by(photos.c.taken_at)
        for content_id in connection.scalars(by_time).all():
            record_contents(connection, [content_id])
    monkeypatch.setattr(update, "SMALL_BATCH", SHOTS)
    updates = SmallUpdates(library.database)
    left = []
    while updates.update():
        with library.database.read() as connection:
            of_photos = select(position_changes.c.photo_id).where(position_changes.c.photo_id.is_not(None))
            changed = select(photos.c.camera_id).where(photos.c.id.in_(of_photos))
            left.append(set(connection.scalars(changed)))
    assert left == [{1, second}, {1, second}, {second}, set()]


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
