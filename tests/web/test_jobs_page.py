"""The pages of jobs in a real browser: live while a real worker works, right without script, usable by everybody."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Screen, axe_findings, open_browser, open_page, serving
from commands import Terminal, draw, draw_many
from playwright.sync_api import Browser, Error, Page, Route, expect
from starlette.testclient import TestClient

from tagger.errors import FailureKind
from tagger.ledger.progress import JobProgress
from tagger.metadata.refusals import RefusalKind
from tagger.settings import Settings
from tagger.tables import JobState
from tagger.web.folders import key_of
from tagger.web.pages.job_failures import KINDS, REFUSALS
from tagger.web.pages.job_words import in_hand, number, shown, time_left

SCREENS = pytest.mark.parametrize("screen", [PHONE, DESKTOP], ids=["phone", "desktop"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def web_settings(web_settings: Settings, tmp_path: Path) -> Settings:
    (tmp_path / "photos").mkdir()
    return web_settings.model_copy(update={"web_folders": [tmp_path / "photos"]})


@pytest.fixture
def terminal(tmp_path: Path, web_settings: Settings) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    yield made
    made.end_embedded_redis()


def start_folder(page: Page, name: str | None = None) -> int:
    page.goto("/jobs/new")
    if name:
        page.get_by_role("link", name=name).click()
    page.get_by_role("button", name="and all in it").click()
    page.wait_for_url("**/jobs/*")
    return int(page.url.rsplit("/", 1)[1])


def show_placeholders_quietly(page: Page) -> None:
    """A picture that stands for one that cannot be shown comes with an error's status, which the browser notes."""

    def answer(route: Route) -> None:
        with suppress(Error):  # the page has gone on meanwhile
            route.fulfill(response=route.fetch(), status=200)

    page.route("**/thumbnail?*", answer)


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


# ---------- as it comes from the server ----------


def test_an_empty_page_says_what_to_do(client: TestClient) -> None:
    page = client.get("/jobs").text
    assert "No jobs yet" in page
    assert "Choose a folder" in page
    assert "tagger worker" in page
    assert "No schedule yet" in page


def test_where_no_folder_is_allowed_the_page_says_how_to_allow_one(client: TestClient) -> None:
    place = client.app.state.place  # type: ignore[attr-defined]
    place.settings = place.settings.model_copy(update={"web_folders": None})
    for address in ("/jobs", "/jobs/new"):
        assert "TAGGER_WEB_FOLDERS" in client.get(address).text


def test_a_schedule_that_cannot_be_kept_says_why_and_keeps_what_was_typed(client: TestClient) -> None:
    sent = {"name": "<b>nightly", "cron": "every night", "what": "outdated"}
    answer = client.post("/jobs/schedules/new", data=sent)
    assert answer.status_code == 422
    assert "no cron expression" in answer.text
    assert "&lt;b&gt;nightly" in answer.text
    assert client.post("/jobs/schedules/new", data=sent | {"taken_after": "soon"}).status_code == 422


def test_what_a_form_does_not_have_is_refused(client: TestClient) -> None:
    assert client.post("/jobs/new", data={"folder": "Lw", "write": "none"}).status_code == 403
    assert client.post("/jobs/backfill", data={"what": "all", "write": "everywhere"}).status_code == 422
    assert client.post("/jobs/1/explode").status_code == 422
    assert client.post("/jobs/1/pause").status_code == 404
    assert client.get("/jobs/12").status_code == 404


def test_all_of_it_works_without_script(client: TestClient, tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 2)
    begun = client.post("/jobs/backfill", data={"what": "untagged", "taken_after": "2020-01-01"})
    assert begun.status_code == 303
    location = begun.headers["location"]
    assert client.get(location).status_code == 200
    over = client.post(f"{location}/cancel")
    assert over.status_code == 409
    assert "finished already" in over.text


def test_a_job_says_what_it_is_about_and_what_belongs_to_it(client: TestClient, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "photos") + b"/<i>caf\xe9 \xc3\xa9"))
    draw_many(odd, 1)
    tagged = client.post("/jobs/new", data={"folder": key_of(odd)}).headers["location"]
    assert f"{tmp_path}/photos/&lt;i&gt;caf? é" in client.get(tagged).text.replace("<wbr>", "")
    client.post("/jobs/backfill", data={"what": "all", "scan": key_of(odd)})
    jobs = client.get("/jobs").text.replace("<wbr>", "")
    assert "Tags &lt;i&gt;caf? é" in jobs
    assert f"{tmp_path}/photos/&lt;i&gt;caf? é" in jobs
    assert "All photos, in " in jobs
    assert "after a scan of " in jobs


