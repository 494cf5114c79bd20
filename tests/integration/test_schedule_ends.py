"""Runs of schedules with an end: their jobs are paused at that time of day, and the next run continues them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.written_folder import WrittenFolder

from tagger.database.connection import Database
from tagger.database.enums import Priority, Target
from tagger.database.tables import schedule_runs, schedules
from tagger.errors import ScheduleInvalid
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.enqueue.schedule_runs import list_runs, run_due_schedules, run_now
from tagger.jobs.enqueue.schedules import add_schedule, list_schedules, next_time_of_day, pause_ended_runs
from tagger.ledger.job_control import cancel, pause, resume
from tagger.settings import Settings

ZONE = "Europe/Berlin"
SIDECAR = MetadataOptions(Target.SIDECAR)
DAY = timedelta(hours=24)


@pytest.fixture
def folder(database: Database, tmp_path: Path) -> WrittenFolder:
    folder = WrittenFolder(database, tmp_path)
    for number in range(3):
        folder.draw(f"{number}.jpg", shade=number)
    return folder


def let_a_day_pass(database: Database) -> None:
    """Move the runs a day back; the clock is the database's."""
    with database.write() as connection:
        for run in connection.execute(select(schedule_runs)).all():
            is_run = schedule_runs.c.due_at == run.due_at
            times = {"due_at": run.due_at - DAY, "started_at": run.started_at - DAY}
            connection.execute(update(schedule_runs).where(is_run).values(times))


@pytest.fixture
def nightly(folder: WrittenFolder, settings: Settings, database: Database) -> Callable[[], int | None]:
    """Makes the schedule due and runs it; returns its job."""
    backfill = Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,), write=SIDECAR)
    add_schedule(database, "nightly", "0 22 * * *", backfill, Priority.BULK, ZONE, until="06:00")

    def run() -> int | None:
        with database.write() as connection:
            due = datetime.now(UTC) - timedelta(minutes=1)
            connection.execute(update(schedules).values(next_due=due))
        (run,) = run_due_schedules(database, settings)
        return run.job

    return run


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("06:00", "2026-06-01T22:00+02:00", "2026-06-02T06:00+02:00"),
        ("06:00", "2026-06-02T05:59+02:00", "2026-06-02T06:00+02:00"),
        ("06:00", "2026-06-02T06:00+02:00", "2026-06-03T06:00+02:00"),
        ("02:30", "2026-03-28T22:00+01:00", "2026-03-29T03:00+02:00"),  # 02:30 does not exist
    ],
)
def test_a_run_ends_at_the_next_such_time_in_its_zone(text: str, after: str, expected: str) -> None:
    start = datetime.fromisoformat(after).astimezone(UTC)
    assert next_time_of_day(text, ZONE, start) == datetime.fromisoformat(expected)


def test_what_is_no_time_of_day_is_refused(database: Database) -> None:
    every = Backfill(BackfillScope.ALL)
    for text in ("6", "6:00", "24:00", "06:60", "06:00:00", "\u0660\u0666:\u0660\u0660", "morning", ""):
        with pytest.raises(ScheduleInvalid, match="not a time of day"):
            add_schedule(database, "odd", "0 3 * * *", every, Priority.BULK, ZONE, until=text)
    assert list_schedules(database) == []


def test_the_job_is_paused_once_its_time_is_over_and_the_next_run_continues_it(
    folder: WrittenFolder, database: Database, nightly: Callable[[], int | None]
) -> None:
    job = nightly()
    assert job is not None
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


def test_a_job_that_a_person_paused_stays_paused(
    folder: WrittenFolder, database: Database, nightly: Callable[[], int | None]
) -> None:
    job = nightly()
    assert job is not None
    pause(database, job)
    let_a_day_pass(database)
    assert pause_ended_runs(database) == []
    assert nightly() is None
    assert folder.progress(job).state == "paused"


def test_a_job_that_a_person_resumed_has_no_end_until_the_next_run(
    folder: WrittenFolder, database: Database, nightly: Callable[[], int | None]
) -> None:
    job = nightly()
    assert job is not None
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [job]
    assert resume(database, job)
    assert pause_ended_runs(database) == []
    assert nightly() == job
    let_a_day_pass(database)
    assert pause_ended_runs(database) == [job]
    cancel(database, job)
    assert nightly() not in (job, None)


def test_runs_of_schedules_without_an_end_are_not_paused(
    folder: WrittenFolder, settings: Settings, database: Database
) -> None:
    backfill = Backfill(BackfillScope.UNTAGGED, scan=(folder.folder,))
    add_schedule(database, "always", "0 22 * * *", backfill, Priority.BULK, ZONE)
    assert run_now(database, settings, "always").job is not None
    let_a_day_pass(database)
    assert pause_ended_runs(database) == []
