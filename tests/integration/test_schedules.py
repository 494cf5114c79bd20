"""Schedules are due at the right times, each run starts once, and jobs are paused at its end."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update
from support.clocks import clock_ahead
from support.databases import execute, read_row, read_scalar
from support.threads import in_threads

from tagger.database import Priority, Target
from tagger.database.connection import Database
from tagger.database.statements import db_now
from tagger.database.tables import jobs, ledgers, schedule_runs, schedules
from tagger.errors import RootUnavailable, ScheduleExists, ScheduleInvalid, ScheduleNotFound
from tagger.jobs.enqueue.job_texts import tick_text
from tagger.jobs.enqueue.schedules import (
    RunInterrupted,
    ScheduleRun,
    add_schedule,
    follow_clock,
    latest_due,
    list_runs,
    list_schedules,
    next_due,
    next_time_of_day,
    pause_ended_runs,
    pause_schedule,
    remove_schedule,
    run_due_schedules,
    run_now,
)
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, MetadataOptions
from tagger.ledger.job_control import cancel, pause, resume
from tagger.ledger.workers import LATE_TICK_S, find_last_tick, record_tick
from tagger.query.options import PhotoQuery

MINUTELY = "* * * * *"
ZONE = "Europe/Berlin"
SIDECAR = MetadataOptions(Target.SIDECAR)
DAY = timedelta(hours=24)


def add(database: Database, *, cron: str = MINUTELY, backfill: Backfill | None = None) -> None:
    add_schedule(database, "often", cron, backfill or Backfill(BackfillScope.UNTAGGED), Priority.BULK, ZONE)


def make_due(database: Database, ago: timedelta = timedelta(minutes=1)) -> None:
    execute(database, update(schedules).values(next_due=datetime.now(UTC) - ago))


def count(database: Database, table: object) -> int:
    return read_scalar(database, select(func.count()).select_from(table)) or 0


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
def test_due_times_follow_the_time_zone_and_daylight_saving(cron, after, expected):
    assert next_due(cron, "Europe/Berlin", utc(after)) == utc(expected)


def test_latest_due_time_may_be_the_current_minute():
    at_three = utc("2026-06-01T03:00+02:00")
    for seconds in (0, 59):
        assert latest_due("0 3 * * *", "Europe/Berlin", at_three + timedelta(seconds=seconds)) == at_three
    before = latest_due("0 3 * * *", "Europe/Berlin", at_three - timedelta(seconds=1))
    assert before == at_three - timedelta(days=1)


def test_lists_of_all_values_are_an_expression(database):
    ranges = (range(60), range(24), range(1, 32), range(1, 13), range(7))
    cron = " ".join(",".join(map(str, each)) for each in ranges)
    add(database, cron=cron)
    assert [each.cron for each in list_schedules(database)] == [cron]


INVALID: dict[str, tuple[str, tuple[str, ...]]] = {
    "it needs 1 to 200 characters in one line": (
        "name",
        ("", " ", "\u200b", "a\x1b[2J", "a\nb", "a\u2028b", "a" * 201),
    ),
    "not a valid cron expression": ("cron", ("0 3 * *", "0 0 31 2 *", f"0 {'9' * 480} * * *")),
    "more than five fields": ("cron", ("0 0 3 * * *",)),
    "the cron expression has more than 500 characters": ("cron", (f"0 {'9' * 5000} * * *",)),
    "no time zone": ("zone", ("../../etc/passwd", "9" * 5000)),
    "not a time of day": (
        "until",
        ("6", "6:00", "24:00", "06:60", "06:00:00", "\u0660\u0666:\u0660\u0660", "morning", ""),
    ),
}


@pytest.mark.parametrize("message", INVALID)
def test_invalid_schedule_is_refused(database, message):
    option, values = INVALID[message]
    new = {"name": "odd", "cron": "0 3 * * *", "zone": ZONE, "priority": Priority.BULK}
    for value in values:
        with pytest.raises(ScheduleInvalid, match=message):
            add_schedule(database, backfill=Backfill(BackfillScope.ALL), **(new | {option: value}))
    assert list_schedules(database) == []
    with pytest.raises(ScheduleInvalid, match="not a valid cron expression"):  # stored by another program
        next_due(f"0 {'9' * 5000} * * *", "UTC", utc("2024-01-01T00:00"))


def test_schedule_is_stored_as_added(database, folder):
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
    assert (schedule.name, schedule.cron, schedule.zone) == ("often", MINUTELY, ZONE)
    assert schedule.backfill == backfill
    with pytest.raises(ScheduleExists, match="often"):
        add(database)
    remove_schedule(database, "often")
    assert list_schedules(database) == []
    with pytest.raises(ScheduleNotFound, match="The schedules are: none"):
        remove_schedule(database, "often")


def test_due_schedule_finds_new_photos_and_makes_one_job(folder, settings, database):
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


def test_missed_runs_are_made_up_for_once_unless_the_schedule_was_paused(settings, database):
    add(database)
    make_due(database, timedelta(days=3))
    started_at = datetime.now(UTC)
    assert len(list(run_due_schedules(database, settings))) == 1
    assert count(database, schedule_runs) == 1
    (schedule,) = list_schedules(database)
    assert schedule.next_due > started_at
    with clock_ahead(timedelta(hours=1)):
        run = run_now(database, settings, "often")
    assert run.started_at in [stored.started_at for stored in list_runs(database, "often", 9)]
    pause_schedule(database, "often", paused=True)
    make_due(database)
    assert list(run_due_schedules(database, settings)) == []
    pause_schedule(database, "often", paused=False)
    assert list(run_due_schedules(database, settings)) == []
    assert list_schedules(database)[0].next_due > datetime.now(UTC)


@pytest.mark.postgresql
@pytest.mark.parametrize("cron", [MINUTELY, "0 3 * * *"])
def test_a_schedule_follows_the_clock_after_it_was_ahead_and_set_right(settings, database, cron):
    add(database, cron=cron)
    (schedule,) = list_schedules(database)
    with database.write() as connection:
        connection.execute(update(schedules).values(next_due=schedule.next_due + 30 * DAY))
        for days in (28, 29):
            ahead = schedule.next_due + days * DAY
            connection.execute(insert(schedule_runs).values(schedule_id=1, due_at=ahead, started_at=ahead))
    assert list(run_due_schedules(database, settings)) == []
    (corrected,) = list_schedules(database)
    assert schedule.next_due <= corrected.next_due <= schedule.next_due + timedelta(minutes=1)
    runs = list_runs(database, "often", 9)
    assert len(runs) == 2
    assert max(max(run.due_at, run.started_at) for run in runs) <= datetime.now(UTC)
    make_due(database)
    assert len(list(run_due_schedules(database, settings))) == 1


def test_in_the_hour_that_clocks_repeat_a_run_that_was_due_in_the_first_is_not_due_again(database):
    add(database, cron="30 2 * * *")
    tomorrow = utc("2026-10-26T02:30+01:00")
    execute(database, update(schedules).values(next_due=tomorrow))
    follow_clock(database, read_row(database, select(schedules)), utc("2026-10-25T02:10+01:00"))
    (schedule,) = list_schedules(database)
    assert schedule.next_due == tomorrow


@pytest.mark.postgresql
def test_one_of_several_concurrent_processes_starts_the_run(settings, database):
    add(database, cron="0 0 1 1 *")
    make_due(database)
    runs: list[ScheduleRun] = []
    in_threads([lambda: runs.extend(run_due_schedules(database, settings))] * 6)
    assert len(runs) == count(database, schedule_runs) == 1
    assert (runs[0].job, runs[0].note, count(database, jobs)) == (None, "nothing to do", 0)
    assert [run.note for run in list_runs(database, "often", 5)] == ["nothing to do"]


def test_schedule_does_not_start_before_its_last_job_has_finished(folder, settings, database):
    folder.draw("a.jpg")
    add(database, backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    make_due(database)
    (first,) = run_due_schedules(database, settings)
    assert first.job is not None
    again = run_now(database, settings, "often")
    assert again.job is None
    assert again.note == f"job {first.job} of an earlier run has not finished"
    cancel(database, first.job)
    assert run_now(database, settings, "often").job is not None


def test_run_of_an_unavailable_folder_is_noted_and_other_schedules_run(folder, settings, database, caplog):
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


def test_interrupted_runs_are_left_to_the_next_process(folder, settings, database):
    folder.draw("a.jpg")
    rarely = "0 0 29 2 *"  # so that a run has had the last due time
    add(database, cron=rarely, backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    make_due(database)

    def stop(_found: int) -> None:
        raise RunInterrupted

    assert list(run_due_schedules(database, settings, stop)) == []
    assert count(database, schedule_runs) == 0
    (run,) = run_due_schedules(database, settings)
    assert folder.progress(run.job).total == 1
    cancel(database, run.job)
    with pytest.raises(RunInterrupted):
        run_now(database, settings, "often", stop)
    (again,) = run_due_schedules(database, settings)
    assert again.job not in (None, run.job)


def let_a_day_pass(database: Database) -> None:
    """Move the runs a day back; the clock is the database's."""
    with database.write() as connection:
        for run in connection.execute(select(schedule_runs)).all():
            is_run = schedule_runs.c.due_at == run.due_at
            times = {"due_at": run.due_at - DAY, "started_at": run.started_at - DAY}
            connection.execute(update(schedule_runs).where(is_run).values(times))


