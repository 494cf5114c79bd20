"""Limits of jobs that are started from the page: their folders, what they write, their number."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient
from support.library_photos import LibraryPhotos
from support.page_server import client_at

from tagger.database import Outcome, Priority, Target
from tagger.database.connection import Database
from tagger.database.tables import job_items, photos, schedules
from tagger.errors import FailureKind, SettingsInvalid
from tagger.jobs.enqueue.schedules import add_schedule, list_runs, run_due_schedules
from tagger.jobs.enqueue.submission import Backfill, BackfillScope, MetadataOptions
from tagger.ledger import create_job, finish_scan
from tagger.ledger.items import fill_job
from tagger.settings import Settings, load_settings
from tagger.web.access import AccessPolicy
from tagger.web.api.job_starter import MAX_OPEN_JOBS, folder_key
from tagger.web.app import create_app


@pytest.fixture
def client_where(web_settings, web_database) -> Callable[..., TestClient]:
    def make(**changes: Any) -> TestClient:
        settings = web_settings.model_copy(update=changes)
        app = create_app(settings, web_database, AccessPolicy("127.0.0.1", 8080))
        return client_at(app)

    return make


@pytest.fixture
def library(web_database, web_settings, tmp_path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "library")
    library.file("a.jpg")
    return library


@pytest.fixture
def allowed(tmp_path) -> Path:
    (tmp_path / "allowed").mkdir()
    return tmp_path / "allowed"


def failed_job(database: Database, settings: Settings, write: MetadataOptions | None = None) -> int:
    """Create a job over all photos, all of which fail, as from the command line; return its number."""
    job = create_job(database, Backfill(BackfillScope.ALL, write=write).new_job(database, settings))
    fill_job(database, job, [photos.c.id > 0])
    finish_scan(database, job)
    with database.write() as connection:
        connection.execute(update(photos).values(failure_kind=FailureKind.EMPTY, failure_job_id=job))
        connection.execute(update(job_items).values(outcome=Outcome.FAILED))
    return job


def test_folders_are_absolute_or_below_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("TAGGER_WEB_FOLDERS", '["~/Pictures", "/scans"]')
    assert load_settings().web_folders == [Path("/home/ada/Pictures"), Path("/scans")]


@pytest.mark.parametrize("folder", ["", "./photos", "~nobody-of-that-name/photos"])
def test_a_relative_folder_is_refused_at_the_start(monkeypatch, folder):
    monkeypatch.setenv("TAGGER_WEB_FOLDERS", f'["/scans", "{folder}"]')
    with pytest.raises(SettingsInvalid, match="TAGGER_WEB_FOLDERS"):
        load_settings()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("folders", [[], [Path("~/Pictures")], [Path("photos")]])
def test_without_allowed_folders_no_backfill_is_started(client_where, folders):
    client = client_where(web_folders=folders)
    assert client.post("/api/backfills", json={"what": "all", "dry_run": True}).status_code == 403
    assert client.post("/api/backfills", json={"what": "all"}).status_code == 403
    nightly = client.post("/jobs/nightly", data={"scan": folder_key(Path("/photos"))})
    assert nightly.status_code == 403
    assert client.get("/api/status").json()["jobs"] == []


def test_failures_are_retried_only_if_all_are_in_allowed_folders(
    client_where, library, web_database, web_settings, allowed
):
    LibraryPhotos(web_database, web_settings, allowed).file("b.jpg")
    job = failed_job(web_database, web_settings)
    inside = client_where(web_folders=[allowed])
    for refused in (inside.post(f"/api/jobs/{job}/retry"), inside.post(f"/jobs/{job}/retry")):
        assert refused.status_code == 403
        assert "TAGGER_WEB_FOLDERS" in refused.text
    both = client_where(web_folders=[allowed, library.root])
    assert both.post(f"/api/jobs/{job}/retry").json()["total"] == 2
    again = client_where().post(f"/api/jobs/{job}/retry")
    assert (again.status_code, again.json()["total"]) == (200, 0)  # the first retry has them already


def test_a_scheduled_folder_that_became_a_link_is_not_followed(
    client_where, library, web_database, web_settings, allowed
):
    (allowed / "sub").mkdir()
    client = client_where(web_folders=None)
    state = client.app.state.app_state
    unlimited = state.settings
    state.settings = unlimited.model_copy(update={"web_folders": [allowed]})
    response = client.post("/jobs/nightly", data={"scan": folder_key(allowed / "sub")})
    assert response.status_code == 303, response.text
    (allowed / "sub").rmdir()
    (allowed / "sub").symlink_to(library.root)
    assert client.post("/jobs/schedules/run", data={"name": "New photos in sub"}).status_code == 403
    state.settings = unlimited  # as beat, which asks nobody
    name = "New photos in sub"
    run = client.post("/jobs/schedules/run", data={"name": name})
    assert run.status_code == 409
    assert f"{name} is now a link" in run.text
    with web_database.write() as connection:
        (asked,) = list_runs(web_database, name, 1)
        connection.execute(update(schedules).values(next_due=asked.due_at - timedelta(days=1)))
    assert list(run_due_schedules(web_database, web_settings)) == []
    notes = [each.note or "" for each in list_runs(web_database, name, 10)]
    assert ["is now a link" in note for note in notes] == [True] * 2
    assert {each["total"] for each in client.get("/api/status").json()["jobs"]} == {0}


@pytest.mark.parametrize(
    ("allowed_target", "offered"),
    [("none", {"none"}), ("sidecar", {"none", "sidecar"}), ("embed", {"none", "sidecar", "embed"})],
)
def test_only_allowed_targets_are_offered_and_accepted(client_where, library, allowed_target, offered):
    client = client_where(web_write=allowed_target)
    page = client.get("/jobs/new").text
    assert {
        target for target in ("none", "sidecar", "embed") if f'<option value="{target}"' in page
    } == offered
    for target in ("none", "sidecar", "embed"):
        answers = [
            client.post("/api/jobs", json={"paths": [str(library.root)], "write": target}),
            client.post("/api/backfills", json={"what": "all", "dry_run": True, "write": target}),
            client.post("/jobs/new", data={"folder": folder_key(library.root), "write": target}),
            client.post("/jobs/nightly", data={"scan": folder_key(library.root), "write": target}),
        ]
        client.post("/jobs/schedules/remove", data={"name": f"New photos in {library.root.name}"})
        codes = [answer.status_code for answer in answers]
        assert codes == ([202, 202, 303, 303] if target in offered else [403] * 4), target
        assert target in offered or all(f"TAGGER_WEB_WRITE={target}" in answer.text for answer in answers)


@pytest.mark.usefixtures("library")
def test_the_page_rewrites_photos_only_if_the_operator_allows_it(client_where, web_database, web_settings):
    embed = MetadataOptions(Target.EMBED)
    add_schedule(
        web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.ALL, write=embed), Priority.BULK, "UTC"
    )
    job = failed_job(web_database, web_settings, embed)
    addresses = (f"/api/jobs/{job}/retry", "/jobs/schedules/run", f"/jobs/{job}/retry")
    form = {"name": "nightly"}
    for address in addresses:
        refused = client_where().post(address, data=form if "schedules" in address else None)
        assert refused.status_code == 403
        assert "TAGGER_WEB_WRITE=embed" in refused.text
    allowed = client_where(web_write="embed")
    answers = [allowed.post(each, data=form if "schedules" in each else None) for each in addresses]
    assert [answer.status_code for answer in answers] == [200, 303, 303]


@pytest.mark.usefixtures("library")
def test_no_job_is_started_while_too_many_are_open(client_where, web_database, web_settings):
    job = failed_job(web_database, web_settings)
    new = Backfill(BackfillScope.ALL).new_job(web_database, web_settings)
    opened = [create_job(web_database, new) for _ in range(MAX_OPEN_JOBS - 1)]
    add_schedule(web_database, "nightly", "0 3 * * *", Backfill(BackfillScope.ALL), Priority.BULK, "UTC")
    client = client_where()
    for full in (
        client.post("/api/backfills", json={"what": "all"}),
        client.post("/jobs/schedules/run", data={"name": "nightly"}),
        client.post(f"/api/jobs/{job}/retry"),
    ):
        assert full.status_code == 503
        assert "jobs are open already" in full.text
    assert client.post(f"/api/jobs/{opened[0]}/cancel").status_code == 200
    assert client.post("/api/backfills", json={"what": "all"}).status_code == 202
