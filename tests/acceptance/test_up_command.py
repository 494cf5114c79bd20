"""`tagger up`: a worker, the clock, the page and a watch, which end with it, as real processes."""

import os
import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from support.command_line import environment_of
from support.commands import Terminal, are_gone, child_processes, draw, draw_many
from support.watching import outcomes

from tagger.cli.pools import Services
from tagger.cli.session import Session
from tagger.database.connection import open_database
from tagger.database.tables import schedules
from tagger.ledger.job_control import count_changes
from tagger.processes import pool
from tagger.settings import Settings


@pytest.fixture
def terminal(tmp_path, redis_server) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


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
    terminal.inject(slow_pass_s="30", slow_while=slow, tick_s="0.5", values="tagger.ledger.jobs.LEASE_S=5")
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
