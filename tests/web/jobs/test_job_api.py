"""Jobs and schedules through the API: in allowed folders alone, and what the page shows of their runs."""

import json
import os
import re
import shutil
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
from support.databases import execute
from support.page_server import change_settings

from tagger.database import Priority, Target, statements
from tagger.database.statements import db_now
from tagger.database.tables import ledgers
from tagger.jobs.enqueue import schedules
from tagger.jobs.enqueue.schedules import add_schedule, list_runs, list_schedules
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, MetadataOptions, queue_job
from tagger.ledger.workers import record_heartbeat, record_tick
from tagger.query.options import PhotoQuery
from tagger.web.api.job_starter import AllowedFolders, FolderRefused, folder_key
from tagger.web.state import MAX_SCANS


def test_a_folder_is_tagged_and_its_failures_are_retried(client, jobs, terminal, web_database, folder):
    draw_many(folder, 12)
    for n in range(3):
        (folder / f"broken-{n}.jpg").write_bytes(b"\xff\xd8no photo")
    started = jobs.start(folder)
    assert started["total"] == 15
    assert "No worker is running" in started["problem"]
    finished = jobs.run(started["job"])
    assert (finished["failed"], finished["tagged"] + finished["unknown"]) == (3, 12)
    assert finished == terminal.json("job", "show", str(started["job"]))

    record_heartbeat(web_database, "tagger-1@here", "cpu")
    status = client.get("/api/status").json()
    expected = terminal.json("status")
    assert status["jobs"] == expected["jobs"]
    assert set(status) == {*expected, "older", "problem"}
    assert [worker["name"] for worker in status["workers"]] == ["tagger-1@here"]
    assert [worker["name"] for worker in expected["workers"]] == ["tagger-1@here"]

    record_heartbeat(web_database, "tagger-1@here", "cpu", "on battery")
    (worker,) = client.get("/api/status").json()["workers"]
    assert worker["waits_for"] == "on battery"

    first = client.get(f"/api/jobs/{started['job']}/failures?limit=2").json()
    rest = client.get(f"/api/jobs/{started['job']}/failures?limit=2&after={first['next']}").json()
    failures = [*first["failures"], *rest["failures"]]
    assert rest["next"] is None
    assert [{**each, "photo": 0} for each in failures] == [
        {**each, "photo": 0} for each in terminal.json("job", "failures", str(started["job"]))
    ]
    photo = client.get(f"/api/photos/{failures[0]['photo']}").json()
    assert photo["path"] == failures[0]["path"]

    retry = client.post(f"/api/jobs/{started['job']}/retry", json={"kind": [failures[0]["kind"]]}).json()
    assert jobs.run(retry["job"])["failed"] == 3
    none = client.post(f"/api/jobs/{started['job']}/retry", json={"kind": ["gone"]}).json()
    assert none == {"job": None, "total": 0, "kinds": {}, "dry_run": False}


def test_metadata_is_written_only_on_request(client, jobs, folder):
    draw_many(folder, 3)
    assert jobs.run(jobs.start(folder)["job"])["write_job"] is None
    assert not list(folder.rglob("*.xmp"))
    tagged = jobs.run(jobs.start(folder, again=True, write="sidecar")["job"])
    jobs.run(tagged["write_job"])
    assert list(folder.rglob("*.xmp"))
    assert client.post(f"/api/jobs/{tagged['write_job']}/retry").status_code == 409
    assert "need write" in jobs.start(folder, status=422, gps=True)["error"]
    jobs.start(folder, status=422, write="everywhere")


def test_a_backfill_scans_counts_and_stays_inside_the_allowed_folders(client, library_folder, folder):
    draw_many(folder, 4)
    dry = client.post("/api/backfills", json={"what": "all", "dry_run": True}).json()
    assert dry == {"job": None, "total": 0, "what": "all", "dry_run": True}
    document = client.post("/api/backfills", json={"what": "untagged", "scan": [str(folder)]}).json()
    assert document["total"] == 4
    assert document["kind"] == "backfill"
    everything = client.post("/api/backfills", json={"what": "all"}).json()
    assert everything["total"] == 4
    unknown = client.post("/api/backfills", json={"what": "all", "landmark": "nowhere"})
    assert unknown.status_code == 404


