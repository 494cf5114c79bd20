"""`tagger enqueue`, `worker`, `status`: the main job through a real Redis and real Celery workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.servers import RedisServer
from support.commands import Terminal, draw, draw_many, stop
from support.tls_servers import refused_objects


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


@pytest.fixture
def bare_terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Without a configured Redis."""
    terminal = Terminal(tmp_path / "terminal")
    yield terminal
    terminal.end_embedded_redis()


def test_a_folder_goes_through_redis_and_two_workers_into_the_database(
    terminal: Terminal, limited_redis: RedisServer
) -> None:
    """With the user of Redis that the docs recommend. One worker is started with Celery's own command."""
    terminal.environment["TAGGER_REDIS_URL"] = limited_redis.url.replace("//", "//tagger:PASSWORD@")
    draw_many(terminal.folder / "photos", 200)
    for number in range(5):
        (terminal.folder / "photos" / f"broken-{number}.jpg").write_bytes(b"\xff\xd8\xff broken" * number)
    plain = terminal.start("-A", "worker.app", "worker", program="celery")
    try:
        with terminal.workers(1):
            terminal.wait_until(lambda: len(terminal.active_workers()) == 2)
            done = terminal.run("enqueue", "--wait", "photos", code=3)
            assert "205 photos: 160 tagged, 40 unknown, 0 skipped, 5 failed" in done.stderr
            assert len(terminal.json("failures")) == 5
            status = terminal.json("status")
            assert len(status["workers"]) == 2
            assert status["queues"] == {"interactive": 0, "bulk": 0}
            assert len(terminal.json("query", "--landmark", "eiffel tower")) == 40
            counts = {each["landmark"]: each["photos"] for each in terminal.json("landmarks")}
            assert sum(counts.values()) == 160
    finally:
        assert stop(plain) == 0
    assert terminal.json("status")["workers"] == []
    assert refused_objects(limited_redis) <= {
        b"client"
    }  # redis-py tells the server its version, and does without


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
    terminal.process_job(1)
    assert terminal.progress(1).is_over


def test_waiting_without_a_worker_gives_up_and_keeps_the_job(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(terminal.folder / "photos" / "a.jpg")
    monkeypatch.setattr("tagger.cli.follow.NO_WORKER_S", 1.0)
    done = terminal.run("enqueue", "--wait", "photos", code=1)
    assert "no worker has been running for 1 s. Job 1 stays" in done.stderr
    assert terminal.json("status", "1")["state"] == "queued"
    terminal.process_job(1)
    assert terminal.json("status", "1")["tagged"] == 1


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
        verbose = Terminal(terminal.folder, {name: url}).run("-vv", "status", code=code)
        assert "heim" not in verbose.stdout + verbose.stderr, url


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


@pytest.mark.slow
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


def test_a_server_without_schema_asks_for_the_upgrade(tmp_path: Path, empty_postgres_url: str) -> None:
    terminal = Terminal(tmp_path / "terminal", {"TAGGER_DATABASE_URL": empty_postgres_url})
    assert "Run `tagger db upgrade`" in terminal.run("status", code=1).stderr
    terminal.run("db", "upgrade")
    assert terminal.json("status")["jobs"] == []
