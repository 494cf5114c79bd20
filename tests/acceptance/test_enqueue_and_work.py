"""`tagger enqueue`, `worker`, `up`, `status`: the main job through a real Redis and real Celery workers."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rig.servers import RedisServer
from sqlalchemy import select
from support.artifacts import tiny_artifact
from support.command_line import environment_of, run_command
from support.commands import Terminal, draw, draw_many, stop

from tagger.cli import supervisor
from tagger.cli.main import main
from tagger.cli.session import Session
from tagger.cli.up_lock import keeps_worker
from tagger.database.connection import open_database
from tagger.database.tables import contents
from tagger.settings import Settings
from worker.celery_app import make_app
from worker.dead_letters import DEAD_LETTERS
from worker.messages import TASK_NAME


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


@pytest.fixture
def bare_terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Without a configured Redis."""
    terminal = Terminal(tmp_path / "terminal")
    yield terminal
    terminal.end_embedded_redis()


def test_a_folder_goes_through_redis_and_two_workers_into_the_database(terminal: Terminal) -> None:
    terminal.environment["TAGGER_BACKEND"] = "auto"
    draw_many(terminal.folder / "photos", 200)
    for number in range(5):
        (terminal.folder / "photos" / f"broken-{number}.jpg").write_bytes(b"\xff\xd8\xff broken" * number)
    with terminal.workers(2):
        done = terminal.run("enqueue", "--wait", "photos", code=3)
        assert "205 photos: 160 tagged, 40 unknown, 0 skipped, 5 failed" in done.stderr
        assert len(terminal.json("failures")) == 5
        status = terminal.json("status")
        assert len(status["workers"]) == 2
        assert status["queues"] == {"interactive": 0, "bulk": 0}
        assert len(terminal.json("query", "--landmark", "eiffel tower")) == 40
        counts = {each["landmark"]: each["photos"] for each in terminal.json("landmarks")}
        assert sum(counts.values()) == 160
    assert terminal.json("status")["workers"] == []


@pytest.mark.slow
def test_enqueueing_again_while_it_is_being_tagged_does_no_work_twice(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 160)
    terminal.environment |= {"TAGGER_BATCH_SIZE": "4", "TAGGER_THREADS": "1"}
    terminal.inject(slow_pass_s="0.2")
    with terminal.workers(2):
        first = int(terminal.run("enqueue", "photos").stdout)
        second = int(terminal.run("enqueue", "photos").stdout)
        urgent = int(terminal.run("enqueue", "photos", "--priority", "interactive").stdout)
        terminal.wait_until(lambda: all(job.is_over for job in terminal.jobs()))
        jobs = {job["job"]: job for job in terminal.json("status")["jobs"]}
    assert {job["state"] for job in jobs.values()} == {"finished"}
    assert sum(jobs[job]["tagged"] + jobs[job]["unknown"] for job in (first, second, urgent)) == 160
    assert sum(jobs[job]["skipped"] for job in (first, second, urgent)) == 320


def test_without_redis_the_job_is_recorded_and_runs_later(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 30)
    configured = terminal.environment["TAGGER_REDIS_URL"]
    terminal.environment["TAGGER_REDIS_URL"] = "redis://127.0.0.1:1/0"
    done = terminal.run("enqueue", "photos")
    assert "does not answer" in done.stderr
    assert f"Job {done.stdout.strip()} is recorded" in done.stderr
    status = terminal.run("status")
    assert "queued messages: Redis does not answer\n" in status.stdout
    assert "does not answer" in status.stderr
    assert "does not answer" in terminal.run("worker", code=1).stderr
    terminal.environment["TAGGER_REDIS_URL"] = configured
    with terminal.workers(1):
        terminal.wait_until(lambda: terminal.progress(1).is_over)