def test_the_number_of_scans_is_limited(client, jobs, folder):
    state = client.app.state.app_state
    for _ in range(MAX_SCANS):
        assert state.scan_slots.acquire(blocking=False)
    refused = jobs.start(folder, status=503)
    assert "scans are running already" in refused["error"]
    for _ in range(MAX_SCANS):
        state.scan_slots.release()
    jobs.start(folder)


def tricks(inside: Path, outside: Path) -> list[str]:
    (inside / "link").symlink_to(outside)
    (inside / "to-link").symlink_to("link")
    (inside / "circle").symlink_to("circle")
    return [
        str(outside),
        "/",
        "/etc",
        "",
        ".",
        "photos",
        "~",
        f"{inside}/..",
        f"{inside}/../{outside.name}",
        f"{inside}/a/../../{outside.name}",
        f"{inside}/link",
        f"{inside}/to-link/deeper",
        f"{inside}/circle",
        f"{inside}-beside",
        f"{inside}\0/x",
        f"//{outside}",
        "/proc/self/cwd",
        f"file://{inside}",
        "x" * 5000,
    ]


def test_no_path_and_no_key_leads_to_a_folder_outside(client, tmp_path, folder, jobs):
    outside, inside = tmp_path / "outside", folder
    draw_many(outside, 1)
    draw_many(outside / "deeper", 1)
    draw_many(tmp_path / "photos-beside", 1)
    for trick in tricks(inside, outside):
        key = {"key": folder_key(Path(trick))}
        for address, sent in (
            ("/api/jobs", {"paths": [str(inside), trick]}),
            ("/api/backfills", {"what": "all", "scan": [trick]}),
            *(
                (("/api/jobs", {"paths": [key]}), ("/api/backfills", {"what": "all", "under": [key]}))
                if trick
                else ()
            ),
        ):
            response = client.post(address, json=sent)
            assert response.status_code in {400, 403, 422}, (trick, address, response.text)
            assert str(outside) not in response.text
        page = client.get("/jobs/new", params={"folder": key["key"]} if trick else {})
        assert page.status_code == (403 if trick else 200), trick
    assert client.get("/api/status").json()["jobs"] == []
    for key in ("%%%", "====", "_", "a" * 8193, "\N{SNOWMAN}"):
        assert client.get("/jobs/new", params={"folder": key}).status_code in {403, 414, 422}
    assert client.post("/api/jobs", json={"paths": [{"key": "%%%"}]}).status_code == 403
    draw_many(folder, 1)
    jobs.start(folder / "00/00000.jpg", status=404)
    jobs.start(folder / "nowhere", status=404)


def test_the_roots_of_the_database_are_allowed_without_the_setting(client, library_folder, jobs):
    jobs.start(library_folder, status=403)
    change_settings(client, web_folders=None)
    jobs.start(library_folder)
    jobs.start(library_folder.parent, status=403)


def test_a_folder_that_became_a_link_meanwhile_is_refused(tmp_path, folder):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    allowed = AllowedFolders((tmp_path / "in",), is_set=True)

    class Swapped(AllowedFolders):
        def check(self, folder: Any) -> Path:
            return Path(folder)  # as it was before the swap

    with pytest.raises(FolderRefused):
        Swapped(allowed.folders, is_set=True).selection([tmp_path / "in/link"])


def test_a_folder_whose_name_is_not_utf8_is_named_by_its_key(client, folder):
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 <b>"))
    draw_many(odd / "inner", 3)
    page = client.get("/jobs/new").text
    assert folder_key(odd) in page
    assert "<b>" not in page
    assert client.get("/jobs/new", params={"folder": folder_key(odd)}).status_code == 200
    named = {"key": folder_key(odd)}
    as_text = client.post(
        "/api/jobs", content=json.dumps({"paths": [str(odd)]}), headers={"content-type": "application/json"}
    )
    assert as_text.status_code == 422
    assert client.post("/api/jobs", json={"paths": [named]}).json()["total"] == 3
    scanned = client.post("/api/backfills", json={"what": "all", "scan": [named], "under": [named]})
    assert scanned.json()["total"] == 3


@pytest.fixture
def nightly(web_database, folder) -> Path:
    inside = folder / "in"
    draw_many(inside, 2)
    backfill = Backfill(BackfillScope.UNTAGGED, PhotoQuery(under=(inside,)), scan=(inside,))
    add_schedule(web_database, "nightly", "0 3 * * *", backfill, Priority.BULK)
    return inside


