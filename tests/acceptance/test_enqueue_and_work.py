"""`tagger enqueue`, `worker`, `status`: the main job through a real Redis and real Celery workers."""

import pytest
from support.commands import Terminal, draw, draw_many, stop
from support.tls_servers import refused_objects

from tagger.cli.job_text import idle_workers_text
from tagger.database.connection import Database
from tagger.database.enums import Note, NoteCode
from tagger.errors import SettingsInvalid
from tagger.ledger.workers import list_workers, record_heartbeat
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
    terminal.wait_until(lambda: "warning: no worker is running; start one with" in terminal.log.read_text())
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
            assert "tagger-7@rack is starting" in str(idle_workers_text(list_workers(database)))
        record_heartbeat(database, "tagger-7@rack", "cpu")  # as the sweeper of a worker that has started
        assert [(each.device, each.is_starting) for each in list_workers(database)] == [("cpu", False)]
        with pytest.raises(SettingsInvalid):
            _fail_to_start(terminal, database, "tagger-8@rack")
        assert [each.name for each in list_workers(database)] == ["tagger-7@rack"]


def _fail_to_start(terminal: Terminal, database: Database, name: str) -> None:
    with shown_as_starting(database, name, "auto"):
        terminal.wait_until(lambda: name in {each.name for each in list_workers(database)})
        raise SettingsInvalid(reason="as of a model that cannot run")


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
    assert "no worker starts work now (tagger-7@rack" in enqueued.stderr
    assert reason in enqueued.stderr
    assert [each["waits_for"] for each in terminal.json("status")["workers"]] == [reason]
    assert f"(cpu, idle, waits: {reason})" in terminal.run("status").stdout
