"""`tagger enqueue`, workers and `tagger up`, which runs all of them."""

import os
import signal
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.command_line import environment_of
from support.commands import Terminal, are_gone, child_processes, draw, draw_many, stop
from support.tls_servers import refused_objects
from support.watching import outcomes

from tagger.cli.pools import Services
from tagger.cli.program import Session
from tagger.database import Note, NoteCode
from tagger.database.connection import open_database
from tagger.database.tables import schedules
from tagger.errors import SettingsInvalid
from tagger.jobs.enqueue.job_texts import idle_text
from tagger.ledger.job_control import count_changes
from tagger.ledger.workers import list_workers, record_heartbeat
from tagger.processes import pool
from tagger.settings import Settings
from worker.tasks import shown_as_starting


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


def test_a_folder_goes_through_redis_and_a_worker_into_the_database(terminal, limited_redis):
    """With the user of Redis that the docs recommend, and a worker started with Celery's own command."""
    terminal.environment["TAGGER_REDIS_URL"] = limited_redis.url.replace("//", "//tagger:PASSWORD@")
    draw_many(terminal.folder / "photos", 50)
    for number in range(5):
        (terminal.folder / "photos" / f"broken-{number}.jpg").write_bytes(b"\xff\xd8\xff broken" * number)
    worker = terminal.start("-A", "worker.app", "worker", program="celery")
    try:
        terminal.wait_until(terminal.active_workers)
        done = terminal.run("enqueue", "--wait", "photos", code=3)
        assert "55 photos: 40 tagged, 10 unknown, 0 skipped, 5 failed" in done.stderr
        assert len(terminal.json("job", "failures")) == 5
        status = terminal.json("status")
        assert len(status["workers"]) == 1
        assert status["queues"] == {"interactive": 0, "bulk": 0}
        assert len(terminal.json("query", "--landmark", "eiffel tower")) == 10
        counts = {each["landmark"]: each["photos"] for each in terminal.json("landmark", "list")}
        assert sum(counts.values()) == 40
    finally:
        assert stop(worker) == 0
    assert terminal.json("status")["workers"] == []
    # redis-py tells the server its version, and does without.
    assert refused_objects(limited_redis) <= {b"client"}


def test_without_redis_the_job_is_recorded_and_runs_later(terminal):
    draw_many(terminal.folder / "photos", 30)
    configured = terminal.environment["TAGGER_REDIS_URL"]
    terminal.environment["TAGGER_REDIS_URL"] = "redis://127.0.0.1:1/0"
    done = terminal.run("enqueue", "photos")
    assert "does not answer" in done.stderr
    assert f"Job {done.stdout.strip()} is recorded" in done.stderr
    status = terminal.run("status")
    assert "queued messages: Redis does not answer\n" in status.stdout
    assert "does not answer" in status.stderr
    assert "does not answer" in terminal.run("worker", "--no-wait", code=1).stderr
    terminal.environment["TAGGER_REDIS_URL"] = configured
    terminal.process_job(1)
    assert terminal.progress(1).is_over


@pytest.mark.slow
def test_waiting_goes_on_until_a_worker_comes(terminal):
    draw(terminal.folder / "photos" / "a.jpg")
    waiting = terminal.start("enqueue", "--wait", "photos")
    terminal.wait_until(lambda: "warning: No worker is running. " in terminal.log.read_text())
    assert waiting.poll() is None
    terminal.process_job(1)
    assert waiting.wait(60) == 0
    assert "job 1 finished: 1 photo: 1 tagged" in terminal.log.read_text()