def test_a_form_says_when_what_is_typed_would_run(client: TestClient) -> None:
    assert "At 03:00 every day, next on " in client.get("/jobs/schedules/new").text
    due = "/jobs/schedules/due"
    assert "At 03:00 on Monday, next on Monday, " in client.get(due, params={"cron": " 0 3 * * 1 "}).text
    assert "no cron expression" in client.get(due, params={"cron": "<b>"}).text
    unknown = client.get(due, params={"cron": "0 3 * * 1", "zone": "Nowhere"})
    assert "there is no time zone" in unknown.text


def test_a_job_lists_only_the_failures_that_it_came_to(
    client: TestClient, terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "photos/none.jpg").touch()
    (tmp_path / "photos/letter.jpg").write_text("Dear Ada")
    terminal.run("tag", tmp_path / "photos", code=3)
    first = client.get("/jobs/1").text
    assert first.count('class="failure-name"') == 2
    assert "Tags photos" in first
    assert "not an image" in first
    assert "They fail again until something is done" in first
    (tmp_path / "photos/none.jpg").unlink()
    draw(tmp_path / "photos/none.jpg", 0)
    terminal.run("tag", tmp_path / "photos", code=3)
    mended = client.get("/jobs/1").text
    assert "Of the 2 that failed, 1 can be looked at by now." in mended
    again = client.post("/jobs/1/retry", data={"kind": "not-an-image"}).headers["location"]
    waits = client.get(again).text
    assert "1 photo of it fails since" in waits
    assert "it has not come to it yet" in waits
    assert "failure-name" not in waits
    client.post(f"{again}/cancel")
    ended = client.get(again).text
    assert "it ended before it came to it" in ended
    assert "Retry 1 photo" in ended


def test_a_new_schedule_looks_for_new_photos_where_there_is_one_folder(client: TestClient) -> None:
    assert re.search(r'<option value="[^"]+" selected>/', client.get("/jobs/schedules/new").text)


def test_a_job_without_photos_says_so(client: TestClient) -> None:
    job = client.post("/api/backfills", json={"what": "untagged"}).json()["job"]
    page = client.get(f"/jobs/{job}").text
    assert "There was no photo to look at" in page
    assert "No photo of this job fails now" not in page


def test_every_kind_of_failure_and_refusal_has_words() -> None:
    assert set(FailureKind) <= set(KINDS)
    assert set(FailureKind) | set(RefusalKind) == set(REFUSALS)


@pytest.mark.parametrize(("chunks", "words"), [(0, "idle"), (1, "1 chunk in hand"), (2, "2 chunks in hand")])
def test_a_worker_is_idle_or_has_chunks_in_hand(chunks: int, words: str) -> None:
    assert in_hand(chunks) == words


def test_a_paused_job_claims_no_speed() -> None:
    now = datetime.now(UTC)
    numbers = {field.name: 0 for field in fields(JobProgress)}
    times = {"created_at": now, "started_at": now, "finished_at": None}
    running = JobProgress(
        **numbers
        | {"kind": "tag", "state": JobState.RUNNING, "runner": "workers", "priority": "bulk"}
        | {
            "model": "tiny",
            "note": None,
            "total": 9,
            "queued": 9,
            "photos_per_second": 8.0,
            "eta_seconds": 60,
        }
        | times
    )
    assert shown(running, {}).live.rate == "8.0 photos/s"
    assert shown(replace(running, state=JobState.QUEUED), {}).tone == ""
    paused = shown(replace(running, state=JobState.PAUSED), {})
    assert (paused.live.rate, paused.live.left, paused.state_words) == ("", "", "paused")
    pausing = shown(replace(running, state=JobState.PAUSED, running=2), {})
    assert pausing.state_words == "pausing, 2 photos in hand"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1\u202fs"), (89, "89\u202fs"), (91, "2\u202fmin"), (5400, "2\u202fh"), (200_000, "2 days")],
)
def test_time_left_is_said_roughly(seconds: float, words: str) -> None:
    assert time_left(seconds) == words


# ---------- in a browser ----------


@SCREENS
def test_a_job_is_followed_paused_resumed_and_its_failures_are_shown(
    browser: Browser, web_settings: Settings, terminal: Terminal, tmp_path: Path, screen: Screen
) -> None:
    draw_many(tmp_path / "photos/<img src=x>", 40)
    for n in range(2):
        (tmp_path / f"photos/<img src=x>/<b>broken-{n}.jpg").write_bytes(b"\xff\xd8no photo")
    with serving(web_settings) as address, open_page(browser, address, screen=screen, base=address) as page:
        show_placeholders_quietly(page)
        job = start_folder(page, "<img src=x>")
        page.goto("/jobs")
        card = page.locator(f'[data-job="{job}"]')
        expect(card.locator("[data-field=done]")).to_have_text("0 of 42 photos")
        expect(page.get_by_text("No worker is running")).to_be_visible()
        card.get_by_role("button", name="Pause").click()
        expect(card.locator("[data-field=state]")).to_have_text("paused")
        expect(page).to_have_url(f"{address}/jobs")
        assert fits(page)
        with terminal.workers(1):
            expect(page.locator("#workers")).to_contain_text("tagger-", timeout=30_000)
            card.get_by_role("button", name="Resume").click()
            expect(page.locator("#recent-title")).to_be_visible(timeout=60_000)
            expect(page.get_by_role("link", name=f"Job {job}")).to_contain_text("2 failed")
            page.get_by_role("link", name=f"Job {job}").click()
            expect(page.locator("[data-number=failed]")).to_have_text("2")
            expect(page.get_by_role("link", name="<b>broken-0.jpg")).to_be_visible()
            assert screen is DESKTOP or not axe_findings(page)
            assert fits(page)
            page.get_by_role("button", name="Retry 2 photos").click()
            page.wait_for_url(f"**/jobs/{job + 1}")
            expect(page.locator("[data-field=state]")).to_have_text("finished", timeout=60_000)


