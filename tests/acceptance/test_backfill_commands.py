"""`tagger backfill`, `schedule` and `beat`: what was never tagged gets tagged, by hand and by the clock."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.commands import Terminal, draw, draw_many, stop
from support.databases import audit_entries

from tagger.database.connection import AuditAction
from tagger.database.tables import schedules
from tagger.ledger.workers import record_tick


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})
    draw_many(terminal.folder / "photos", 20)
    return terminal


def test_a_backfill_scans_counts_and_tags(terminal):
    assert terminal.json("backfill", "untagged", "--dry-run")["total"] == 0
    with terminal.processing_jobs():
        done = terminal.json("backfill", "untagged", "--scan", "photos", "--wait")
        assert (done["kind"], done["total"], done["tagged"], done["unknown"]) == ("backfill", 20, 16, 4)
        assert terminal.run("backfill", "untagged", "--dry-run").stdout.startswith(
            "0 photos would be classified"
        )
        draw(terminal.folder / "photos" / "new.jpg", 0, seed=77)
        again = terminal.run("backfill", "untagged", "--scan", "photos", "--wait")
        assert "scanned 21 photos: 1 new, 0 changed, 0 gone" in again.stderr
        assert terminal.json("job", "show", again.stdout.split()[0])["tagged"] == 1


def test_a_backfill_with_nothing_to_do_makes_no_job(terminal):
    terminal.run("tag", "photos")
    done = terminal.run("backfill", "untagged", "--scan", "photos")
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "nothing to do")
    assert "this process does the work" not in done.stderr
    nothing = {"job": None, "total": 0, "gone": 0, "skipped_folders": 0, "note": "nothing to do"}
    assert terminal.json("backfill", "failed", "--wait") == nothing
    assert [job.job for job in terminal.jobs()] == [1]
    with terminal.database() as database:
        assert [entry.subject for entry in audit_entries(database, AuditAction.JOB_CREATE)] == ["1"]


def test_a_schedule_says_whether_beat_has_ever_run_and_asks_for_a_zone(terminal):
    def add(name: str) -> str:
        return terminal.run("schedule", "add", name, "--cron", "0 3 * * *", "untagged").stderr

    assert "no beat has run yet; schedules need beat and a worker: tagger beat and" in add("first")
    with terminal.database() as database:
        record_tick(database)
        assert "beat" not in add("second")
    terminal.environment["TZ"] = "EST5EDT,M3.2.0,M11.1.0"
    refused = terminal.run("schedule", "add", "third", "--cron", "0 3 * * *", "untagged", code=1)
    assert "name one with --zone" in refused.stderr


def test_schedules_are_kept_paused_run_and_removed(terminal):
    made = terminal.json(
        *("schedule", "add", "nightly", "--cron", "0 3 * * *", "--zone", "Europe/Paris"),
        *("--until", "06:00", "untagged", "--scan", "photos", "--year", "2019"),
    )
    assert (made["name"], made["zone"], made["what"]) == ("nightly", "Europe/Paris", "untagged")
    assert made["until"] == "06:00"
    assert made["options"] == {"scan": [str(terminal.folder / "photos")], "year": [2019]}
    listed = terminal.run("schedule", "list").stdout
    assert "untagged, 2019, after a scan of" in listed
    assert re.search(r" 03:00 CES?T\t", listed)
    terminal.run("schedule", "remove", "nightly")
    terminal.json("schedule", "add", "nightly", "--cron", "0 3 * * *", "untagged", "--scan", "photos")
    terminal.run("schedule", "pause", "nightly")
    assert terminal.json("schedule", "list")[0]["paused"] is True
    terminal.run("schedule", "resume", "nightly")
    run = terminal.json("schedule", "run-now", "nightly")
    assert terminal.json("job", "show", str(run["job"]))["total"] == 20
    refused = terminal.run("schedule", "run-now", "nightly", code=1)
    assert "of an earlier run has not finished" in refused.stderr
    history = terminal.json("schedule", "history", "nightly")
    assert [each["job"] for each in history] == [None, run["job"]]
    terminal.run("schedule", "remove", "nightly")
    assert terminal.json("schedule", "list") == []
    assert "The schedules are: none" in terminal.run("schedule", "pause", "nightly", code=1).stderr


@pytest.mark.slow
def test_a_worker_with_beat_starts_schedules(terminal):
    terminal.run("schedule", "add", "yearly", "--cron", "0 0 1 1 *", "untagged", "--scan", "photos")
    with terminal.database() as database, database.write() as connection:
        past = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(schedules).values(next_due=past))
    terminal.inject(values="worker.producer.TICK_S=0.5")
    with terminal.workers(1, "--beat") as (worker,):
        terminal.wait_until(terminal.jobs)
        terminal.wait_until(lambda: terminal.progress(1).is_over)
        assert stop(worker) == 0
    assert not list(terminal.folder.glob("celerybeat*"))