@pytest.fixture
def nightly(folder, settings, database) -> Callable[[], int | None]:
    folder.draw_many(3)
    backfill = Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,), write=SIDECAR)
    add_schedule(database, "nightly", "0 22 * * *", backfill, Priority.BULK, ZONE, until="06:00")

    def run() -> int | None:
        make_due(database)
        (run,) = run_due_schedules(database, settings)
        return run.job

    return run


def test_a_run_ends_at_the_next_such_time_in_its_zone():
    for after, expected in (("05:59", "2026-06-02"), ("06:00", "2026-06-03")):
        ends_at = next_time_of_day("06:00", ZONE, utc(f"2026-06-02T{after}+02:00"))
        assert ends_at == utc(f"{expected}T06:00+02:00")


def test_the_job_is_paused_once_its_time_is_over_and_the_next_run_continues_it(folder, database, nightly):
    job = nightly()
    assert pause_ended_runs(database) == []
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [job]
    assert pause_ended_runs(database) == []
    paused = folder.progress(job)
    assert paused.state == "paused"
    assert paused.note == f"paused at 06:00 ({ZONE}); the next run of the schedule nightly continues it"

    assert nightly() == job
    assert (folder.progress(job).state, folder.progress(job).note) == ("queued", None)
    assert [(run.job, run.note) for run in list_runs(database, "nightly", 9)] == [
        (job, f"continues job {job}"),
        (job, None),
    ]
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [job]
    assert nightly() == job
    folder.work(job)
    assert folder.progress(job).state == "finished"

    writing = folder.progress(job).write_job
    assert writing is not None
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [writing]
    assert nightly() not in (job, None)
    assert folder.progress(writing).state == "scanning"


