"""Jobs and schedules through the API: real folders, a real database, and a real worker with its Redis where work is done."""

import json
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from commands import Terminal, draw_many
from library_photos import LibraryPhotos
from starlette.testclient import TestClient

from tagger import schedules
from tagger.backfill import fill_backfill
from tagger.settings import Settings
from tagger.web.folders import Allowed, key_of
from tagger.web.starting import SCANS_AT_ONCE


@pytest.fixture
def web_settings(web_settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "photos").mkdir()
    return web_settings.model_copy(update={"web_folders": [tmp_path / "photos"]})


@pytest.fixture
def terminal(tmp_path: Path, web_settings: Settings) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.end_embedded_redis()


def start(client: TestClient, *paths: str | Path, code: int = 202, **more: Any) -> Any:
    answer = client.post("/api/jobs", json={"paths": [str(path) for path in paths], **more})
    assert answer.status_code == code, answer.text
    return answer.json()


def wait_for(terminal: Terminal, client: TestClient, job: int) -> dict[str, Any]:
    terminal.wait_until(lambda: client.get(f"/api/jobs/{job}").json()["state"] == "finished")
    return client.get(f"/api/jobs/{job}").json()  # type: ignore[no-any-return]


def test_a_folder_is_tagged_by_a_worker_and_its_failures_are_retried(
    client: TestClient, terminal: Terminal, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", 12)
    for n in range(3):
        (tmp_path / f"photos/broken-{n}.jpg").write_bytes(b"\xff\xd8no photo")
    begun = start(client, tmp_path / "photos")
    assert begun["total"] == 15
    assert "No worker is running" in begun["problem"]
    with terminal.workers(1):
        done = wait_for(terminal, client, begun["job"])
        assert (done["failed"], done["tagged"] + done["unknown"]) == (3, 12)
        assert done == terminal.json("status", str(begun["job"]))

        status = client.get("/api/status").json()
        asked = terminal.json("status")
        assert status["jobs"] == asked["jobs"]
        assert set(status) == {*asked, "older", "problem"}
        assert [worker["name"] for worker in status["workers"]] == [w["name"] for w in asked["workers"]]

        first = client.get(f"/api/jobs/{begun['job']}/failures?limit=2").json()
        rest = client.get(f"/api/jobs/{begun['job']}/failures?limit=2&after={first['next']}").json()
        listed = [*first["failures"], *rest["failures"]]
        assert rest["next"] is None
        assert [{**each, "photo": 0} for each in listed] == [
            {**each, "photo": 0} for each in terminal.json("failures", str(begun["job"]))
        ]
        shown = client.get(f"/api/photos/{listed[0]['photo']}").json()
        assert shown["path"] == listed[0]["path"]

        again = client.post(f"/api/jobs/{begun['job']}/retry", json={"kind": [listed[0]["kind"]]}).json()
        assert wait_for(terminal, client, again["job"])["failed"] == 3
        none = client.post(f"/api/jobs/{begun['job']}/retry", json={"kind": ["gone"]}).json()
        assert none == {"job": None, "total": 0, "kinds": {}, "dry_run": False}


def test_a_job_is_paused_resumed_and_cancelled(client: TestClient, tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    job = start(client, tmp_path / "photos")["job"]
    assert client.post(f"/api/jobs/{job}/pause").json()["state"] == "paused"
    resumed = client.post(f"/api/jobs/{job}/resume").json()
    assert resumed["state"] == "queued"
    assert "no Redis" in resumed["problem"]
    assert client.post(f"/api/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/jobs/{job}/pause").status_code == 409
    assert client.post("/api/jobs/999/cancel").status_code == 404


def test_metadata_is_written_only_when_asked_for(
    client: TestClient, terminal: Terminal, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", 3)
    with terminal.workers(1):
        plain = wait_for(terminal, client, start(client, tmp_path / "photos")["job"])
        assert plain["write_job"] is None
        assert not list((tmp_path / "photos").rglob("*.xmp"))
        asked = wait_for(
            terminal, client, start(client, tmp_path / "photos", again=True, write="sidecar")["job"]
        )
        wait_for(terminal, client, asked["write_job"])
        assert list((tmp_path / "photos").rglob("*.xmp"))
        refused = client.post(f"/api/jobs/{asked['write_job']}/retry")
        assert refused.status_code == 409
    assert "say where" in start(client, tmp_path / "photos", code=422, gps=True)["error"]
    start(client, tmp_path / "photos", code=422, write="everywhere")


# ---------- folders ----------


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


def test_no_trick_leads_to_a_folder_outside(client: TestClient, tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "photos"
    draw_many(outside, 1)
    draw_many(outside / "deeper", 1)
    draw_many(tmp_path / "photos-beside", 1)
    for folder in tricks(inside, outside):
        for address, sent in (
            ("/api/jobs", {"paths": [folder]}),
            ("/api/jobs", {"paths": [str(inside), folder]}),
            ("/api/backfills", {"what": "all", "scan": [folder]}),
            ("/api/backfills", {"what": "all", "under": [folder]}),
            ("/api/schedules", {"name": "n", "cron": "0 3 * * *", "what": "all", "scan": [folder]}),
        ):
            answer = client.post(address, json=sent)
            assert answer.status_code in {403, 422}, (folder, address, answer.text)
            assert str(outside) not in answer.text
        page = client.get("/jobs/new", params={"folder": key_of(Path(folder))} if folder else {})
        assert page.status_code == (403 if folder else 200), folder
    assert client.get("/api/status").json()["jobs"] == []
    assert client.get("/api/schedules").json() == []


@pytest.mark.parametrize("key", ["%%%", "====", "_", "a" * 8193, "\N{SNOWMAN}"])
def test_what_is_no_key_of_a_folder_is_refused(client: TestClient, key: str) -> None:
    assert client.get("/jobs/new", params={"folder": key}).status_code in {403, 414, 422}


def test_files_and_what_is_not_there_are_no_folders(client: TestClient, tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 1)
    start(client, tmp_path / "photos/00/00000.jpg", code=404)
    start(client, tmp_path / "photos/nowhere", code=404)


def test_the_roots_in_the_database_are_allowed_unless_the_operator_named_folders(
    client: TestClient, library_elsewhere: Path
) -> None:
    start(client, library_elsewhere, code=403)
    place = client.app.state.place  # type: ignore[attr-defined]
    place.settings = place.settings.model_copy(update={"web_folders": None})
    start(client, library_elsewhere)
    start(client, library_elsewhere.parent, code=403)


@pytest.fixture
def library_elsewhere(web_database: Any, web_settings: Settings, tmp_path: Path) -> Path:
    LibraryPhotos(web_database, web_settings, tmp_path / "library").file("a.jpg")
    return tmp_path / "library"


def test_a_folder_that_became_a_link_meanwhile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    allowed = Allowed((tmp_path / "in",), is_set=True)

    class Swapped(Allowed):
        def checked(self, folder: Any) -> Path:
            return Path(folder)  # as it was when it was checked

    with pytest.raises(Exception, match="may not work"):
        Swapped(allowed.folders, is_set=True).selection([tmp_path / "in/link"])


def test_names_that_are_no_text_are_entered_and_tagged(client: TestClient, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "photos") + b"/caf\xe9 <script>"))
    draw_many(odd, 2)
    page = client.get("/jobs/new")
    assert "<script>" not in page.text.replace("<script src", "")
    assert key_of(odd) in page.text
    inner = client.get("/jobs/new", params={"folder": key_of(odd)})
    assert inner.status_code == 200
    begun = client.post("/jobs/new", data={"folder": key_of(odd)})
    assert begun.status_code == 303, begun.text
    assert client.get(f"/api{begun.headers['location']}").json()["total"] == 2


def test_a_folder_whose_name_is_no_text_is_found_and_named_by_its_key(
    client: TestClient, tmp_path: Path
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "photos") + b"/caf\xe9"))
    draw_many(odd / "inner", 3)
    top = client.get("/api/folders").json()
    assert top["folder"] is None
    assert [each["path"] for each in top["folders"]] == [str(tmp_path / "photos")]
    inside = client.get("/api/folders", params={"path": str(tmp_path / "photos")}).json()
    assert inside == client.get("/api/folders", params={"key": top["folders"][0]["key"]}).json()
    (found,) = inside["folders"]
    assert os.fsencode(found["path"]) == os.fsencode(odd)
    named = {"key": found["key"]}
    assert [each["path"][-6:] for each in client.get("/api/folders", params=named).json()["folders"]] == [
        "/inner"
    ]
    as_text = client.post(
        "/api/jobs", content=json.dumps({"paths": [str(odd)]}), headers={"content-type": "application/json"}
    )
    assert as_text.status_code == 422
    assert client.post("/api/jobs", json={"paths": [named]}).json()["total"] == 3
    scanned = client.post("/api/backfills", json={"what": "all", "scan": [named], "under": [named]})
    assert scanned.json()["total"] == 3
    begun = client.post("/jobs/backfill", data={"what": "all", "scan": found["key"]})
    assert begun.status_code == 303, begun.text


