"""`tagger serve` where nothing else runs: it tags what people send and start, as real processes."""

import json
import os
import re
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import expect
from rig.ledger_invariants import job_violations, library_violations
from sqlalchemy import update
from support.browser import open_page
from support.commands import Process, Terminal, draw_many
from support.fault_scenario import SHORT_DURATIONS
from support.page_server import photo

from tagger.database import JobState
from tagger.database.tables import schedules
from tagger.ledger.job_control import JobProgress

PHOTOS = 60
QUICK = "tagger.cli.pools.IDLE_END_S=1 tagger.cli.pools.FOLDERS_CHECK_S=1"


@pytest.fixture
def terminal(tmp_path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "home", {"TAGGER_BATCH_SIZE": "8"})
    yield terminal
    terminal.end_embedded_redis()


@pytest.fixture
def folder(terminal) -> Path:
    """A folder of photos whose job takes some seconds."""
    folder = terminal.folder / "photos"
    draw_many(folder, PHOTOS)
    terminal.environment["TAGGER_WEB_FOLDERS"] = json.dumps([str(folder)])
    terminal.inject(slow_pass_s="0.5", values=SHORT_DURATIONS.values)
    return folder


@contextmanager
def serving(terminal: Terminal) -> Iterator[tuple[Process, str]]:
    before = terminal.log.stat().st_size if terminal.log.exists() else 0
    process = terminal.start("serve", "--port", "0")

    def address() -> list[str]:
        return re.findall(r"(http://\S+)/; press", terminal.log.read_text()[before:])

    try:
        terminal.wait_until(address)
        yield process, address()[0]
    finally:
        process.terminate()
        process.wait(60)


def start_job(address: str, folder: Path) -> int:
    response = httpx.post(f"{address}/api/jobs", json={"paths": [str(folder)]})
    assert response.status_code == 202, response.text
    job: int = response.json()["job"]
    return job


def own_worker(server: Process) -> int:
    (child,) = workers_of(server)
    return child


def workers_of(server: Process) -> Sequence[int]:
    children = Path(f"/proc/{server.pid}/task").glob("*/children")
    started = [int(child) for each in children for child in each.read_text().split()]
    return [child for child in started if b"--background" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_half_done(progress: JobProgress) -> bool:
    return not progress.is_over and progress.tagged > 0


def assert_tagged_once(terminal: Terminal, job: int) -> None:
    terminal.wait_until(lambda: terminal.progress(job).is_over)
    progress = terminal.progress(job)
    assert (progress.state, progress.tagged + progress.unknown) == (JobState.FINISHED, PHOTOS)
    with terminal.database() as database:
        assert job_violations(database, job) == []
        assert library_violations(database) == []


def test_a_schedule_that_is_due_runs_and_the_worker_leaves(terminal, folder):
    terminal.inject(values=f"{QUICK} tagger.cli.pools.TICK_S=1")
    terminal.run("schedule", "add", "nightly", "--cron", "0 3 * * *", "untagged", "--scan", "photos")
    with serving(terminal) as (server, address):
        terminal.wait_until(lambda: terminal.json("status")["last_tick"]["at"])
        assert "Schedules do not run now" not in httpx.get(f"{address}/jobs").text
        assert workers_of(server) == []
        with terminal.database() as database, database.write() as connection:
            due = datetime.now(UTC) - timedelta(minutes=1)
            connection.execute(update(schedules).values(next_due=due))
        terminal.wait_until(lambda: terminal.jobs() and terminal.jobs()[0].is_over)
        assert terminal.progress(1).total == PHOTOS
        terminal.wait_until(lambda: workers_of(server) == [])


@pytest.mark.slow
def test_photos_that_are_sent_end_as_a_link_and_the_worker_leaves(terminal, browser):
    terminal.inject(values=QUICK)
    with serving(terminal) as (server, address), open_page(browser, f"{address}/jobs/new") as page:
        assert workers_of(server) == []
        files = [
            {"name": f"{n}.png", "mimeType": "image/png", "buffer": photo(0, shade=n)} for n in range(11)
        ]
        page.locator("[data-uploads-here] input[type=file]").first.set_input_files(files)
        ended = page.locator("[data-uploads-here] [role=status]")
        expect(ended).to_contain_text("11 photos processed: Show them", timeout=90_000)
        page.get_by_role("link", name="Show them").click()
        expect(page.locator("[data-grid] > [data-photo]")).to_have_count(11)
        page.goto(f"{address}/jobs")
        expect(page.locator("#workers")).to_contain_text(
            "A worker starts when a job needs one", timeout=60_000
        )
        terminal.wait_until(lambda: workers_of(server) == [])
        assert page.locator(".notice:visible").count() == 0
    assert "Traceback" not in (terminal.data / "worker.log").read_text()
    assert "WARNING" not in terminal.log.read_text()


def test_a_job_goes_on_after_its_worker_was_killed(terminal, folder):
    with serving(terminal) as (server, address):
        job = start_job(address, folder)
        terminal.wait_until(lambda: is_half_done(terminal.progress(job)))
        os.kill(own_worker(server), signal.SIGKILL)
        assert_tagged_once(terminal, job)
        assert os.getpriority(os.PRIO_PROCESS, own_worker(server)) > 0
        assert resource.prlimit(own_worker(server), resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY
    assert "the worker process was ended by signal 9; restarting it" in terminal.log.read_text()


@pytest.mark.parametrize(
    "end",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_job_is_continued_by_the_next_server(terminal, folder, end):
    with serving(terminal) as (server, address):
        job = start_job(address, folder)
        terminal.wait_until(lambda: is_half_done(terminal.progress(job)))
        worker = own_worker(server)
        server.send_signal(end)
        assert server.wait(60) == (-end if end is signal.SIGKILL else 0)
        terminal.wait_until(lambda: not Path(f"/proc/{worker}").exists())
    assert not terminal.progress(job).is_over
    with serving(terminal):
        assert_tagged_once(terminal, job)


def test_the_page_says_why_no_worker_can_start(terminal, folder, redis_server):
    terminal.environment["TAGGER_METRICS_PORT"] = str(redis_server.port)  # in use
    with serving(terminal) as (_server, address):
        job = start_job(address, folder)

        def reason() -> bool:
            return "Invalid setting: metrics_port" in httpx.get(f"{address}/jobs/{job}").text

        terminal.wait_until(reason)
        assert "Invalid setting" in httpx.get(f"{address}/jobs").text


@pytest.mark.slow
def test_no_worker_starts_beside_that_of_another_server_or_one_that_people_start(terminal, folder):
    with serving(terminal) as (first, address), serving(terminal) as (second, _):
        job = start_job(address, folder)
        terminal.wait_until(terminal.active_workers)
        assert len({*workers_of(first), *workers_of(second)}) == 1
        with terminal.workers():
            terminal.wait_until(lambda: not workers_of(first) and not workers_of(second))
            assert_tagged_once(terminal, job)
            terminal.wait_until(terminal.active_workers)
            assert not workers_of(first)
            assert not workers_of(second)


@pytest.mark.slow
def test_a_job_that_waits_for_its_folder_keeps_no_worker_and_continues(terminal, folder):
    terminal.inject(values=f"{SHORT_DURATIONS.values} {QUICK}")
    away = folder.with_name("away")
    terminal.run("enqueue", folder)
    folder.rename(away)
    with serving(terminal) as (server, _address):
        terminal.wait_until(lambda: terminal.progress(1).state is JobState.WAITING)
        terminal.wait_until(lambda: not workers_of(server))
        assert terminal.progress(1).state is JobState.WAITING
        away.rename(folder)
        assert_tagged_once(terminal, 1)
