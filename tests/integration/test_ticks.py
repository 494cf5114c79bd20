"""The last tick of beat, and whether it is late, by the database's clock."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.statements import db_now
from tagger.database.tables import ledgers, schedules
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.schedules import add_schedule, pause_schedule
from tagger.ledger.workers import LATE_TICK_S, find_last_tick, record_tick


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