def test_waiting_without_a_worker_gives_up_and_keeps_the_job(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    monkeypatch.setattr("tagger.cli.follow.NO_WORKER_S", 2.0)
    done = terminal.run("enqueue", "--wait", "photos", code=1)
    assert "no worker has been running for 2 s. Job 1 stays" in done.stderr
    assert terminal.json("status", "1")["state"] == "queued"
    terminal.process_job(1)
    assert terminal.json("status", "1")["tagged"] == 1


def test_plain_celery_starts_the_same_worker(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 10)
    process = terminal.start("-A", "worker.app", "worker", program="celery")
    try:
        assert terminal.json("enqueue", "--wait", "photos")["state"] == "finished"
    finally:
        assert stop(process) == 0


def test_a_worker_exits_with_0_on_sigterm_and_stores_its_results(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 160)
    terminal.environment |= {"TAGGER_BATCH_SIZE": "4", "TAGGER_THREADS": "1"}
    terminal.inject(slow_pass_s="0.05")
    with terminal.database() as database, terminal.workers(1) as (worker,):
        with terminal.frozen([worker]):
            job = terminal.json("enqueue", "photos")["job"]
        terminal.freeze_with_a_lease(worker, database)
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGCONT)
        assert worker.wait(timeout=60) == 0
        progress = terminal.progress(job)
        assert progress.running == 0
        assert progress.done < 160
        assert progress.queued == 160 - progress.done
    terminal.process_job(job)
    assert (terminal.progress(job).failed, terminal.progress(job).done) == (0, 160)


def test_a_worker_on_another_database_refuses_and_loses_no_message(
    terminal: Terminal, tmp_path: Path
) -> None:
    draw_many(terminal.folder / "photos", 20)
    job = terminal.run("enqueue", "photos").stdout.strip()
    other = Terminal(tmp_path / "other", {"TAGGER_REDIS_URL": terminal.environment["TAGGER_REDIS_URL"]})
    process = other.start("worker")
    assert process.wait(timeout=90) != 0
    assert "messages of another database" in other.log.read_text()
    assert terminal.json("status")["queues"]["bulk"] == 1
    terminal.process_job(int(job))
    assert terminal.progress(int(job)).is_over


def test_a_message_of_an_unknown_version_becomes_a_dead_letter(
    terminal: Terminal, redis_server: RedisServer
) -> None:
    draw_many(terminal.folder / "photos", 20)
    odd = {"version": 2, "ledger": "?", "job": 1, "chunk": 0}
    app = make_app(redis_server.url)
    app.send_task(TASK_NAME, args=[odd], queue="tagger.bulk")
    app.close()
    with terminal.workers(1):
        assert terminal.json("enqueue", "--wait", "photos")["tagged"] == 16
    with redis_server.client() as client:
        (kept,) = client.lrange(DEAD_LETTERS, 0, -1)
    assert json.loads(kept)["body"] == odd
    assert "Moved an invalid message" in terminal.log.read_text()


def test_a_worker_with_an_unusable_model_exits_with_the_reason(terminal: Terminal) -> None:
    (terminal.folder / "wrong.pt").write_bytes(b"no model")
    terminal.environment["TAGGER_MODEL"] = str(terminal.folder / "wrong.pt")
    done = terminal.run("worker", code=1)
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_photos_that_change_or_vanish_after_enqueue_have_their_own_outcome(terminal: Terminal) -> None:
    folder = terminal.folder / "photos"
    draw(folder / "stays.jpg", 0, seed=1)
    draw(folder / "changes.jpg", 0, seed=2)
    draw(folder / "vanishes.jpg", 0, seed=3)
    job = terminal.run("enqueue", "photos").stdout.strip()
    draw(folder / "changes.jpg", 1, seed=4)
    (folder / "vanishes.jpg").unlink()
    terminal.process_job(int(job))
    assert terminal.json("status", job)["tagged"] == 2
    (failure,) = terminal.json("failures")
    assert (Path(failure["path"]).name, failure["kind"]) == ("vanishes.jpg", "gone")
    assert terminal.json("show", "photos/changes.jpg")["tags"][0]["landmark"] == "brandenburg-gate"
    # Once a scan has seen for itself that it is not there, it is a deleted photo and no failing one.
    terminal.run("tag", "photos")
    assert terminal.json("failures") == []


