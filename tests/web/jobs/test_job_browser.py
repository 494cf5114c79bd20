"""The pages of jobs in a browser: updated while a worker runs, and correct after failures."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx2 as httpx
import pytest
from playwright.sync_api import Error, Page, Route, expect
from support.browser import PHONE, axe_findings, open_page, serving
from support.commands import draw, draw_many
from support.job_runs import process_job
from support.page_server import JobClient, served

from tagger.database.connection import Database
from tagger.ledger.workers import record_heartbeat, remove_worker, resume_suspended_jobs
from tagger.web.api import jobs

SET_HIDDEN = """(value) => {
  Object.defineProperty(document, "hidden", { value, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(autouse=True)
def fast_events(monkeypatch) -> None:
    """The server reads the jobs ten times a second instead of once."""
    monkeypatch.setattr(jobs, "POLL_S", 0.1)


def start_folder(page: Page, name: str | None = None) -> int:
    page.goto("/jobs/new")
    if name:
        page.get_by_role("link", name=name).click()
    page.get_by_role("button", name="and its subfolders").click()
    page.wait_for_url("**/jobs/*")
    return int(page.url.rsplit("/", 1)[1])


def show_placeholders_quietly(page: Page) -> None:
    """Serve thumbnails with status 200: the browser reports every other status as an error."""

    def respond(route: Route) -> None:
        with suppress(Error):  # the page was left meanwhile
            route.fulfill(response=route.fetch(), status=200)

    page.route("**/thumbnail?*", respond)


def test_every_view_shows_the_progress_of_running_jobs(browser, client, web_settings, web_database, folder):
    draw_many(folder, 2)
    jobs = JobClient(client, web_database, web_settings)
    with serving(web_settings) as address, open_page(browser, f"{address}/places", base=address) as page:
        line = page.locator("[data-jobs-progress]")
        expect(line).to_be_hidden()
        first = jobs.start(folder)["job"]
        expect(line).to_have_text("1 job, queued")
        expect(line.get_by_role("link")).to_have_attribute("href", f"/jobs/{first}")
        expect(page.locator("[data-jobs-announcement]")).to_contain_text(re.compile("Job: (scanning|queued)"))
        assert axe_findings(page) == []
        second = jobs.start(folder, again=True)["job"]
        expect(line).to_have_text("2 jobs, 0%")
        expect(line.get_by_role("link")).to_have_attribute("href", "/jobs")
        page.goto("/map")
        expect(line).to_have_text("2 jobs, 0%")
        process_job(web_database, web_settings, first)
        expect(page.locator("[data-jobs-announcement]")).to_contain_text("Job: finished")
        process_job(web_database, web_settings, second)
        expect(line).to_be_hidden()
        # A hidden page holds no connection.
        with page.expect_event("requestfailed", lambda request: request.url.endswith("/api/events")):
            page.evaluate(SET_HIDDEN, True)
        with page.expect_request("**/api/events"):
            page.evaluate(SET_HIDDEN, False)


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@contextmanager
def active_worker(database: Database, name: str) -> Iterator[None]:
    """Record that a worker with this name runs. The test processes chunks itself."""
    record_heartbeat(database, name, "cpu")
    try:
        yield
    finally:
        remove_worker(database, name)


def test_a_job_is_followed_paused_resumed_retried_and_cancelled(
    browser, web_settings, web_database, jobs, folder
):
    draw_many(folder / "<img src=x>", 2)
    for n in range(2):
        (folder / f"<img src=x>/<b>broken-{n}.jpg").write_bytes(b"\xff\xd8no photo")
    with serving(web_settings) as address, open_page(browser, address, screen=PHONE, base=address) as page:
        show_placeholders_quietly(page)
        job = start_folder(page, "<img src=x>")
        page.goto("/jobs")
        card = page.locator(f'[data-job="{job}"]')
        expect(card.locator("[data-field=done]")).to_have_text("0 of 4 photos")
        expect(page.get_by_text("Jobs are recorded and wait for one")).to_be_visible()
        card.get_by_role("button", name="Pause").click()
        expect(card.locator("[data-field=state]")).to_have_text("paused")
        expect(page).to_have_url(f"{address}/jobs")
        assert fits(page)
        with active_worker(web_database, "tagger-1@studio"):
            expect(page.locator("#workers")).to_contain_text("tagger-1@studio")
            card.get_by_role("button", name="Resume").click()
            expect(card.get_by_role("button", name="Pause")).to_be_visible()
            jobs.run(job)
            expect(page.locator("#recent-title")).to_be_visible()
            done = page.locator(f'#live [href="/jobs/{job}"]')  # another link has the progress
            expect(done).to_contain_text("2 failed")
            done.click()
            expect(page.locator("[data-number=failed]")).to_have_text("2")
            expect(page.get_by_role("link", name="<b>broken-0.jpg")).to_be_visible()
            assert axe_findings(page) == []
            assert fits(page)
            page.get_by_role("button", name="Retry 2 photos").click()
            page.wait_for_url(f"**/jobs/{job + 1}")
            expect(page.locator("[data-field=done]")).to_have_text("0 of 2 photos")
            page.locator("summary", has_text="Cancel").click()
            page.get_by_role("button", name="permanently").click()
            expect(page.locator("[data-field=state]")).to_have_text("cancelled")
            expect(page.locator("[data-field=note]")).to_have_text("by request")


@pytest.mark.slow
def test_a_menu_stays_open_while_the_job_changes(browser, web_settings, jobs, folder):
    draw_many(folder, 3)
    job = jobs.start(folder)["job"]
    with serving(web_settings) as address, open_page(browser, f"{address}/jobs/{job}") as page:
        page.locator("summary", has_text="Cancel").click()
        cancel = page.get_by_role("button", name="permanently")
        cancel.focus()
        assert httpx.post(f"{address}/api/jobs/{job}/pause").status_code == 200
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        expect(cancel).to_be_focused()
        cancel.click()
        expect(page.locator("[data-field=state]")).to_have_text("cancelled")


@pytest.mark.slow
def test_a_form_keeps_what_was_chosen(browser, web_settings, folder):
    draw_many(folder / "inner", 2)
    with (
        serving(web_settings) as address,
        open_page(browser, f"{address}/jobs", screen=PHONE, base=address) as page,
    ):
        page.goto("/jobs/new")
        page.get_by_label("Also photos that are classified already").check()
        page.get_by_role("link", name="inner").click()
        expect(page.locator("#folders [aria-current]")).to_be_focused()
        expect(page.get_by_role("button", name="and its subfolders")).to_contain_text("inner")
        expect(page.get_by_label("Also photos that are classified already")).to_be_checked()
        assert "?folder=" in page.url


def test_open_pages_show_the_landmarks_and_photos_that_a_job_finds(browser, web_settings, jobs, folder):
    draw(folder / "a.jpg", 0)
    jobs.run(jobs.start(folder)["job"])
    with (
        serving(web_settings) as address,
        open_page(browser, f"{address}/places") as page,
        open_page(browser, f"{address}/photos?any_rank=1") as photos,
    ):
        covers, tiles = page.locator("#cards .cover"), photos.locator("[data-photo]")
        expect(covers).to_have_count(1)
        expect(tiles).to_have_count(1)
        draw(folder / "b.jpg", 1)
        jobs.run(jobs.start(folder)["job"])
        expect(covers).to_have_count(2, timeout=20_000)
        expect(covers.locator("img")).to_have_count(2)
        expect(page.locator("#summary")).to_have_text("2 landmarks")
        photos.get_by_role("button", name="Show 1 new photo").click()
        expect(tiles).to_have_count(2)


def test_a_job_waits_for_a_folder_that_is_not_available(client, web_database, tmp_path, jobs, folder):
    draw_many(folder, 2)
    job = jobs.start(folder)["job"]
    folder.rename(tmp_path / "unmounted")
    process_job(web_database, jobs.settings, job)
    page = client.get(f"/jobs/{job}").text
    assert "waiting for the folder “photos”" in page
    german = client.get(f"/jobs/{job}", headers={"Accept-Language": "de"}).text
    assert "wartet auf den Ordner „photos“" in german
    assert re.search(r'data-number="failed"[^>]*>0<', page)
    (tmp_path / "unmounted").rename(folder)
    resume_suspended_jobs(web_database, [job])
    jobs.run(job)
    over = client.get(f"/jobs/{job}").text
    assert re.search(r'data-number="failed"[^>]*>0<', over)
    assert 'href="/landmarks/' in over  # what it found


def test_a_page_reconnects_after_a_restart_of_the_server(browser, web_settings, web_database, jobs, folder):
    draw(folder / "a.jpg", 0)
    # The browser reports refused connections, so its errors are not checked here.
    page = browser.new_page()
    disconnected = page.locator("[data-connection]")
    with served(web_settings, web_database) as port:
        page.goto(f"http://127.0.0.1:{port}/jobs")
        expect(page.get_by_text("No jobs yet")).to_be_visible()
    expect(disconnected).to_be_visible()
    job = jobs.start(folder)["job"]
    with served(web_settings, web_database, port=port):
        expect(disconnected).to_be_hidden()
        expect(page.locator(f'[data-job="{job}"] [data-field=done]')).to_have_text("0 of 1 photo")
    page.close()
