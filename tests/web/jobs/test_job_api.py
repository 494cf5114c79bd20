"""Jobs through the API: real folders, a real database, the real pipeline."""

from pathlib import Path

from starlette.testclient import TestClient
from support.commands import Terminal, draw_many
from support.page_server import JobClient

from tagger.database.connection import Database
from tagger.ledger.workers import record_heartbeat
from tagger.web.api.job_starter import MAX_SCANS


def test_a_folder_is_tagged_and_its_failures_are_retried(
    client: TestClient, jobs: JobClient, terminal: Terminal, web_database: Database, folder: Path
) -> None:
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


def test_metadata_is_written_only_on_request(client: TestClient, jobs: JobClient, folder: Path) -> None:
    draw_many(folder, 3)
    assert jobs.run(jobs.start(folder)["job"])["write_job"] is None
    assert not list(folder.rglob("*.xmp"))
    tagged = jobs.run(jobs.start(folder, again=True, write="sidecar")["job"])
    jobs.run(tagged["write_job"])
    assert list(folder.rglob("*.xmp"))
    assert client.post(f"/api/jobs/{tagged['write_job']}/retry").status_code == 409
    assert "need write" in jobs.start(folder, status=422, gps=True)["error"]
    jobs.start(folder, status=422, write="everywhere")


def test_a_backfill_scans_counts_and_stays_inside_the_allowed_folders(
    client: TestClient, library_folder: Path, folder: Path
) -> None:
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


def test_the_number_of_scans_is_limited(client: TestClient, jobs: JobClient, folder: Path) -> None:
    starter = client.app.state.job_starter  # type: ignore[attr-defined]
    for _ in range(MAX_SCANS):
        assert starter._scan_slots.acquire(blocking=False)
    refused = jobs.start(folder, status=503)
    assert "scans are running already" in refused["error"]
    for _ in range(MAX_SCANS):
        starter._scan_slots.release()
    jobs.start(folder)
