"""`tagger job pause`, `resume`, `cancel` and priorities, with real workers; and what `status --watch` shows of it."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from rig.servers import PostgresServer, RedisServer
from sqlalchemy import select as select_rows
from support.commands import Process, Terminal, draw_many
from support.screens import Screen

from tagger.database.enums import JobState
from tagger.database.tables import jobs
from tagger.ledger import job_control
from tagger.ledger.workers import list_chunk_progress

PHOTOS = 160
SLOW = {"TAGGER_BATCH_SIZE": "4", "TAGGER_THREADS": "1"}
SLOW_PASS_S = "0.05"


@pytest.fixture
def postgresql_terminal(tmp_path: Path, redis_server: RedisServer, postgres_url: str) -> Terminal:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": postgres_url}
    return Terminal(tmp_path / "terminal", settings)


@pytest.fixture
def sqlite_terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


@contextmanager
def half_done(terminal: Terminal) -> Iterator[tuple[int, Process]]:
    """A job that a slow worker has in hand, and the worker, which is frozen."""
    draw_many(terminal.folder / "photos", PHOTOS)
    terminal.environment |= SLOW
    terminal.inject(slow_pass_s=SLOW_PASS_S)
    with terminal.workers(1) as (worker,), terminal.database() as database:
        with terminal.frozen([worker]):
            job = int(terminal.run("enqueue", "photos").stdout)
        terminal.freeze_with_a_lease(worker, database)
        try:
            yield job, worker
        finally:
            worker.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_paused_job_stops_within_a_batch_and_resumes_there(postgresql_terminal: Terminal) -> None:
    terminal = postgresql_terminal
    draw_many(terminal.folder / "others", 10)
    with half_done(terminal) as (job, worker):
        before = terminal.progress(job)
        assert before.running
        (paused,) = terminal.json("job", "pause", str(job))["jobs"]
        assert paused["state"] == "paused"
        other = int(terminal.run("enqueue", "--again", "others").stdout)
        worker.send_signal(signal.SIGCONT)
        terminal.wait_until(lambda: terminal.progress(other).is_over and not terminal.progress(job).running)
        assert terminal.progress(other).done == 10
        still = terminal.progress(job)
        assert (still.state, still.done + still.queued) == (JobState.PAUSED, PHOTOS)
        assert before.done <= still.done < PHOTOS
        terminal.run("job", "resume", str(job))
        terminal.wait_until(lambda: terminal.progress(job).is_over)
    progress = terminal.progress(job)
    assert (progress.state, progress.done, progress.failed) == (JobState.FINISHED, PHOTOS, 0)
    assert "Traceback" not in terminal.log.read_text()


@pytest.mark.timeout(120)
def test_pausing_a_job_that_another_process_has_locked_says_so(
    postgresql_terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = postgresql_terminal
    monkeypatch.setattr(job_control, "LOCK_S", 0.5)
    draw_many(terminal.folder / "photos", 2)
    job = int(terminal.run("enqueue", "photos").stdout)
    with terminal.database() as database, database.write() as other:
        other.execute(select_rows(jobs).with_for_update())
        refused = terminal.run("job", "pause", str(job), code=1).stderr
        assert f"error: Job {job} is unchanged: another process has locked it" in refused
    assert terminal.progress(job).state is JobState.QUEUED
    terminal.run("job", "pause", str(job))
    assert terminal.progress(job).state is JobState.PAUSED


def test_a_cancelled_job_is_neither_resumed_nor_cancelled_again(sqlite_terminal: Terminal) -> None:
    terminal = sqlite_terminal
    draw_many(terminal.folder / "photos", 2)
    job = terminal.run("enqueue", "photos").stdout.strip()
    assert f"job {job} cancelled: 2 photos" in terminal.run("job", "cancel", job).stdout
    refused = terminal.run("job", "resume", job, "99", code=1).stderr
    assert f"Job {job} is cancelled already" in refused
    assert "There is no job 99" in refused
    document = terminal.json("job", "cancel", job, code=1)
    assert (document["jobs"], document["errors"][0]["job"]) == ([], int(job))


@pytest.mark.slow
def test_cancelling_a_job_of_tagger_tag_ends_that_command(sqlite_terminal: Terminal) -> None:
    terminal = sqlite_terminal
    draw_many(terminal.folder / "photos", PHOTOS)
    terminal.environment |= SLOW
    terminal.inject(slow_pass_s=SLOW_PASS_S)
    terminal.run("db", "upgrade")
    process = terminal.start("tag", "photos")
    with terminal.database() as database:
        terminal.wait_until(lambda: list_chunk_progress(database), every_s=0.01)
    with terminal.frozen([process]):
        assert "cannot be paused" in terminal.run("job", "pause", "1", code=1).stderr
        terminal.run("job", "cancel", "1")
    assert process.wait(60) == 1
    progress = terminal.progress(1)
    assert (progress.state, progress.done + progress.cancelled) == (JobState.CANCELLED, PHOTOS)
    assert "job 1 was cancelled: by request" in terminal.log.read_text()


def test_watching_draws_on_a_terminal_and_leaves_it_as_it_was(sqlite_terminal: Terminal) -> None:
    terminal = sqlite_terminal
    draw_many(terminal.folder / "photos", 40)
    terminal.run("enqueue", "photos")
    assert "it needs one job" in terminal.run("status", "--watch", "--json", code=2).stderr
    with closing(Screen(terminal, "status", "--watch")) as screen:
        screen.read_until(b"queued messages: interactive 0, bulk 2")
        screen.process.send_signal(signal.SIGINT)
        screen.read_until(b"\x1b[?1049l")
        assert screen.process.wait(30) == 0
    text = screen.written.decode()
    assert text.startswith("\x1b[?1049h")
    assert "open jobs: 1, workers: 0" in text
    assert "no worker is running; start one with: tagger worker" in text
    assert re.search(r"1 queued .* 0% +0/40", text)
    assert "Traceback" not in text


def test_watching_off_a_terminal_prints_what_moves(sqlite_terminal: Terminal) -> None:
    terminal = sqlite_terminal
    draw_many(terminal.folder / "photos", 40)
    job = terminal.run("enqueue", "photos").stdout.strip()
    process = terminal.start("status", "--watch")
    terminal.wait_until(lambda: f"job {job} queued: 0 of 40 photos" in terminal.log.read_text())
    terminal.run("job", "cancel", job)
    terminal.wait_until(lambda: f"job {job} cancelled: 40 of 40 photos" in terminal.log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "Traceback" not in terminal.log.read_text()


@pytest.mark.slow
def test_watching_survives_outages_of_database_and_redis(tmp_path: Path, redis_server: RedisServer) -> None:
    with PostgresServer() as server:
        url = server.url.replace("postgresql:", "postgresql+psycopg:")
        settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": url}
        terminal = Terminal(tmp_path / "terminal", settings)
        terminal.run("db", "upgrade")
        draw_many(terminal.folder / "photos", 40)
        job = terminal.run("enqueue", "photos").stdout.strip()
        all_of_it = terminal.start("status", "--watch")
        one_job = terminal.start("job", "show", job, "--watch")
        terminal.wait_until(lambda: f"job {job} queued" in terminal.log.read_text())
        terminal.wait_until(lambda: _client_connections(server.url) >= 2)
        time.sleep(2)  # the command that follows one job prints nothing before its job changes
        server.kill()
        redis_server.kill()
        terminal.wait_until(lambda: "; trying again\n" in terminal.log.read_text())
        terminal.wait_until(lambda: "; trying again until it works\n" in terminal.log.read_text())
        server.start()
        terminal.wait_until(
            lambda: f"Redis at {redis_server.url} does not answer" in terminal.log.read_text()
        )
        terminal.run("job", "cancel", job)
        terminal.wait_until(lambda: f"job {job} cancelled: 40 of 40" in terminal.log.read_text())
        assert one_job.wait(60) == 1
        all_of_it.send_signal(signal.SIGINT)
        assert all_of_it.wait(60) == 0
    assert "Traceback" not in terminal.log.read_text()


def _client_connections(url: str) -> int:
    """The number of connections to a PostgreSQL server, without the one that asks."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid != pg_backend_pid()"
        ).fetchone()
    return int(row[0]) if row else 0