def test_numbers_change_in_place_while_a_worker_works(
    browser: Browser, web_settings: Settings, terminal: Terminal, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", 1200)
    with serving(web_settings) as address, open_page(browser, address, base=address) as page:
        job = start_folder(page)
        page.goto("/jobs")
        with terminal.workers(1) as workers:
            terminal.wait_until(lambda: terminal.progress(job).done > 0, every_s=0.01)
            with terminal.frozen(workers):
                done = terminal.progress(job).done
                assert 0 < done < 1200
                numbers = page.locator(f'[data-job="{job}"]')
                expect(numbers.locator("[data-field=state]")).to_have_text("running")
                shown = number(terminal.progress(job).done)
                expect(numbers.locator("[data-field=done]")).to_have_text(f"{shown} of {number(1200)} photos")
                assert float(str(numbers.locator("[data-share]").get_attribute("width"))[:-1]) > 0
            page.goto(f"/jobs/{job}")
            expect(page.locator("[data-field=state]")).to_have_text("finished", timeout=60_000)
            expect(page.locator("[data-number=total]")).to_have_text(number(1200))


@SCREENS
def test_a_job_is_cancelled_after_asking(
    browser: Browser, web_settings: Settings, tmp_path: Path, screen: Screen
) -> None:
    draw_many(tmp_path / "photos", 3)
    with serving(web_settings) as address, open_page(browser, address, screen=screen, base=address) as page:
        start_folder(page)
        page.locator("summary", has_text="Cancel").click()
        page.get_by_role("button", name="for good").click()
        expect(page.locator("[data-field=state]")).to_have_text("cancelled")
        expect(page.locator("[data-field=note]")).to_have_text("by request")


@SCREENS
@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_a_schedule_is_added_paused_run_and_removed(
    browser: Browser, web_settings: Settings, tmp_path: Path, screen: Screen, script: bool
) -> None:
    draw_many(tmp_path / "photos", 2)
    with (
        serving(web_settings) as address,
        open_page(browser, f"{address}/jobs", screen=screen, base=address, script=script) as page,
    ):
        page.get_by_role("link", name="Add a schedule").click()
        page.get_by_label("Name").fill("every / night")
        page.get_by_label("First look").select_option(str(tmp_path / "photos"))
        if script:
            page.get_by_label("How often").select_option("Every hour")
            expect(page.locator("#due")).to_contain_text("At the start of every hour, next on")
        page.get_by_role("button", name="Add the schedule").click()
        card = page.locator(".schedule")
        expect(card).to_contain_text("every hour" if script else "03:00")
        card.get_by_role("button", name="Pause").click()
        expect(card.get_by_text("paused")).to_be_visible()
        card.get_by_role("button", name="Resume").click()
        expect(card.get_by_role("button", name="Pause")).to_be_visible()
        card.get_by_role("button", name="Run now").click()
        page.wait_for_url("**/jobs/*")
        expect(page.locator("[data-field=done]")).to_have_text("0 of 2 photos")
        page.goto("/jobs")
        card.locator("summary").click()
        card.get_by_role("button", name="Remove").click()
        expect(page.get_by_text("No schedule yet")).to_be_visible()


def test_a_page_whose_connection_is_lost_says_so_and_is_right_again(
    browser: Browser, web_settings: Settings, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", 3)
    with serving(web_settings) as address, open_page(browser, f"{address}/jobs", base=address) as page:
        lost = page.locator("[data-connection]")
        expect(page.get_by_text("No jobs yet")).to_be_visible()
        page.route("**/api/events", lambda route: route.fulfill(status=204))
        page.reload()
        expect(lost).to_be_visible()
        with open_page(browser, address, base=address) as other:
            job = start_folder(other)
        page.unroute("**/api/events")
        expect(page.locator(f'[data-job="{job}"]')).to_be_visible(timeout=20_000)
        expect(lost).to_be_hidden()