def press(client: TestClient, action: str) -> httpx.Response:
    return client.post(f"/jobs/schedules/{action}", data={"name": "nightly"})


def test_a_run_does_not_wait_for_its_scan(client, monkeypatch, nightly):
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


def test_a_run_whose_server_stops_is_left_to_beat(client, monkeypatch, web_database, nightly):
    state = client.app.state.app_state

    def ended(*arguments: Any) -> Any:
        state.stopping.set()
        return queue_job(*arguments)

    monkeypatch.setattr(schedules, "queue_job", ended)
    response = press(client, "run")
    assert response.status_code == 503
    assert "left to <code>tagger beat</code>" in response.text
    (late,) = list_schedules(web_database)
    assert late.next_due <= datetime.now(UTC)


def test_a_run_that_finds_no_photos_is_no_error_and_one_that_cannot_start_shows_the_reason(
    client, web_database, nightly
):
    shutil.rmtree(nightly)
    nightly.mkdir()
    response = press(client, "run")
    assert (response.status_code, "nightly: nothing to do." in response.text) == (200, True)
    nightly.rename(nightly.with_name("away"))
    response = press(client, "run")
    assert response.status_code == 404
    run = list_runs(web_database, "nightly", 10)[0]
    assert run.note
    assert client.get("/api/status").json()["jobs"][0]["state"] == "cancelled"
    assert client.post("/jobs/schedules/run", data={"name": "never"}).status_code == 404


@pytest.mark.parametrize("kind", ["other folder", "every folder", "writes"])
def test_a_schedule_of_the_command_line_that_the_page_may_not_add_is_not_run_or_resumed_there(
    client, web_database, folder, library_folder, kind
):
    backfill = {
        "other folder": Backfill(BackfillScope.ALL, PhotoQuery(under=(folder,)), scan=(library_folder,)),
        "every folder": Backfill(BackfillScope.ALL, PhotoQuery()),
        "writes": Backfill(
            BackfillScope.ALL, PhotoQuery(under=(folder,)), write=MetadataOptions(Target.EMBED)
        ),
    }[kind]
    add_schedule(web_database, "nightly", "0 3 * * *", backfill, Priority.BULK)
    assert press(client, "pause").status_code == 303
    for action in ("run", "resume"):
        refused = press(client, action)
        assert (refused.status_code, str(library_folder) in refused.text) == (403, False)
    assert list_schedules(web_database)[0].paused
    assert client.get("/api/status").json()["jobs"] == []


def test_the_page_shows_the_last_tick_and_warns_when_it_is_late(client, web_database):
    assert client.get("/api/status").json()["last_tick"] is None
    assert "data-last-tick" not in client.get("/jobs").text
    add_schedule(web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.UNTAGGED), Priority.BULK)
    assert "Not checked yet" in client.get("/jobs").text
    record_tick(web_database)
    on_time = client.get("/jobs").text
    assert "Last checked: " in on_time
    assert "Schedules do not run" not in on_time
    assert client.get("/api/status").json()["last_tick"]["is_late"] is False
    execute(web_database, update(ledgers).values(last_tick_at=db_now() - 200))
    assert client.get("/api/status").json()["last_tick"]["is_late"] is True
    late = client.get("/jobs").text
    assert "Schedules do not run" in late
    assert "<code>tagger up</code>" in late


def test_new_photos_of_a_folder_are_tagged_every_night(client, web_database, folder):
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


def test_times_of_schedules_are_in_the_readers_zone(client, web_database, folder):
    backfill = Backfill(BackfillScope.UNTAGGED)
    add_schedule(web_database, "nightly", "0 3 * * *", backfill, Priority.BULK, "UTC")
    add_schedule(web_database, "ends", "0 22 * * *", backfill, Priority.BULK, "UTC", until="06:00")
    client.cookies.set("tagger_zone", "Asia/Tokyo")
    page = client.get("/jobs").text
    assert "every day at 03:00 (UTC)" in page
    assert "until 06:00 (UTC)" in page
    assert re.search(r"next: [^<]*, 12:00<", page)
    assert "At (Asia/Tokyo)" in client.get(f"/jobs/new?folder={folder_key(folder)}").text
    client.post("/jobs/nightly", data={"scan": folder_key(folder), "time": "22:05"})
    assert {each.zone for each in list_schedules(web_database)} == {"UTC", "Asia/Tokyo"}