def test_a_job_that_a_person_paused_stays_paused(folder, database, nightly):
    job = nightly()
    assert job is not None
    pause(database, job)
    let_a_day_pass(database)
    assert pause_ended_runs(database) == []
    assert nightly() is None
    assert folder.progress(job).state == "paused"


def test_a_job_that_a_person_resumed_has_no_end_until_the_next_run(folder, database, nightly):
    job = nightly()
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [job]
    assert resume(database, job)
    assert pause_ended_runs(database) == []
    assert nightly() == job
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [job]
    cancel(database, job)
    assert nightly() not in (job, None)


def test_runs_of_schedules_without_an_end_are_not_paused(folder, settings, database):
    folder.draw("a.jpg")
    add(database, cron="0 22 * * *", backfill=Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,)))
    assert run_now(database, settings, "often").job is not None
    let_a_day_pass(database)
    assert pause_ended_runs(database) == []


def test_the_first_tick_is_late_three_minutes_after_a_schedule_was_added(database):
    add(database)
    pause_schedule(database, "often", paused=True)
    assert find_last_tick(database) is None  # none is expected
    pause_schedule(database, "often", paused=False)
    first = find_last_tick(database)
    assert (first.at, first.seconds_ago, first.is_late) == (None, None, False)
    earlier = datetime.now(UTC) - timedelta(seconds=LATE_TICK_S)
    execute(database, update(schedules).values(created_at=earlier))
    late = find_last_tick(database)
    assert (late.at, late.is_late) == (None, True)


@pytest.mark.postgresql
def test_a_tick_is_late_after_three_minutes_and_none_counts_from_before_a_set_clock(database):
    add(database)
    record_tick(database)
    recent = find_last_tick(database)
    assert recent.at is not None
    assert abs(datetime.now(UTC) - recent.at) < timedelta(seconds=60)
    assert (0 <= recent.seconds_ago < 60, recent.is_late) == (True, False)
    execute(database, update(ledgers).values(last_tick_at=db_now() - LATE_TICK_S - 1))
    late = find_last_tick(database)
    assert late.is_late
    execute(database, update(ledgers).values(last_tick_at=db_now() + 86400.0))
    ahead = find_last_tick(database)
    assert ahead.is_late
    assert tick_text(ahead) == "no tick since the clock was set back"
