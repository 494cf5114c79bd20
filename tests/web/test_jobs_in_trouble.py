"""The pages of jobs when things go wrong: many failures, a folder or a worker that is gone, two browsers, a server that ends."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from browser import open_browser, open_page, serving
from commands import Terminal, draw, draw_many
from playwright.sync_api import Browser, expect
from starlette.testclient import TestClient

from tagger.settings import Settings
from tagger.web.pages.jobs import FAILURES_SHOWN

MANY = 1010
PHOTOS = 160


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


def start(client: TestClient, folder: Path) -> int:
    return int(client.post("/api/jobs", json={"paths": [str(folder)]}).json()["job"])


def test_a_thousand_failures_are_shown_page_by_page_each_of_them_once(
    client: TestClient, terminal: Terminal, tmp_path: Path
) -> None:
    for n in range(MANY):
        (tmp_path / f"photos/broken-{n}.jpg").write_bytes(b"\xff\xd8no photo")
    with terminal.workers(1):
        job = start(client, tmp_path / "photos")
        terminal.wait_until(lambda: terminal.progress(job).is_over)
    first = client.get(f"/jobs/{job}").text
    assert f"Retry {MANY:,} photos".replace(",", "\u202f") in first
    seen: list[str] = []
    pages, following = 0, f"/jobs/{job}"
    while following:
        page = client.get(following).text
        pages += 1
        seen += re.findall(r'class="failure-name"[^>]*>([^<]+)<', page)
        following = next(iter(re.findall(r'href="([^"]+)" rel="next"', page)), "")
    assert len(seen) == len(set(seen)) == MANY
    assert pages == -(-MANY // FAILURES_SHOWN)


def test_a_job_whose_folder_is_away_says_so_and_goes_on_when_it_is_back(
    browser: Browser, web_settings: Settings, client: TestClient, terminal: Terminal, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    draw_many(folder, 12)
    job = start(client, folder)
    folder.rename(tmp_path / "unmounted")
    with (
        terminal.workers(1),
        serving(web_settings) as address,
        open_page(browser, f"{address}/jobs/{job}") as page,
    ):
        expect(page.locator("[data-field=state]")).to_have_text("waiting", timeout=60_000)
        expect(page.locator("[data-field=note]")).to_have_text(
            "waits for the folder “photos”, which is away (not mounted?)"
        )
        expect(page.locator("[data-number=failed]")).to_have_text("0")
        (tmp_path / "unmounted").rename(folder)
        expect(page.locator("[data-field=state]")).to_have_text("finished", timeout=60_000)
        expect(page.get_by_text("No photo of this job fails now")).to_be_visible()


def test_a_cancelled_job_is_over_and_offers_nothing_to_steer(client: TestClient, tmp_path: Path) -> None:
    draw_many(tmp_path / "photos", 3)
    job = start(client, tmp_path / "photos")
    assert client.post(f"/jobs/{job}/cancel").status_code == 303
    page = client.get(f"/jobs/{job}").text
    assert "by request" in page
    assert 'data-number="cancelled">3<' in page
    assert "data-steer" not in page
    assert "No photo of this job fails now" not in page
    late = client.post(f"/jobs/{job}/resume")
    assert late.status_code == 409
    assert "cancelled already" in late.text


def test_two_browsers_steer_one_job_and_both_are_right(
    browser: Browser, web_settings: Settings, client: TestClient, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", 3)
    job = start(client, tmp_path / "photos")
    with (
        serving(web_settings) as address,
        open_page(browser, f"{address}/jobs/{job}") as one,
        open_page(browser, f"{address}/jobs") as other,
    ):
        one.get_by_role("button", name="Pause").click()
        expect(other.locator("[data-field=state]")).to_have_text("paused")
        other.get_by_role("button", name="Resume").click()
        expect(one.get_by_role("button", name="Pause")).to_be_visible()
        # Both at the same moment: pausing what is paused changes nothing, and who is too late is told.
        with ThreadPoolExecutor(2) as people:
            paused = people.map(httpx.post, [f"{address}/api/jobs/{job}/pause"] * 2)
            assert [answer.status_code for answer in paused] == [200, 200]
            expect(one.locator("[data-field=state]")).to_have_text("paused")
            ended = people.map(
                httpx.post, [f"{address}/api/jobs/{job}/{what}" for what in ("cancel", "resume")]
            )
            cancelled, resumed = [answer.status_code for answer in ended]
            assert cancelled == 200
            assert resumed in {200, 409}
        for page in (one, other):
            expect(page.get_by_text("cancelled", exact=True).first).to_be_visible()


@contextmanager
def server(terminal: Terminal, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = terminal.start("serve", "--port", str(port))
    try:
        terminal.wait_until(lambda: answers(port))
        yield process
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/api/status", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_page_is_right_again_after_its_server_was_started_anew(
    browser: Browser, terminal: Terminal, tmp_path: Path, end: signal.Signals
) -> None:
    draw(tmp_path / "photos/a.jpg", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The browser notes a connection that is refused, so its complaints are not asked for here.
    page = browser.new_page()
    with server(terminal, port) as process:
        page.goto(f"http://127.0.0.1:{port}/jobs")
        expect(page.get_by_text("No jobs yet")).to_be_visible()
        process.send_signal(end)
        process.wait(60)
        expect(page.locator("[data-connection]")).to_be_visible()
        terminal.run("enqueue", "photos")
    with server(terminal, port):
        expect(page.locator("[data-connection]")).to_be_hidden(timeout=30_000)
        expect(page.locator('[data-job="1"] [data-field=done]')).to_have_text("0 of 1 photo")
        terminal.run("pause", "1")
        expect(page.locator("[data-field=state]")).to_have_text("paused")
    page.close()


def test_a_worker_that_dies_leaves_the_page_and_its_job_is_done_by_the_next(
    browser: Browser, web_settings: Settings, client: TestClient, terminal: Terminal, tmp_path: Path
) -> None:
    draw_many(tmp_path / "photos", PHOTOS)
    terminal.environment["TAGGER_BATCH_SIZE"] = "4"
    terminal.inject(slow_pass_s="0.1")
    job = start(client, tmp_path / "photos")
    with serving(web_settings) as address, open_page(browser, f"{address}/jobs", base=address) as page:
        with terminal.workers(1) as (worker,):
            terminal.wait_until(lambda: terminal.progress(job).done > 0, every_s=0.01)
            expect(page.locator("#workers")).to_contain_text(f"tagger-{worker.pid}@")
            os.kill(worker.pid, signal.SIGKILL)
            done = terminal.progress(job).done
        assert 0 < done < PHOTOS
        expect(page.locator("#workers")).not_to_contain_text(f"tagger-{worker.pid}@", timeout=60_000)
        expect(page.get_by_text("No worker is running")).to_be_visible()
        with terminal.workers(1):
            expect(page.get_by_text("No worker is running")).to_be_hidden(timeout=30_000)
            page.goto(f"/jobs/{job}")
            expect(page.locator("[data-field=state]")).to_have_text("finished", timeout=120_000)
            expect(page.locator("[data-number=total]")).to_have_text(str(PHOTOS))
            expect(page.locator("[data-number=failed]")).to_have_text("0")
