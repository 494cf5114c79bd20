"""The pages of jobs as the server renders them; they work without JavaScript."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rig.servers import free_port
from support.commands import draw, draw_many
from support.page_server import TOKEN, change_settings

from tagger.database import Priority
from tagger.errors import FailureKind
from tagger.jobs.enqueue.job_texts import worker_text
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.ledger.job_control import remove_old_items
from tagger.ledger.workers import WorkerStatus
from tagger.metadata import RefusalKind
from tagger.query.counts import landmark_counts
from tagger.query.options import PhotoQuery
from tagger.web.api.job_starter import WriteMode, folder_key
from tagger.web.errors import FAILURES as FAILURE_TEXTS, REFUSALS
from tagger.web.pages.jobs import FAILURES_PER_PAGE
from tagger.web.templating import environment

FAILURES = FAILURES_PER_PAGE + 5


def test_an_empty_page_suggests_what_to_do_and_invalid_forms_are_refused(client):
    page = client.get("/jobs").text
    assert "No jobs yet" in page
    assert "Choose a folder" in page
    assert "tagger up" in page
    assert "No schedules yet" in page
    assert client.post("/jobs/new", data={"folder": "Lw", "write": "none"}).status_code == 403
    assert client.post("/jobs/new", data={"folder": "Lw", "write": "everywhere"}).status_code == 422
    assert client.post("/jobs/1/explode").status_code == 422
    assert client.post("/jobs/1/pause").status_code == 404
    assert client.get("/jobs/12").status_code == 404


def test_folders_of_this_computer_are_chosen_on_the_page_with_consent(client, tmp_path):
    change_settings(client, web_folders=None)
    draw_many(tmp_path / "mine", 2)
    assert "Choose a folder" in client.get("/jobs").text
    assert "may read this folder" in client.get("/jobs/new").text
    mine = {"address": str(tmp_path / "mine"), "consent": "true"}
    refused = {"mine": "Write the whole path", "/nowhere/at/all": "no file or folder at /nowhere/at/all"}
    for path, reason in refused.items():
        answer = client.post("/jobs/new", data=mine | {"address": path})
        assert (answer.status_code, reason in answer.text) == (409, True), path
        assert f'value="{path}"' in answer.text
    assert client.post("/jobs/new", data={**mine, "consent": ""}).status_code == 403
    draw_many(tmp_path / "others" / "inner", 1)
    others = folder_key(tmp_path / "others")
    browsed = client.get("/jobs/new", params={"folder": others}).text
    assert folder_key(tmp_path / "others" / "inner") in browsed
    started = client.post("/jobs/new", data=mine)
    assert started.headers["location"] == "/jobs/1"
    assert client.get("/api/jobs/1").json()["total"] == 2
    assert "may read this folder" not in client.get("/jobs/new").text
    more = {"folder": others, "consent": "true"}
    assert client.post("/jobs/new", data=more).headers["location"] == "/jobs/2"
    assert f"{tmp_path}/others" in client.get("/jobs/new").text
    change_settings(client, web_folders=(tmp_path / "mine",))
    assert "Another folder" not in client.get("/jobs/new").text  # the operator has named all
    assert client.get("/jobs/new", params={"folder": others}).status_code == 403
    assert client.post("/jobs/new", data=more).status_code == 403


def test_on_another_computer_admins_choose_folders_and_others_read_what_to_ask_for(
    client_with_token, web_database, tmp_path, monkeypatch
):
    home = tmp_path / "ada"
    (home / "Bilder").mkdir(parents=True)
    (home / "Desktop").mkdir()
    monkeypatch.setenv("HOME", str(home))
    client = client_with_token
    change_settings(client, web_folders=None)
    client.headers["authorization"] = f"Bearer {TOKEN}"
    page = client.get("/jobs/new").text
    assert "Folder on the server" in page
    found = re.findall(r'title="([^"]*)"', page)
    assert [path for path in found if path.startswith(str(home))] == [str(home / "Bilder"), str(home)]
    assert "This page may read" in page


def test_a_job_that_is_refused_keeps_what_was_chosen(client, folder):
    chosen = {"folder": folder_key(folder), "again": "true"}
    folder.rmdir()
    page = client.post("/jobs/new", data=chosen)
    assert page.status_code == 409
    assert 'name="again" value="true" checked' in page.text


def test_a_job_that_is_over_says_how_long_it_took_and_what_was_left_out(client, jobs, folder):
    draw_many(folder, 1)
    (folder / "film.mp4").touch()
    job = jobs.start(folder)["job"]
    assert "Took" not in client.get(f"/jobs/{job}").text
    assert jobs.run(job)["other_files"] == 1
    page = client.get(f"/jobs/{job}").text
    assert re.search(r"<dt>Took</dt><dd>\d+\u202f(s|min)</dd>", page)
    assert "<dt>Left out</dt><dd>1 file by extension</dd>" in page
    assert re.search(r"in \d+\u202f(s|min)", client.get("/jobs").text)
    empty = client.post("/api/backfills", json={"what": "untagged"}).json()["job"]
    assert "This job had no photos" in client.get(f"/jobs/{empty}").text


def test_jobs_that_wait_for_a_worker_say_whether_one_is_starting(client, jobs, folder):
    draw_many(folder, 1)
    state = client.app.state.app_state
    for has_own_worker, text in ((True, "The worker is starting"), (False, "No worker is running")):
        state.has_own_worker = has_own_worker
        started = jobs.start(folder, again=True)
        assert text in started["problem"]
        for address in ("/jobs", f"/jobs/{started['job']}"):
            page = client.get(address).text
            assert text in page
            assert ("tagger up" in page) is not has_own_worker
    # No worker starts while Redis is away.
    state.has_own_worker = True
    change_settings(client, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    for address in ("/jobs", f"/jobs/{started['job']}"):
        assert "worker is starting" not in client.get(address).text
    assert "Redis does not respond" in client.get(f"/jobs/{started['job']}").text


def test_pages_name_no_commands_where_the_page_can_do_it(client, jobs, folder):
    draw_many(folder, 1)
    client.app.state.app_state.has_own_worker = True  # no hint at `tagger worker`
    job = jobs.start(folder)["job"]
    jobs.run(job)
    assert f"Job {job} is over already" in client.post(f"/jobs/{job}/pause").text
    for address in ("/photos/999", "/photos?country=Nowhere", "/trips/none", "/jobs/999"):
        page = client.get(address)
        assert page.status_code in {400, 404}
        assert "<code>" not in page.text.partition("<main")[2]
    asked = client.post(f"/api/jobs/{job}/pause", headers={"HX-Request": "true"})
    assert asked.json()["error"] == f"Job {job} is over already."
    assert "tag its folders again" in client.post(f"/api/jobs/{job}/pause").json()["error"]


def test_a_cancelled_job_has_no_buttons(client, jobs, folder):
    draw_many(folder, 3)
    job = jobs.start(folder)["job"]
    assert client.post(f"/jobs/{job}/cancel").status_code == 303
    page = client.get(f"/jobs/{job}").text
    assert "by request" in page
    assert 'data-number="cancelled">3<' in page
    assert "/resume" not in page
    assert "No photo of this job fails now" not in page
    late = client.post(f"/jobs/{job}/resume")
    assert late.status_code == 409
    assert "is over already" in late.text


def test_a_job_shows_its_folders_and_scope(client, tmp_path, folder):
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/<i>caf\xe9 \xc3\xa9"))
    draw_many(odd, 1)
    tagged = client.post("/jobs/new", data={"folder": folder_key(odd)}).headers["location"]
    assert f"{tmp_path}/photos/&lt;i&gt;caf\\xe9 é" in client.get(tagged).text.replace("<wbr>", "")
    client.post("/api/backfills", json={"what": "all", "scan": [{"key": folder_key(odd)}]})
    jobs = client.get("/jobs").text.replace("<wbr>", "")
    assert "Tag &lt;i&gt;caf\\xe9 é" in jobs
    assert "All photos, in " in jobs
    assert "after scanning &lt;i&gt;caf\\xe9 é" in jobs


def test_a_finished_job_leads_to_its_photos_while_its_items_are_kept(client, jobs, folder, web_database):
    draw_many(folder, 3)
    job = jobs.start(folder)["job"]
    assert f"/photos?job={job}" not in client.get(f"/jobs/{job}").text
    jobs.run(job)
    page = client.get(f"/jobs/{job}").text
    assert f'href="/photos?job={job}"' in page
    assert "Show 3 photos" in page
    grid = client.get(f"/photos?job={job}").text
    assert grid.count('class="photo-tile"') == 3
    panel = client.get(f"/photos/filter?job={job}").text
    assert f'<input type="hidden" name="job" value="{job}">' in panel
    assert f"Remove filter job {job}" in grid
    assert len(client.get(f"/api/photos?job={job}").json()["photos"]) == 3
    assert "There is no job 99" in client.get("/photos?job=99").text
    assert remove_old_items(web_database, datetime.now(UTC) + timedelta(days=1)) == 3
    assert f"/photos?job={job}" not in client.get(f"/jobs/{job}").text
    assert client.get(f"/api/jobs/{job}").json()["items_removed"] == 3


def test_a_job_says_of_how_many_refused_photos_the_tags_are_in_sidecars(client, jobs, folder):
    change_settings(client, web_write=WriteMode.EMBED)
    draw(folder / "tower.gif", 0)
    draw(folder / "tower.jpg", 0)
    tagged = jobs.run(jobs.start(folder, write="embed")["job"])
    assert "in a sidecar" not in client.get(f"/jobs/{tagged['job']}").text
    written = jobs.run(tagged["write_job"])
    assert (written["written"], written["refused"]) == (1, 1)
    assert "Its tags are in a sidecar." in client.get(f"/jobs/{written['job']}").text


def test_jobs_and_schedules_name_their_landmark(client, web_database, jobs, folder):
    draw_many(folder, 1)
    jobs.run(jobs.start(folder)["job"])
    found = landmark_counts(web_database)[0]
    named = Backfill(BackfillScope.OUTDATED, PhotoQuery(landmark=(found.landmark,)))
    add_schedule(web_database, "nightly", "0 3 * * *", named, Priority.BULK, "UTC")
    started = client.post("/api/backfills", json={"what": "all", "landmark": found.landmark}).json()
    page = client.get("/jobs").text
    assert f"All photos, {found.name}" in page
    assert f"another model, {found.name}" in page
    assert f", {found.name}" in client.get(f"/jobs/{started['job']}").text


def test_older_jobs_are_listed_page_by_page(client, jobs, folder, monkeypatch):
    monkeypatch.setattr("tagger.web.pages.jobs.JOBS_SHOWN", 2)
    monkeypatch.setattr("tagger.web.pages.jobs.OLDER_PER_PAGE", 2)
    draw_many(folder, 1)
    numbers = [jobs.start(folder)["job"] for _ in range(6)]
    for number in numbers[1:]:
        jobs.run(number)  # the first one stays open
    pages = [
        client.get(address).text for address in ("/jobs", "/jobs/older?before=5", "/jobs/older?before=3")
    ]
    listed = [re.findall(r'class="job-line" href="/jobs/(\d+)"', page) for page in pages]
    assert listed == [["6", "5"], ["4", "3"], ["2"]]
    assert "/jobs/older?before=5" in pages[0]
    assert "/jobs/older?before=3" in pages[1]
    assert "/jobs/older?before=" not in pages[2]


def test_a_job_lists_only_the_failures_of_photos_it_has_processed(client, terminal, folder):
    (folder / "none.jpg").touch()
    (folder / "letter.jpg").write_text("Dear Ada")
    terminal.run("tag", folder, code=3)
    first = client.get("/jobs/1").text
    assert first.count('class="failure-name"') == 2
    assert "Tag photos" in first
    assert "not an image" in first
    assert "These photos will fail again until" in first
    (folder / "none.jpg").unlink()
    draw(folder / "none.jpg", 0)
    terminal.run("tag", folder, code=3)
    fixed = client.get("/jobs/1").text
    assert "1 photo that failed in this job no longer fails." in fixed
    again = client.post("/jobs/1/retry", data={"kind": "not-an-image"}).headers["location"]
    assert "failure-name" not in client.get(again).text
    client.post(f"{again}/cancel")
    assert "Retry 1 photo" in client.get(again).text


def test_failures_are_shown_page_by_page_each_of_them_once(client, jobs, folder):
    for n in range(FAILURES):
        (folder / f"broken-{n}.jpg").write_bytes(b"\xff\xd8no photo")
    job = jobs.run(jobs.start(folder)["job"])["job"]
    assert f"Retry {FAILURES} photos" in client.get(f"/jobs/{job}").text
    names: list[str] = []
    pages, address = 0, f"/jobs/{job}"
    while address:
        page = client.get(address).text
        pages += 1
        names += re.findall(r'class="failure-name"[^>]*>([^<]+)<', page)
        address = next(iter(re.findall(r'href="([^"]+)" rel="next"', page)), "")
    assert len(names) == len(set(names)) == FAILURES
    assert pages == -(-FAILURES // FAILURES_PER_PAGE)


def test_failures_and_workers_have_texts():
    assert set(FAILURE_TEXTS) == set(FailureKind)
    assert set(REFUSALS) == {*FailureKind, *RefusalKind, "disk-full"}
    meanings = environment().get_template("failure.html").module
    assert set(meanings.failures) == {*FailureKind, "unavailable"}
    assert set(meanings.refusals) == {*RefusalKind, "disk-full"}
    started_at = datetime.now(UTC)

    def text(chunks: int, waits_for: str | None, photos_per_second: float | None) -> str:
        message = None
        return worker_text(
            WorkerStatus("w", "cpu", started_at, 1.0, chunks, waits_for, message, photos_per_second)
        )

    assert text(0, None, 12.5) == "idle"
    assert text(1, None, None) == "working"
    assert text(2, None, 12.5) == "working, 12.5 photos/s"
    assert text(1, "on battery", 0.0) == "working, waits: on battery"
