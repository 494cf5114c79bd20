"""Schedules run on time where the clocks of beat, worker and database differ, and a late tick is noticed."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from celery import Celery
from celery.worker.request import Request
from rig.servers import KEYS, RedisServer
from sqlalchemy import select, update
from support.artifacts import tiny_artifact
from support.clocks import clock_ahead

from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.statements import db_now
from tagger.database.tables import ledgers, schedules
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.schedule_runs import list_runs
from tagger.jobs.enqueue.schedules import add_schedule, list_schedules, pause_schedule, remove_schedule
from tagger.ledger.workers import LATE_TICK_S, find_last_tick, record_tick
from tagger.settings import Settings
from worker.celery_patches import BeatScheduler
from worker.engine import make_engine, stop_engine
from worker.producer import make_app

NONE = timedelta()
APART = [sign * by for sign, by in product((1, -1), (timedelta(hours=1), timedelta(minutes=1)))]
CLOCKS = [*((by, NONE) for by in APART), *((NONE, by) for by in APART)]
"""How far the clocks of beat and of the worker are ahead of the database's."""
SOON = timedelta(minutes=1)


@pytest.fixture
def app(redis_server: RedisServer, database: Database, database_url: str, tmp_path: Path) -> Iterator[Celery]:
    """The app of a worker whose engine uses the database."""
    tiny_artifact(tmp_path / "tiny.pt")
    settings = Settings(
        data_folder=tmp_path / "data",
        database_url=database_url,
        redis_url=redis_server.url,
        model=str(tmp_path / "tiny.pt"),
        device="cpu",
    )
    with closing(make_app(redis_server.url, KEYS)) as app:
        app.loader.import_task_module("worker.tasks")
        make_engine(app, settings, "worker")
        yield app
        stop_engine()


def test_a_due_schedule_runs_whatever_the_clocks_of_beat_and_worker(app: Celery, database: Database) -> None:
    for beat_ahead, worker_ahead in CLOCKS:
        add_due_schedule(database)
        with clock_ahead(beat_ahead):
            send_tick(app)
        with clock_ahead(worker_ahead):
            execute_tick(app)
        now = datetime.now(UTC)
        (run,) = list_runs(database, "often", 9)
        (schedule,) = list_schedules(database)
        last_tick = find_last_tick(database)
        assert last_tick is not None
        assert last_tick.at is not None
        assert now - SOON < last_tick.at <= run.started_at < now + SOON
        assert now < schedule.next_due < now + timedelta(days=366)
        remove_schedule(database, "often")


def add_due_schedule(database: Database) -> None:
    add_schedule(database, "often", "0 0 1 1 *", Backfill(BackfillScope.UNTAGGED), Priority.BULK, "UTC")
    with database.write() as connection:
        connection.execute(update(schedules).values(next_due=datetime.now(UTC) - timedelta(seconds=1)))


def send_tick(app: Celery) -> None:
    """Send a tick as beat does."""
    scheduler = BeatScheduler(app=app)
    (entry,) = scheduler.schedule.values()
    scheduler.apply_entry(entry, producer=scheduler.producer)
    scheduler.close()


def execute_tick(app: Celery) -> None:
    """Take the tick from Redis, and execute it as a worker does."""
    with app.connection_for_read() as connection:
        requests = []
        connection.default_channel.basic_consume(
            KEYS.ticks,
            no_ack=True,
            callback=lambda message: requests.append(Request(message, app=app)),
            consumer_tag="1",
        )
        connection.drain_events(timeout=30)
    (request,) = requests
    request.execute()


@pytest.fixture
def scheduled(database: Database) -> Database:
    """A database with one schedule."""
    add_schedule(
        database, "nightly", "0 3 * * *", Backfill(BackfillScope.UNTAGGED), Priority.BULK, "Europe/Berlin"
    )
    return database


def test_without_an_enabled_schedule_no_tick_is_expected(scheduled: Database) -> None:
    pause_schedule(scheduled, "nightly", paused=True)
    assert find_last_tick(scheduled) is None
    pause_schedule(scheduled, "nightly", paused=False)
    assert find_last_tick(scheduled) is not None


def test_the_first_tick_is_late_three_minutes_after_a_schedule_was_added(scheduled: Database) -> None:
    first = find_last_tick(scheduled)
    assert first is not None
    assert (first.at, first.seconds_ago, first.is_late) == (None, None, False)
    with scheduled.write() as connection:
        added_at = connection.execute(select(schedules.c.created_at)).scalar_one()
        earlier = added_at - timedelta(seconds=LATE_TICK_S)
        connection.execute(update(schedules).values(created_at=earlier))
    late = find_last_tick(scheduled)
    assert late is not None
    assert (late.at, late.is_late) == (None, True)


@pytest.mark.postgresql
def test_a_tick_is_late_after_three_minutes(scheduled: Database) -> None:
    record_tick(scheduled)
    recent = find_last_tick(scheduled)
    assert recent is not None
    assert recent.at is not None
    assert recent.seconds_ago is not None
    assert abs(datetime.now(UTC) - recent.at) < timedelta(seconds=60)
    assert (0 <= recent.seconds_ago < 60, recent.is_late) == (True, False)
    with scheduled.write() as connection:
        connection.execute(update(ledgers).values(last_tick_at=db_now() - LATE_TICK_S - 1))
    late = find_last_tick(scheduled)
    assert late is not None
    assert late.is_late