def test_a_worker_is_listed_while_it_starts_and_not_after_a_failed_start(terminal):
    with terminal.database() as database:
        with shown_as_starting(database, "tagger-7@rack", "auto"):
            terminal.wait_until(lambda: list_workers(database))
            (worker,) = terminal.json("status")["workers"]
            assert (worker["name"], worker["waits_for"]) == ("tagger-7@rack", "it is starting")
            assert idle_text(list_workers(database)) == "No worker starts work now: it is starting."
        record_heartbeat(database, "tagger-7@rack", "cpu")  # as the sweeper of a worker that has started
        assert [(each.device, each.is_starting) for each in list_workers(database)] == [("cpu", False)]
        with suppress(SettingsInvalid), shown_as_starting(database, "tagger-8@rack", "auto"):
            terminal.wait_until(lambda: len(list_workers(database)) == 2)
            raise SettingsInvalid(reason="as of a model that cannot run")
        assert [each.name for each in list_workers(database)] == ["tagger-7@rack"]


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["bare_terminal", "terminal"], ids=["embedded Redis", "own Redis"])
def test_two_databases_of_one_machine_share_no_messages(request, fixture, tmp_path):
    first: Terminal = request.getfixturevalue(fixture)
    second = Terminal(
        first.folder, {**first.environment, "TAGGER_DATABASE_URL": f"sqlite:///{tmp_path}/second.sqlite"}
    )
    draw_many(first.folder / "photos", 10)
    if fixture == "bare_terminal":
        with first.workers():  # it starts the embedded Redis
            pass
    first.run("enqueue", "photos")
    first.run("job", "cancel", "1")
    with second.workers() as (worker,):
        first.run("enqueue", "photos")
        assert second.json("enqueue", "--wait", "photos")["tagged"] == 8
        assert worker.poll() is None
        assert first.json("status")["queues"] == {"interactive": 0, "bulk": 1}
    if fixture == "terminal":
        return
    with first.workers() as (worker,):
        second.run("enqueue", "photos", "--again")
        first.wait_until(lambda: first.progress(2).is_over)
        assert worker.poll() is None
        assert second.json("status")["queues"] == {"interactive": 0, "bulk": 1}


@pytest.mark.slow
def test_the_embedded_redis_belongs_to_no_terminal_and_is_started_once(bare_terminal):
    terminal = bare_terminal
    draw_many(terminal.folder / "photos", 10)
    assert terminal.json("status")["queues"] == {"interactive": None, "bulk": None}
    assert "No Redis is running yet" in terminal.run("enqueue", "photos").stderr
    with terminal.workers(2):
        terminal.wait_until(lambda: terminal.progress(1).is_over)
    # The workers are gone; the server stays for whoever comes next.
    assert terminal.json("status")["queues"] == {"interactive": 0, "bulk": 0}
    terminal.run("enqueue", "photos", "--again")
    assert terminal.json("status")["queues"] == {"interactive": 0, "bulk": 1}


@pytest.mark.slow
def test_a_worker_that_is_shown_can_be_stopped(terminal):
    worker = terminal.start("worker")
    terminal.wait_until(terminal.active_workers, every_s=0.005)
    assert stop(worker) == 0
    assert "stopping: the current batch is stored, and the rest released" in terminal.log.read_text()
    assert "MainProcess" not in terminal.log.read_text()
    assert terminal.active_workers() == []


def test_commands_say_that_no_worker_starts_work_now(terminal):
    draw(terminal.folder / "photos" / "a.jpg")
    reason = NoteCode.REDIS_REFUSES.text
    with terminal.database() as database:
        record_heartbeat(database, "tagger-7@rack", "cpu", Note(NoteCode.REDIS_REFUSES))
    enqueued = terminal.run("enqueue", "photos")
    assert "No worker starts work now: " in enqueued.stderr
    assert reason in enqueued.stderr
    assert [each["waits_for"] for each in terminal.json("status")["workers"]] == [reason]
    assert f"(cpu, waits: {reason})" in terminal.run("status").stdout