def test_a_key_leads_nowhere_outside(client: TestClient, tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "photos"
    draw_many(outside, 1)
    for folder in filter(None, tricks(inside, outside)):
        named = {"key": key_of(Path(folder))}
        for answer in (
            client.get("/api/folders", params=named),
            client.get("/api/folders", params={"path": folder}),
            client.post("/api/jobs", json={"paths": [named]}),
            client.post("/api/backfills", json={"what": "all", "under": [named]}),
            client.post("/api/backfills", json={"what": "all", "scan": [named]}),
        ):
            assert answer.status_code in {400, 403, 422}, (folder, answer.text)
            assert str(outside) not in answer.text
    assert client.post("/api/jobs", json={"paths": [{"key": "%%%"}]}).status_code == 403
    assert client.get("/api/status").json()["jobs"] == []


# ---------- backfills and schedules ----------


def test_a_backfill_scans_counts_and_stays_inside_the_allowed_folders(
    client: TestClient, tmp_path: Path, library_elsewhere: Path
) -> None:
    draw_many(tmp_path / "photos", 4)
    dry = client.post("/api/backfills", json={"what": "all", "dry_run": True}).json()
    assert dry == {"job": None, "total": 0, "what": "all", "dry_run": True}
    made = client.post("/api/backfills", json={"what": "untagged", "scan": [str(tmp_path / "photos")]}).json()
    assert made["total"] == 4
    assert made["kind"] == "backfill"
    everything = client.post("/api/backfills", json={"what": "all"}).json()
    assert everything["total"] == 4
    unknown = client.post("/api/backfills", json={"what": "all", "landmark": "nowhere"})
    assert unknown.status_code == 404


def test_a_schedule_is_kept_paused_run_and_removed(client: TestClient, tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 2)
    name = "every / night <b>"
    sent = {"name": name, "cron": "0 3 * * *", "zone": "Europe/Paris", "what": "untagged"}
    made = client.post("/api/schedules", json=sent | {"scan": [str(tmp_path / "photos")]})
    assert made.status_code == 201
    assert client.get("/api/schedules").json() == [made.json()]
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


def test_nobody_waits_for_the_scan_of_a_run(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_many(tmp_path / "photos", 2)
    sent = {"name": "nightly", "cron": "0 3 * * *", "what": "untagged", "scan": [str(tmp_path / "photos")]}
    assert client.post("/api/schedules", json=sent).status_code == 201
    may_go_on = threading.Event()

    def slow(*given: Any) -> Any:
        assert may_go_on.wait(60)
        return fill_backfill(*given)

    monkeypatch.setattr(schedules, "fill_backfill", slow)
    run = client.post("/api/schedules/nightly/run-now").json()
    assert client.get(f"/api/jobs/{run['job']}").json()["state"] == "scanning"
    pressed = client.post("/jobs/schedules/run", data={"name": "nightly"})
    assert pressed.status_code == 409
    assert f"job {run['job']} of an earlier run is still at work" in pressed.text
    may_go_on.set()
    while (job := client.get(f"/api/jobs/{run['job']}").json())["state"] == "scanning":
        time.sleep(0.05)
    assert (job["state"], job["total"]) == ("queued", 2)


def test_a_run_whose_server_ends_is_left_to_the_clock(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_many(tmp_path / "photos", 2)
    sent = {"name": "nightly", "cron": "0 3 * * *", "what": "untagged", "scan": [str(tmp_path / "photos")]}
    client.post("/api/schedules", json=sent)
    place = client.app.state.place  # type: ignore[attr-defined]

    def ended(*given: Any) -> Any:
        place.stopping.set()
        return fill_backfill(*given)

    monkeypatch.setattr(schedules, "fill_backfill", ended)
    answer = client.post("/api/schedules/nightly/run-now")
    assert answer.status_code == 503
    assert "left to the clock" in answer.json()["error"]
    (late,) = client.get("/api/schedules").json()
    assert datetime.fromisoformat(late["next_due"]) <= datetime.now(UTC)


def test_a_run_that_cannot_be_begun_says_why(client: TestClient, tmp_path: Path) -> None:
    draw_many(tmp_path / "photos/in", 2)
    sent = {"name": "nightly", "cron": "0 3 * * *", "what": "all", "scan": [str(tmp_path / "photos/in")]}
    assert client.post("/api/schedules", json=sent).status_code == 201
    (tmp_path / "photos/in").rename(tmp_path / "photos/away")
    answer = client.post("/api/schedules/nightly/run-now")
    assert answer.status_code == 404
    (run,) = client.get("/api/schedules/nightly/history").json()
    assert run["note"] == answer.json()["error"]
    assert client.post("/api/schedules/never/run-now").status_code == 404
    assert client.get("/api/status").json()["jobs"][0]["state"] == "cancelled"


def test_so_many_scans_at_once_are_taken_and_no_more(client: TestClient, tmp_path: Path) -> None:
    starter = client.app.state.place.starter  # type: ignore[attr-defined]
    for _ in range(SCANS_AT_ONCE):
        assert starter._room.acquire(blocking=False)
    refused = start(client, tmp_path / "photos", code=503)
    assert client.post("/api/schedules/nightly/run-now").status_code == 503
    assert "searched already" in refused["error"]
    for _ in range(SCANS_AT_ONCE):
        starter._room.release()
    start(client, tmp_path / "photos")


def test_a_scan_that_found_nothing_says_so(client: TestClient, tmp_path: Path) -> None:
    assert start(client, tmp_path / "photos")["note"] == "no photos were found there"


def test_a_request_of_another_site_starts_nothing(client: TestClient, tmp_path: Path) -> None:
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    for address in ("/jobs/new", "/jobs/backfill", "/jobs/schedules/new", "/jobs/1/cancel"):
        assert client.post(address, headers=foreign, data={"what": "all"}).status_code == 403
    sent = json.dumps({"paths": [str(tmp_path / "photos")]})
    plain = client.post("/api/jobs", content=sent, headers={"content-type": "text/plain"})
    assert plain.status_code == 415
