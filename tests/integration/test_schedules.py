"""Schedules: what is due when, and that each run is made once, whoever ticks."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from folders import TaggedFolder
from sqlalchemy import func, select, update
from threads import in_threads

from tagger.backfill import Backfill, What
from tagger.database import Database
from tagger.errors import RootAway, ScheduleExists, ScheduleInvalid, ScheduleNotFound
from tagger.ledger.jobs import cancel_job
from tagger.schedules import (
    Run,
    RunPutOff,
    add_schedule,
    latest_due,
    list_runs,
    list_schedules,
    next_due,
    pause_schedule,
    remove_schedule,
    run_due,
    run_now,
)
from tagger.settings import Settings
from tagger.tables import Priority, jobs, schedule_runs, schedules

MINUTELY = "* * * * *"


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> TaggedFolder:
    return TaggedFolder(database, tmp_path)


@pytest.fixture
def settings(folder: TaggedFolder) -> Settings:
    return Settings(data_folder=folder.folder.parent / "data", model=str(folder.model.file))


def add(database: Database, *, cron: str = MINUTELY, backfill: Backfill | None = None) -> None:
    add_schedule(database, "often", cron, backfill or Backfill(What.UNTAGGED), Priority.BULK, "Europe/Berlin")


def let_it_be_due(database: Database, ago: timedelta = timedelta(minutes=1)) -> None:
    with database.write() as connection:
        connection.execute(update(schedules).values(next_due=datetime.now(UTC) - ago))


def count(database: Database, table: object) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def when(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 3 * * *", "2026-06-01T12:00+02:00", "2026-06-02T03:00+02:00"),
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),  # left out: right after
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),  # twice: the first
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),  # and not again
        ("0 9 * * 1-5", "2026-11-20T10:00+01:00", "2026-11-23T09:00+01:00"),
        ("0 0 29 2 *", "2026-06-01T12:00+02:00", "2028-02-29T00:00+01:00"),
    ],
)
def test_times_are_those_of_the_zone_through_daylight_saving(cron: str, after: str, expected: str) -> None:
    assert next_due(cron, "Europe/Berlin", when(after)) == when(expected)


def test_the_latest_due_time_may_be_this_very_minute() -> None:
    at_three = when("2026-06-01T03:00+02:00")
    for seconds in (0, 59):
        assert latest_due("0 3 * * *", "Europe/Berlin", at_three + timedelta(seconds=seconds)) == at_three
    before = latest_due("0 3 * * *", "Europe/Berlin", at_three - timedelta(seconds=1))
    assert before == at_three - timedelta(days=1)


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("0 3 * *", "UTC", "no cron expression"),
        ("0 0 31 2 *", "UTC", "no cron expression"),
        ("0 3 * * *", "Europe/Atlantis", "time zone 'Europe/Atlantis'"),
        ("0 3 * * *", "../../etc/passwd", "no time zone"),
        ("0 3 * * *", "Europe", "no time zone"),
    ],
)
def test_what_means_nothing_is_refused(database: Database, cron: str, zone: str, said: str) -> None:
    with pytest.raises(ScheduleInvalid, match=said):
        add_schedule(database, "odd", cron, Backfill(What.ALL), Priority.BULK, zone)
    assert list_schedules(database) == []


def test_a_schedule_is_kept_as_it_was_given(database: Database, folder: TaggedFolder) -> None:
    wanted = Backfill(
        What.OUTDATED,
        under=(folder.folder,),
        taken_after=datetime.fromisoformat("2020-01-01"),
        taken_before=datetime.fromisoformat("2021-01-01T12:30"),
        scan=(folder.folder,),
    )
    add(database, backfill=wanted)
    (kept,) = list_schedules(database)
    assert (kept.name, kept.cron, kept.zone, kept.backfill) == ("often", MINUTELY, "Europe/Berlin", wanted)
    with pytest.raises(ScheduleExists, match="often"):
        add(database)
    remove_schedule(database, "often")
    assert list_schedules(database) == []
    with pytest.raises(ScheduleNotFound, match="there are: none"):
        remove_schedule(database, "often")


def test_a_due_schedule_finds_new_photos_and_makes_one_job(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
    folder.draw("a.jpg")
    add(database, backfill=Backfill(What.UNTAGGED, scan=(folder.folder,)))
    assert list(run_due(database, settings)) == []
    let_it_be_due(database)
    (run,) = run_due(database, settings)
    assert run.job is not None
    assert folder.progress(run.job).total == 1
    assert folder.progress(run.job).kind == "backfill"
    assert list(run_due(database, settings)) == []
    assert [each.job for each in list_runs(database, "often", 9)] == [run.job]


def test_a_run_that_was_missed_is_made_up_for_once(settings: Settings, database: Database) -> None:
    add(database)
    let_it_be_due(database, timedelta(days=3))
    assert len(list(run_due(database, settings))) == 1
    assert count(database, schedule_runs) == 1
    (kept,) = list_schedules(database)
    assert kept.next_due > datetime.now(UTC)


def test_of_several_that_tick_at_once_one_makes_the_run(settings: Settings, database: Database) -> None:
    add(database, cron="0 0 1 1 *")
    let_it_be_due(database)
    made: list[Run] = []
    in_threads([lambda: made.extend(run_due(database, settings))] * 6)
    assert len(made) == count(database, jobs) == count(database, schedule_runs) == 1


def test_a_run_still_at_work_is_not_started_again(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
    folder.draw("a.jpg")
    add(database, backfill=Backfill(What.UNTAGGED, scan=(folder.folder,)))
    let_it_be_due(database)
    (first,) = run_due(database, settings)
    assert first.job is not None
    again = run_now(database, settings, "often")
    assert again.job is None
    assert again.note == f"job {first.job} of an earlier run is still at work"
    with database.write() as connection:
        cancel_job(connection, first.job, "by request")
    assert run_now(database, settings, "often").job is not None


def test_a_paused_schedule_rests_and_is_not_made_up_for(settings: Settings, database: Database) -> None:
    add(database)
    pause_schedule(database, "often", paused=True)
    let_it_be_due(database)
    assert list(run_due(database, settings)) == []
    pause_schedule(database, "often", paused=False)
    assert list(run_due(database, settings)) == []
    assert list_schedules(database)[0].next_due > datetime.now(UTC)


def test_a_run_whose_folder_is_away_is_noted_and_the_others_are_made(
    folder: TaggedFolder, settings: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder.draw("a.jpg")
    folder.tag()
    path.rename(folder.folder.parent / "elsewhere.jpg")
    add(database, backfill=Backfill(What.UNTAGGED, scan=(folder.folder,)))
    add_schedule(database, "plain", MINUTELY, Backfill(What.ALL), Priority.BULK, "UTC")
    let_it_be_due(database)
    (made,) = run_due(database, settings)
    assert made.job is not None
    assert "the schedule often could not be run" in caplog.text
    (noted,) = list_runs(database, "often", 9)
    assert (noted.state, "nothing was marked as gone" in (noted.note or "")) == ("cancelled", True)
    with pytest.raises(RootAway):
        run_now(database, settings, "often")


def test_a_run_cut_off_by_the_end_of_its_process_is_left_to_the_next(
    folder: TaggedFolder, settings: Settings, database: Database
) -> None:
    folder.draw("a.jpg")
    add(database, backfill=Backfill(What.UNTAGGED, scan=(folder.folder,)))
    let_it_be_due(database)

    def stop(_found: int) -> None:
        raise RunPutOff

    assert list(run_due(database, settings, stop)) == []
    assert count(database, schedule_runs) == 0
    (run,) = run_due(database, settings)
    assert run.job is not None
    assert folder.progress(run.job).total == 1