def test_up_once_runs_everything_and_imports_nothing_from_the_current_folder(bare_terminal):
    terminal = bare_terminal
    draw_many(terminal.folder / "photos", 25)
    planted = "from pathlib import Path\nPath(__file__).with_suffix('.was-run').touch()\n"
    for name in ("redis.py", "celery.py", "fcntl.py", "worker/__init__.py", "tagger/__init__.py"):
        (terminal.folder / name).parent.mkdir(exist_ok=True)
        (terminal.folder / name).write_text(planted)
    done = terminal.run("up", "--once", "photos")
    assert "25 photos: 20 tagged, 5 unknown" in done.stderr
    assert "to see the tags, run: tagger query --under" in done.stderr
    assert terminal.json("status")["workers"] == []
    with terminal.database() as database:
        assert not count_changes(database)  # photos are located, though the worker has ended
    assert "web page" not in done.stderr
    assert not (terminal.data / "page.log").exists()
    assert list(terminal.folder.rglob("*.was-run")) == []


def test_up_waits_while_redis_is_away(terminal, redis_server, capsys):
    settings = Settings(data_folder=terminal.data, redis_url=redis_server.url)
    redis_server.stop()
    with (
        environment_of(terminal.environment),
        closing(open_database(settings.effective_database_url)) as database,
        Services(Session(settings, database), None) as services,
    ):
        services.check()
        redis_server.start()
        terminal.wait_until(lambda: services.check() or services._redis_answers)
        terminal.wait_until(lambda: services.check() or terminal.active_workers())
    waits, answers = capsys.readouterr().err.splitlines()
    assert "does not answer" in waits
    assert "Waiting for it" in waits
    assert answers == "Redis answers again"


@pytest.mark.slow
def test_up_says_how_to_continue_a_job_that_it_gives_up(terminal, redis_server, monkeypatch):
    draw(terminal.folder / "photos" / "a.jpg")
    monkeypatch.setattr(pool, "EARLY_EXIT_S", 60.0)
    monkeypatch.setattr(pool, "RESTART_PAUSES_S", ())
    terminal.environment["TAGGER_METRICS_PORT"] = str(redis_server.port)  # in use: the worker cannot start
    given_up = terminal.run("up", "--once", "photos", code=1)
    assert "job 1 is not finished" in given_up.stderr
    assert "its start: Invalid setting: metrics_port" in given_up.stderr
    assert "tagger up" in given_up.stderr
    assert not terminal.progress(1).is_over


@pytest.mark.slow
def test_up_watches_ticks_restarts_a_killed_worker_and_ends_however_often_ctrl_c_is_pressed(
    terminal, tmp_path
):
    photos, slow = terminal.folder / "photos", tmp_path / "slow"
    draw(photos / "a.jpg", 0)
    draw(terminal.folder / "others" / "c.jpg", 0, seed=3)
    terminal.run("schedule", "add", "yearly", "--cron", "0 0 1 1 *", "untagged", "--scan", "others")
    with terminal.database() as database, database.write() as connection:
        connection.execute(update(schedules).values(next_due=datetime.now(UTC) - timedelta(hours=1)))
    values = "tagger.ledger.LEASE_S=5 worker.producer.TICK_S=0.5"
    terminal.inject(slow_pass_s="30", slow_while=slow, values=values)
    up = terminal.start("up", "photos", "--watch")
    try:
        terminal.wait_until(lambda: set(outcomes(terminal)) == {"a.jpg", "c.jpg"})
        (first,) = (each.name for each in terminal.active_workers())
        os.kill(int(first.partition("@")[0].removeprefix("tagger-")), signal.SIGKILL)
        terminal.wait_until(lambda: any(each.name != first for each in terminal.active_workers()))
        terminal.wait_until(lambda: "watching 1 folder" in (terminal.data / "watch.log").read_text())
        slow.touch()
        draw(photos / "b.jpg", 1, seed=1)
        terminal.wait_until(lambda: any(job.running for job in terminal.jobs()))
        children = child_processes(up, "tagger.cli.main")
        for _ in range(3):
            up.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert up.wait(20) == 130
    finally:
        up.kill()
        up.wait()
    assert len(children) == 4  # the worker, beat, the page, the watch
    assert are_gone(children)
    assert "Traceback" not in (terminal.data / "watch.log").read_text()
