"""Schedules are due at the right times, and each run starts once, also with several processes."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from support.clocks import clock_ahead
from support.colour_folders import TaggedFolder
from support.threads import in_threads

from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.tables import jobs, schedule_runs, schedules
from tagger.errors import RootUnavailable, ScheduleExists, ScheduleInvalid, ScheduleNotFound
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.schedule_runs import (
    RunInterrupted,
    ScheduleRun,
    list_runs,
    run_due_schedules,
    run_now,
)
from tagger.jobs.enqueue.schedules import (
    add_schedule,
    latest_due,
    list_schedules,
    next_due,
    pause_schedule,
    remove_schedule,
)
from tagger.ledger.jobs import cancel_job
from tagger.library.query.options import PhotoQuery
from tagger.settings import Settings

MINUTELY = "* * * * *"


def add(database: Database, *, cron: str = MINUTELY, backfill: Backfill | None = None) -> None:
    add_schedule(
        database, "often", cron, backfill or Backfill(BackfillScope.UNTAGGED), Priority.BULK, "Europe/Berlin"
    )


def make_due(database: Database, ago: timedelta = timedelta(minutes=1)) -> None:
    with database.write() as connection:
        connection.execute(update(schedules).values(next_due=datetime.now(UTC) - ago))


def count(database: Database, table: object) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 3 * * *", "2026-06-01T12:00+02:00", "2026-06-02T03:00+02:00"),
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),  # 02:30 does not exist
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),  # the first of two
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),  # not the second
        ("0 9 * * 1-5", "2026-11-20T10:00+01:00", "2026-11-23T09:00+01:00"),
        ("0 0 29 2 *", "2026-06-01T12:00+02:00", "2028-02-29T00:00+01:00"),
    ],
)
def test_due_times_follow_the_time_zone_and_daylight_saving(cron: str, after: str, expected: str) -> None:
    assert next_due(cron, "Europe/Berlin", utc(after)) == utc(expected)


def test_latest_due_time_may_be_the_current_minute() -> None:
    at_three = utc("2026-06-01T03:00+02:00")
    for seconds in (0, 59):
        assert latest_due("0 3 * * *", "Europe/Berlin", at_three + timedelta(seconds=seconds)) == at_three
    before = latest_due("0 3 * * *", "Europe/Berlin", at_three - timedelta(seconds=1))
    assert before == at_three - timedelta(days=1)


@pytest.mark.parametrize("name", ["", " ", "\u200b", "a\x1b[2J", "a\nb", "a\u2028b", "a" * 201])
def test_a_name_that_is_not_one_line_is_refused(database: Database, name: str) -> None:
    with pytest.raises(ScheduleInvalid, match="name: it needs 1 to 200 characters in one line"):
        add_schedule(database, name, "0 3 * * *", Backfill(BackfillScope.ALL), Priority.BULK)
    assert list_schedules(database) == []


def test_a_run_is_returned_with_the_time_that_is_stored(database: Database, settings: Settings) -> None:
    add(database)
    with clock_ahead(timedelta(hours=1)):
        started = run_now(database, settings, "often")
    (stored,) = list_runs(database, "often", 9)
    assert started.started_at == stored.started_at


@pytest.mark.parametrize(
    ("cron", "zone", "message"),
    [
        ("0 3 * *", "UTC", "not a valid cron expression"),
        ("0 0 31 2 *", "UTC", "not a valid cron expression"),
        ("0 3 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_invalid_schedule_is_refused(database: Database, cron: str, zone: str, message: str) -> None:
    with pytest.raises(ScheduleInvalid, match=message):
        add_schedule(database, "odd", cron, Backfill(BackfillScope.ALL), Priority.BULK, zone)
    assert list_schedules(database) == []


def test_schedule_is_stored_as_added(database: Database, folder: TaggedFolder) -> None:
    backfill = Backfill(
        BackfillScope.OUTDATED,
        PhotoQuery(
            under=(folder.folder,),
            taken_after=datetime.fromisoformat("2020-01-01"),
            taken_before=datetime.fromisoformat("2021-01-01T12:30"),
        ),
        scan=(folder.folder,),
    )
    add(database, backfill=backfill)
    (schedule,) = list_schedules(database)
    assert (schedule.name, schedule.cron, schedule.zone, schedule.backfill) == (
        "often",
        MINUTELY,
        "Europe/Berlin",
        backfill,
    )
    with pytest.raises(ScheduleExists, match="often"):
        add(database)
    remove_schedule(database, "often")
    assert list_schedules(database) == []
    with pytest.raises(ScheduleNotFound, match="The schedules are: none"):
        remove_schedule(database, "often")


def test_due_schedule_finds_new_photos_and_makes_one_job(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
    folder.draw("a.jpg")
    add(database, backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    assert list(run_due_schedules(database, settings)) == []
    make_due(database)
    (run,) = run_due_schedules(database, settings)
    assert run.job is not None
    assert folder.progress(run.job).total == 1
    assert folder.progress(run.job).kind == "backfill"
    assert list(run_due_schedules(database, settings)) == []
    assert [listed.job for listed in list_runs(database, "often", 9)] == [run.job]


def test_missed_runs_are_made_up_for_once(settings: Settings, database: Database) -> None:
    add(database)
    make_due(database, timedelta(days=3))
    started_at = datetime.now(UTC)
    assert len(list(run_due_schedules(database, settings))) == 1
    assert count(database, schedule_runs) == 1
    (schedule,) = list_schedules(database)
    assert schedule.next_due > started_at


@pytest.mark.postgresql
def test_one_of_several_concurrent_processes_starts_the_run(settings: Settings, database: Database) -> None:
    add(database, cron="0 0 1 1 *")
    make_due(database)
    runs: list[ScheduleRun] = []
    in_threads([lambda: runs.extend(run_due_schedules(database, settings))] * 6)
    assert len(runs) == count(database, schedule_runs) == 1
    assert (runs[0].job, runs[0].note, count(database, jobs)) == (None, "nothing to do", 0)
    assert [run.note for run in list_runs(database, "often", 5)] == ["nothing to do"]


def test_schedule_does_not_start_before_its_last_job_has_finished(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
    folder.draw("a.jpg")
    add(database, backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    make_due(database)
    (first,) = run_due_schedules(database, settings)
    assert first.job is not None
    again = run_now(database, settings, "often")
    assert again.job is None
    assert again.note == f"job {first.job} of an earlier run has not finished"
    with database.write() as connection:
        cancel_job(connection, first.job, "by request")
    assert run_now(database, settings, "often").job is not None


def test_paused_schedule_does_not_run_and_skips_missed_runs(settings: Settings, database: Database) -> None:
    add(database)
    pause_schedule(database, "often", paused=True)
    make_due(database)
    assert list(run_due_schedules(database, settings)) == []
    pause_schedule(database, "often", paused=False)
    assert list(run_due_schedules(database, settings)) == []
    assert list_schedules(database)[0].next_due > datetime.now(UTC)


def test_run_of_an_unavailable_folder_is_noted_and_other_schedules_run(
    folder: TaggedFolder, settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder.draw("a.jpg")
    folder.tag()
    path.rename(folder.folder.parent / "elsewhere.jpg")
    add(database, backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    add_schedule(database, "plain", MINUTELY, Backfill(BackfillScope.ALL), Priority.BULK, "UTC")
    make_due(database)
    (run,) = run_due_schedules(database, settings)
    assert run.job is not None
    assert "Schedule often could not run" in caplog.text
    (failed_run,) = list_runs(database, "often", 9)
    assert (failed_run.state, "no photo was marked as gone" in (failed_run.note or "")) == ("cancelled", True)
    with pytest.raises(RootUnavailable):
        run_now(database, settings, "often")


def test_interrupted_run_is_left_to_the_next_process(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
    folder.draw("a.jpg")
    add(database, backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    make_due(database)

    def stop(_found: int) -> None:
        raise RunInterrupted

    assert list(run_due_schedules(database, settings, stop)) == []
    assert count(database, schedule_runs) == 0
    (run,) = run_due_schedules(database, settings)
    assert run.job is not None
    assert folder.progress(run.job).total == 1
