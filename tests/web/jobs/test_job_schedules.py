"""Schedules through the API and the form."""

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from support.commands import draw_many

from tagger.database import statements
from tagger.database.connection import Database
from tagger.database.enums import Priority, Target
from tagger.database.statements import db_now
from tagger.database.tables import ledgers
from tagger.jobs.enqueue import schedule_runs
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope
from tagger.jobs.enqueue.job_options import MetadataOptions
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import queue_job
from tagger.ledger.workers import record_tick
from tagger.library.query.options import PhotoQuery
from tagger.web.api.folders import folder_key


def test_a_schedule_is_added_paused_run_and_removed(client: TestClient, folder: Path) -> None:
    draw_many(folder, 2)
    name = "every / night <b>"
    sent = {"name": name, "cron": "0 3 * * *", "zone": "Europe/Paris", "what": "untagged"}
    response = client.post("/api/schedules", json=sent | {"scan": [str(folder)]})
    assert response.status_code == 201
    assert client.get("/api/schedules").json() == [response.json()]
    assert client.post("/api/schedules", json=sent).status_code == 409
    assert client.post("/api/schedules", json=sent | {"name": "x", "cron": "soon"}).status_code == 400
    at = f"/api/schedules/{name.replace('<', '%3C')}"
    assert client.post(f"{at}/pause").json()["paused"]
    assert not client.post(f"{at}/resume").json()["paused"]
    run = client.post(f"{at}/run-now").json()
    assert client.get(f"/api/jobs/{run['job']}").json()["total"] == 2
    assert [each["job"] for each in client.get(f"{at}/history").json()] == [run["job"]]
    assert client.post(f"{at}/run-now").json()["note"]
    assert client.delete(at).status_code == 204
    assert client.delete(at).status_code == 404


def test_a_schedule_has_an_end_where_one_is_given(client: TestClient) -> None:
    sent = {"name": "nightly", "cron": "0 22 * * *", "zone": "Europe/Paris", "what": "untagged"}
    assert client.post("/api/schedules", json=sent | {"until": "late"}).status_code == 400
    assert client.post("/api/schedules", json=sent | {"until": "06:00"}).status_code == 201
    assert client.get("/api/schedules").json()[0]["until"] == "06:00"
    assert "until 06:00 (Europe/Paris)" in client.get("/jobs").text


def test_a_run_does_not_wait_for_its_scan(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Nor does it if the clock of the database is behind that of the page."""
    clock = db_now()
    monkeypatch.setattr(statements, "db_now", lambda: clock - 300)
    draw_many(folder, 2)
    sent = {"name": "nightly", "cron": "0 3 * * *", "what": "untagged", "scan": [str(folder)]}
    assert client.post("/api/schedules", json=sent).status_code == 201
    may_go_on = threading.Event()

    def slow(*arguments: Any) -> Any:
        assert may_go_on.wait(60)
        return queue_job(*arguments)

    monkeypatch.setattr(schedule_runs, "queue_job", slow)
    run = client.post("/api/schedules/nightly/run-now").json()
    assert client.get(f"/api/jobs/{run['job']}").json()["state"] == "scanning"
    pressed = client.post("/jobs/schedules/run", data={"name": "nightly"})
    assert pressed.status_code == 409
    assert f"job {run['job']} of an earlier run has not finished" in pressed.text
    may_go_on.set()
    while (job := client.get(f"/api/jobs/{run['job']}").json())["state"] == "scanning":
        time.sleep(0.05)
    assert (job["state"], job["total"]) == ("queued", 2)


def test_a_run_whose_server_stops_is_left_to_beat(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    draw_many(folder, 2)
    sent = {"name": "nightly", "cron": "0 3 * * *", "what": "untagged", "scan": [str(folder)]}
    client.post("/api/schedules", json=sent)
    state = client.app.state.app_state  # type: ignore[attr-defined]

    def ended(*arguments: Any) -> Any:
        state.stopping.set()
        return queue_job(*arguments)

    monkeypatch.setattr(schedule_runs, "queue_job", ended)
    response = client.post("/api/schedules/nightly/run-now")
    assert response.status_code == 503
    assert "left to `tagger beat`" in response.json()["error"]
    (late,) = client.get("/api/schedules").json()
    assert datetime.fromisoformat(late["next_due"]) <= datetime.now(UTC)


def test_a_run_that_cannot_start_shows_the_reason(client: TestClient, folder: Path) -> None:
    draw_many(folder / "in", 2)
    sent = {"name": "nightly", "cron": "0 3 * * *", "what": "all", "scan": [str(folder / "in")]}
    assert client.post("/api/schedules", json=sent).status_code == 201
    (folder / "in").rename(folder / "away")
    response = client.post("/api/schedules/nightly/run-now")
    assert response.status_code == 404
    (run,) = client.get("/api/schedules/nightly/history").json()
    assert run["note"] == response.json()["error"]
    assert client.post("/api/schedules/never/run-now").status_code == 404
    assert client.get("/api/status").json()["jobs"][0]["state"] == "cancelled"


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
    assert client.post("/api/schedules/nightly/pause").json()["paused"]
    for action, form in (("run-now", "run"), ("resume", "resume")):
        refused = client.post(f"/api/schedules/nightly/{action}")
        assert (refused.status_code, str(library_folder) in refused.text) == (403, False)
        assert client.post(f"/jobs/schedules/{form}", data={"name": "nightly"}).status_code == 403
    assert client.get("/api/schedules").json()[0]["paused"]
    assert client.get("/api/status").json()["jobs"] == []


def test_the_page_shows_the_last_tick_and_warns_when_it_is_late(
    client: TestClient, web_database: Database
) -> None:
    assert client.get("/api/status").json()["last_tick"] is None
    assert "data-last-tick" not in client.get("/jobs").text
    client.post("/api/schedules", json={"name": "nightly", "cron": "0 3 * * *", "what": "untagged"})
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


def test_new_photos_of_a_folder_are_tagged_every_night(client: TestClient, folder: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/<b> \xff "))
    odd.mkdir()
    for where in (folder, odd):
        form = {"scan": folder_key(where), "time": "22:05"}
        assert client.post("/jobs/nightly", data=form).headers["location"] == "/jobs#schedules"
    schedules = {each["name"]: each for each in client.get("/api/schedules").json()}
    assert set(schedules) == {f"New photos in {folder.name}", "New photos in <b>"}
    assert {each["cron"] for each in schedules.values()} == {"5 22 * * *"}
    again = client.post("/jobs/nightly", data=form)
    assert again.status_code == 409
    assert 'value="22:05"' in again.text  # what was typed stays
    assert client.post("/jobs/nightly", data=form | {"time": "24:00"}).status_code == 422
