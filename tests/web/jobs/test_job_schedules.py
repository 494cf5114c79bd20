"""Schedules through the forms of the page."""

import os
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from support.commands import draw_many

from tagger.database import statements
from tagger.database.connection import Database
from tagger.database.enums import Priority, Target
from tagger.database.statements import db_now
from tagger.database.tables import ledgers
from tagger.jobs.enqueue import schedules
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.schedules import add_schedule, list_runs, list_schedules
from tagger.jobs.enqueue.submission import MetadataOptions, queue_job
from tagger.ledger.workers import record_tick
from tagger.query.options import PhotoQuery
from tagger.web.api.folders import folder_key


@pytest.fixture
def nightly(web_database: Database, folder: Path) -> Path:
    """The folder of a schedule, with two photos."""
    inside = folder / "in"
    draw_many(inside, 2)
    backfill = Backfill(BackfillScope.UNTAGGED, PhotoQuery(under=(inside,)), scan=(inside,))
    add_schedule(web_database, "nightly", "0 3 * * *", backfill, Priority.BULK)
    return inside


def press(client: TestClient, action: str) -> httpx.Response:
    return client.post(f"/jobs/schedules/{action}", data={"name": "nightly"})


def test_a_schedule_has_an_end_where_one_is_given(client: TestClient, web_database: Database) -> None:
    backfill = Backfill(BackfillScope.UNTAGGED)
    add_schedule(
        web_database, "nightly", "0 22 * * *", backfill, Priority.BULK, "Europe/Paris", until="06:00"
    )
    assert "until 06:00 (Europe/Paris)" in client.get("/jobs").text


def test_a_run_does_not_wait_for_its_scan(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, nightly: Path
) -> None:
    """Nor does it if the clock of the database is behind that of the page."""
    clock = db_now()
    monkeypatch.setattr(statements, "db_now", lambda: clock - 300)
    may_go_on = threading.Event()

    def slow(*arguments: Any) -> Any:
        assert may_go_on.wait(60)
        return queue_job(*arguments)

    monkeypatch.setattr(schedules, "queue_job", slow)
    job = press(client, "run").headers["location"].rpartition("/")[2]
    assert client.get(f"/api/jobs/{job}").json()["state"] == "scanning"
    pressed = press(client, "run")
    assert pressed.status_code == 409
    assert f"job {job} of an earlier run has not finished" in pressed.text
    may_go_on.set()
    while (found := client.get(f"/api/jobs/{job}").json())["state"] == "scanning":
        time.sleep(0.05)
    assert (found["state"], found["total"]) == ("queued", 2)


def test_a_run_whose_server_stops_is_left_to_beat(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, web_database: Database, nightly: Path
) -> None:
    state = client.app.state.app_state  # type: ignore[attr-defined]

    def ended(*arguments: Any) -> Any:
        state.stopping.set()
        return queue_job(*arguments)

    monkeypatch.setattr(schedules, "queue_job", ended)
    response = press(client, "run")
    assert response.status_code == 503
    assert "left to <code>tagger beat</code>" in response.text
    (late,) = list_schedules(web_database)
    assert late.next_due <= datetime.now(UTC)


def test_a_run_that_cannot_start_shows_the_reason(
    client: TestClient, web_database: Database, nightly: Path
) -> None:
    nightly.rename(nightly.with_name("away"))
    response = press(client, "run")
    assert response.status_code == 404
    (run,) = list_runs(web_database, "nightly", 10)
    assert run.note
    assert client.get("/api/status").json()["jobs"][0]["state"] == "cancelled"
    assert client.post("/jobs/schedules/run", data={"name": "never"}).status_code == 404


@pytest.mark.parametrize("kind", ["other folder", "every folder", "writes"])
def test_a_schedule_of_the_command_line_that_the_page_may_not_add_is_not_run_or_resumed_there(
    client: TestClient, web_database: Database, folder: Path, library_folder: Path, kind: str
) -> None:
    backfill = {
        "other folder": Backfill(BackfillScope.ALL, PhotoQuery(under=(folder,)), scan=(library_folder,)),
        "every folder": Backfill(BackfillScope.ALL, PhotoQuery()),
        "writes": Backfill(
            BackfillScope.ALL,
            PhotoQuery(under=(folder,)),
            write=MetadataOptions(Target.EMBED),
        ),
    }[kind]
    add_schedule(web_database, "nightly", "0 3 * * *", backfill, Priority.BULK)
    assert press(client, "pause").status_code == 303
    for action in ("run", "resume"):
        refused = press(client, action)
        assert (refused.status_code, str(library_folder) in refused.text) == (403, False)
    assert list_schedules(web_database)[0].paused
    assert client.get("/api/status").json()["jobs"] == []


def test_the_page_shows_the_last_tick_and_warns_when_it_is_late(
    client: TestClient, web_database: Database
) -> None:
    assert client.get("/api/status").json()["last_tick"] is None
    assert "data-last-tick" not in client.get("/jobs").text
    add_schedule(web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.UNTAGGED), Priority.BULK)
    assert "Not checked yet" in client.get("/jobs").text
    record_tick(web_database)
    on_time = client.get("/jobs").text
    assert "Last checked: " in on_time
    assert "Schedules do not run" not in on_time
    assert client.get("/api/status").json()["last_tick"]["is_late"] is False
    with web_database.write() as connection:
        connection.execute(update(ledgers).values(last_tick_at=db_now() - 200))
    assert client.get("/api/status").json()["last_tick"]["is_late"] is True
    late = client.get("/jobs").text
    assert "Schedules do not run" in late
    assert "<code>tagger up</code>" in late


def test_new_photos_of_a_folder_are_tagged_every_night(
    client: TestClient, web_database: Database, folder: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/<b> \xff "))
    odd.mkdir()
    for where in (folder, odd):
        form = {"scan": folder_key(where), "time": "22:05"}
        assert client.post("/jobs/nightly", data=form).headers["location"] == "/jobs#schedules"
    schedules = {each.name: each for each in list_schedules(web_database)}
    assert set(schedules) == {f"New photos in {folder.name}", "New photos in <b>"}
    assert {each.cron for each in schedules.values()} == {"5 22 * * *"}
    again = client.post("/jobs/nightly", data=form)
    assert again.status_code == 409
    assert 'value="22:05"' in again.text  # what was typed stays
    assert client.post("/jobs/nightly", data=form | {"time": "24:00"}).status_code == 422


def test_times_of_schedules_are_in_the_readers_zone(
    client: TestClient, web_database: Database, folder: Path
) -> None:
    add_schedule(web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.UNTAGGED), Priority.BULK, "UTC")
    client.cookies.set("tagger_zone", "Asia/Tokyo")
    page = client.get("/jobs").text
    assert "every day at 03:00 (UTC)" in page
    assert re.search(r"next: [^<]*, 12:00<", page)
    assert "At (Asia/Tokyo)" in client.get(f"/jobs/new?folder={folder_key(folder)}").text
    client.post("/jobs/nightly", data={"scan": folder_key(folder), "time": "22:05"})
    assert {each.zone for each in list_schedules(web_database)} == {"UTC", "Asia/Tokyo"}