def test_up_once_runs_everything_and_imports_nothing_from_the_current_folder(bare_terminal: Terminal) -> None:
    terminal = bare_terminal
    draw_many(terminal.folder / "photos", 25)
    planted = "from pathlib import Path\nPath(__file__).with_suffix('.was-run').touch()\n"
    for name in ("redis.py", "celery.py", "fcntl.py", "worker/__init__.py", "tagger/__init__.py"):
        (terminal.folder / name).parent.mkdir(exist_ok=True)
        (terminal.folder / name).write_text(planted)
    done = terminal.run("up", "--once", "photos")
    assert "25 photos: 20 tagged, 5 unknown" in done.stderr
    assert "5  Eiffel Tower (France)" in done.stdout
    assert "tagger query --landmark" in done.stdout
    assert "tagger up  # shows the photos" in done.stdout
    assert "tagger.sqlite" in done.stdout
    assert terminal.json("status")["workers"] == []
    assert "web page" not in done.stderr
    assert not (terminal.data / "page.log").exists()
    assert list(terminal.folder.rglob("*.was-run")) == []


def test_up_waits_while_redis_is_away(
    terminal: Terminal, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(data_folder=terminal.data, redis_url=redis_server.url)
    redis_server.stop()
    with (
        environment_of(terminal.environment),
        closing(open_database(settings.effective_database_url)) as database,
        supervisor.Supervisor(Session(settings, database), None) as services,
    ):
        worker = services.worker
        terminal.wait_until(lambda: worker.has_exited)
        for _ in range(3):
            services.check()
        assert worker.has_exited, "a restart without Redis would be in vain"
        assert not keeps_worker(terminal.data, database)
        redis_server.start()
        terminal.wait_until(lambda: services.check() or not worker.has_exited)
        assert keeps_worker(terminal.data, database)
    waits, answers, *restarts = capsys.readouterr().err.splitlines()
    assert "does not answer" in waits
    assert "Waiting for it" in waits
    assert answers == "Redis answers again"
    assert all("restarting it" in line for line in restarts)


def test_up_says_how_to_continue_a_job_that_it_gives_up(
    terminal: Terminal, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    monkeypatch.setattr(supervisor, "EARLY_EXIT_S", 60.0)
    monkeypatch.setattr(supervisor, "RESTART_PAUSES_S", ())
    terminal.environment["TAGGER_METRICS_PORT"] = str(redis_server.port)  # in use: the worker cannot start
    given_up = run_command(
        main, "up", "--once", "photos", environment=terminal.environment, folder=terminal.folder
    )
    assert given_up.code == 1
    assert "job 1 is not finished" in given_up.err
    assert "tagger up" in given_up.err
    assert not terminal.progress(1).is_over


def test_a_job_reports_a_changed_model_file(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 10)
    other = terminal.folder / "other.pt"
    tiny_artifact(other, seed=1, name="other")
    terminal.run("enqueue", "photos", "--model", str(other))
    other.write_bytes(other.read_bytes() + b"x")
    with terminal.workers(1):
        terminal.wait_until(lambda: "digest differs" in (terminal.progress(1).note or ""))
        progress = terminal.progress(1)
        assert (progress.queued + progress.running, progress.failed) == (10, 0)


def test_no_password_is_ever_printed(terminal: Terminal) -> None:
    for name, url in (
        ("TAGGER_REDIS_URL", "redis://:geheim@127.0.0.1:1/0"),
        ("TAGGER_REDIS_URL", "redis://127.0.0.1:1/0?password=geheim"),
        ("TAGGER_REDIS_URL", "redis://:ge/heim@127.0.0.1:1"),
        ("TAGGER_DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/x"),
        ("TAGGER_DATABASE_URL", "postgresql://127.0.0.1:1/x?password=geheim"),
        ("TAGGER_DATABASE_URL", "postgresql://u:geheim@127.0.0.1:port/x"),
        ("TAGGER_REDIS_URL", "redis:u:geheim@127.0.0.1:1/0"),
        ("TAGGER_REDIS_URL", "redis://u:geheim"),
        ("TAGGER_REDIS_URL", "geheim"),
        ("TAGGER_DATABASE_URL", "postgresql://u:a@geheim@127.0.0.1:1/x"),
        ("TAGGER_DATABASE_URL", "postgresql://u:a@127.0.0.1:geheim/x"),
    ):
        code = 1 if name == "TAGGER_DATABASE_URL" else 0
        asked = Terminal(terminal.folder, {name: url}).run("status", code=code)
        verbose = Terminal(terminal.folder, {name: url}).run("-vv", "status", code=code)
        assert "heim" not in asked.stdout + asked.stderr + verbose.stdout + verbose.stderr, url
        assert "Traceback" not in asked.stderr, url


@pytest.mark.slow
def test_the_embedded_redis_belongs_to_no_terminal_and_is_started_once(bare_terminal: Terminal) -> None:
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


def test_up_restarts_a_killed_worker_and_its_processes_end_when_it_is_killed(bare_terminal: Terminal) -> None:
    terminal = bare_terminal
    assert "workers: none\n" in terminal.run("status").stdout
    up = terminal.start("up")
    try:
        terminal.wait_until(lambda: "starting a worker" in terminal.log.read_text())
        up.send_signal(signal.SIGSTOP)  # it starts no further worker
        os.kill(worker_of(up.pid), signal.SIGKILL)
        assert "workers: none yet; one is starting\n" in terminal.run("status").stdout
        up.send_signal(signal.SIGCONT)
        terminal.wait_until(terminal.active_workers)
        first = terminal.json("status")["workers"][0]["name"]
        terminal.wait_until(lambda: "beat is running" in (terminal.data / "beat.log").read_text())
        children = child_processes(up.pid)
        os.kill(int(first.partition("@")[0].removeprefix("tagger-")), signal.SIGKILL)
        terminal.wait_until(lambda: any(each.name != first for each in terminal.active_workers()))
        children |= child_processes(up.pid)
    finally:
        up.kill()
        up.wait()
    assert len(children) >= 4  # the worker twice, beat, the page
    terminal.wait_until(lambda: not any(is_running(child) for child in children))
    assert all(each["name"] == first for each in terminal.json("status")["workers"])


def test_the_processes_of_up_end_with_it_however_often_ctrl_c_is_pressed(bare_terminal: Terminal) -> None:
    terminal = bare_terminal
    terminal.inject(slow_pass_s="30")
    draw(terminal.folder / "photos" / "a.jpg")
    up = terminal.start("up", "photos")
    try:
        terminal.wait_until(lambda: terminal.jobs() and terminal.jobs()[0].running)
        children = child_processes(up.pid)
        for _ in range(3):
            up.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert up.wait(20) == 130
    finally:
        up.kill()
        up.wait()
    assert len(children) == 3
    assert not any(is_running(child) for child in children)


def worker_of(parent: int) -> int:
    """The id of the worker that this `tagger up` started."""
    arguments = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in child_processes(parent)}
    return next(child for child, words in arguments.items() if words.endswith(b"\0worker\0"))


def child_processes(parent: int) -> set[int]:
    """The services that this `tagger up` started and that still run; the embedded Redis outlives it."""
    started = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return {child for child in started if b"tagger.cli.child" in Path(f"/proc/{child}/cmdline").read_bytes()}


def is_running(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_worker_that_is_shown_can_be_stopped(terminal: Terminal) -> None:
    worker = terminal.start("worker")
    terminal.wait_until(terminal.active_workers, every_s=0.005)
    assert stop(worker) == 0
    assert terminal.active_workers() == []


@pytest.mark.slow
def test_a_worker_is_stopped_while_it_waits_for_its_redis(terminal: Terminal) -> None:
    terminal.environment["TAGGER_REDIS_URL"] = "redis://127.0.0.1:1/0"
    worker = terminal.start("-A", "worker.app", "worker", program="celery")
    terminal.wait_until(lambda: terminal.log.exists() and "Connection refused" in terminal.log.read_text())
    assert stop(worker) == 0
    assert "Traceback" not in terminal.log.read_text()
    assert terminal.active_workers() == []


def test_the_same_on_postgresql(tmp_path: Path, redis_server: RedisServer, postgres_url: str) -> None:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "TAGGER_DATABASE_URL": postgres_url}
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "photos", 100)
    with terminal.workers(1):
        assert terminal.json("enqueue", "--wait", "photos")["tagged"] == 80
    assert len(terminal.json("query", "--country", "France")) == 40
    with terminal.database() as database, database.read() as connection:
        assert len(connection.execute(select(contents.c.id)).all()) == 100


def test_a_server_without_schema_asks_for_the_upgrade(tmp_path: Path, empty_postgres_url: str) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_DATABASE_URL": empty_postgres_url})
    assert "Run `tagger db upgrade`" in terminal.run("status", code=1).stderr
    terminal.run("db", "upgrade")
    assert terminal.json("status")["jobs"] == []
