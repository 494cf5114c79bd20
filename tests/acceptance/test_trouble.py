"""`tagger doctor`: each trouble it knows is caused for real, found, and told with its remedy."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import torch
from artifacts import tiny_artifact
from commands import Terminal, draw, draw_many
from said import Typed
from servers import RedisServer
from sqlalchemy import insert, select, text, update

from tagger import probing
from tagger.artifact import save_artifact
from tagger.cli.checks import findings
from tagger.cli.checks.broker import ABSENT_LIST
from tagger.cli.checks.findings import Running, State, ok
from tagger.cli.checks.surroundings import judge_space
from tagger.database import Database
from tagger.ledger.chunks import ChunkName, claim
from tagger.ledger.jobs import wait_for_root
from tagger.probing import file_system_of
from tagger.tables import Runner, chunks, jobs, photos, schedules, workers
from worker.broker import Broker, keep_refused

BROKEN = b"\xff\xd8\xff broken"


@pytest.fixture
def terminal(tmp_path: Path, redis_server: RedisServer) -> Terminal:
    return Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": redis_server.url})


def checked(person: Typed, *, code: int) -> dict[str, dict[str, Any]]:
    """What doctor says, by check; of several findings of one check, the gravest."""
    said = person("doctor", "--json")
    assert said.code == code, said.text
    assert said.json["ok"] == (code == 0)
    gravity = ("ok", "note", "wrong")
    for each in said.json["checks"]:
        assert set(each) == {"name", "state", "found", "remedy"}
        assert each["remedy"] or each["state"] != "wrong"
    return {
        each["name"]: each
        for each in sorted(said.json["checks"], key=lambda each: gravity.index(each["state"]))
    }


def test_a_healthy_installation_has_nothing_wrong(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 10)
    with terminal.workers(1):
        terminal.run("enqueue", "--wait", "photos")
        document = terminal.json("doctor")
        assert document["ok"] is True
        assert {each["state"] for each in document["checks"]} == {"ok"}, document
        names = [each["name"] for each in document["checks"]]
        assert len(names) == len(set(names))
        wanted = (
            "settings",
            "environment",
            "data folder",
            "disk space",
            "database",
            "model",
            "device",
            "redis",
        )
        assert {*wanted, "refused messages", "workers", "jobs", "roots", "failing photos"} <= set(names)
        done = terminal.run("doctor")
    assert done.stderr == "nothing is wrong\n"
    assert all(line.startswith("ok     ") for line in done.stdout.splitlines())


def test_a_fresh_machine_has_nothing_wrong_and_nothing_is_made(tagger: Typed, tmp_path: Path) -> None:
    said = tagger("doctor")
    assert said.code == 0, said.text
    assert "is not set up yet" in said.text
    assert list(tmp_path.iterdir()) == []


def test_names_that_mean_nothing_and_empty_values_are_told(
    person: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_COLOUR", "blue")
    assert checked(person, code=0)["environment"]["state"] == "note"
    monkeypatch.setenv("TAGGER_REDISURL", "redis://x")
    environment = checked(person, code=1)["environment"]
    assert "TAGGER_REDIS_URL was meant?" in environment["found"]
    monkeypatch.delenv("TAGGER_REDISURL")
    monkeypatch.setenv("TAGGER_MODEL", "")
    assert checked(person, code=1)["environment"]["remedy"] == "unset TAGGER_MODEL"


def test_settings_that_cannot_be_read_are_told(person: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGGER_TOP_K", "many")
    assert "TAGGER_TOP_K" in checked(person, code=1)["settings"]["found"]


def test_a_data_folder_that_is_none_is_told(
    person: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "file"))
    assert "is not a folder" in checked(person, code=1)["data folder"]["found"]


def test_little_space_is_a_note_and_hardly_any_is_wrong(tmp_path: Path) -> None:
    assert judge_space(tmp_path, 3 * 2**30).state is State.OK
    assert judge_space(tmp_path, 2**30).state is State.NOTE
    assert judge_space(tmp_path, 100 * 2**20).state is State.WRONG


def test_the_file_system_of_a_path_is_that_of_the_innermost_mount() -> None:
    mounts = "/dev/sda1 / ext4 rw 0 0\nnas:/a /mnt/my\\040photos nfs4 rw 0 0\nx /mnt tmpfs rw 0 0\n"
    assert file_system_of(Path("/mnt/my photos/data/tagger.sqlite"), mounts) in probing.NETWORK_FILE_SYSTEMS
    assert file_system_of(Path("/mnt/other"), mounts) == "tmpfs"
    assert file_system_of(Path("/home/you"), mounts) == "ext4"


def test_a_check_that_hangs_or_fails_says_so_and_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "LIMIT_S", 0.3)
    never = threading.Event()

    def hanging() -> Iterator[findings.Finding]:
        yield ok("a", "fine")
        never.wait()

    def failing() -> Iterator[findings.Finding]:
        yield ok("a", "fine")
        raise ValueError("odd")

    for checks, told in ((hanging, "no answer"), (failing, "odd")):
        first, last = Running("b", checks).findings()
        assert (first.state, last.state, last.name) == (State.OK, State.WRONG, "b")
        assert told in last.found
    never.set()


def test_a_locked_database_names_who_holds_it(person: Typed, sqlite_database: Database) -> None:
    file = Path(sqlite_database.shown_url.removeprefix("sqlite:///"))
    with _writing(file) as holder:
        lock = checked(person, code=1)["database lock"]
        assert f"process {holder.pid}" in lock["found"]
        assert lock["remedy"] == f"kill {holder.pid}"
    assert checked(person, code=0)["database lock"]["state"] == "ok"


def test_a_damaged_database_is_told(person: Typed, sqlite_url: str, tmp_path: Path) -> None:
    _with_failures(person, tmp_path)
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as connection:  # what is still in its log would hide the damage
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + os.urandom(40960) + whole[49152:])
    assert checked(person, code=1)["database file"]["state"] == "wrong"
    file.write_text("no database")
    assert checked(person, code=1)["database"]["state"] == "wrong"
    assert file.read_text() == "no database"


def test_an_older_or_newer_schema_is_told_and_left_as_it_is(
    person: Typed, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as upgraded:
        upgraded.setattr(probing, "SCHEMA_REVISION", "9999")  # as a later version of this program has it
        database = checked(person, code=0)["database"]
    assert database["state"] == "note"
    assert "tagger db upgrade" in database["remedy"]
    with sqlite_database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    assert "newer version" in checked(person, code=1)["database"]["found"]
    with sqlite_database.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "later"


def test_a_server_that_is_not_set_up_or_takes_no_writes_is_told(
    person: Typed, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGGER_DATABASE_URL", empty_postgres_url)
    assert checked(person, code=1)["database"]["remedy"] == "tagger db upgrade"
    person("db", "upgrade")
    assert checked(person, code=0)["database"]["state"] == "ok"
    with closing(psycopg.connect(empty_postgres_url.replace("+psycopg", ""), autocommit=True)) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
    assert "only answers questions" in checked(person, code=1)["database lock"]["found"]


def test_a_server_that_is_away_or_never_answers_ends_no_check_but_its_own(
    person: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        for port in (1, mute.getsockname()[1]):
            monkeypatch.setenv("TAGGER_DATABASE_URL", f"postgresql://u:geheim@127.0.0.1:{port}/x")
            said = person("doctor")
            assert said.code == 1
            assert "wrong  database" in said.text
            assert "ok     model" in said.text
            assert "ok     redis" in said.text
            assert "geheim" not in said.text + said.err


def test_a_model_file_that_changed_or_is_gone_is_told(
    person: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tiny.pt"
    person("model", "add", file, "--name", "mine")
    monkeypatch.setenv("TAGGER_MODEL", "mine")
    assert checked(person, code=0)["model"]["state"] == "ok"
    whole = file.read_bytes()
    file.write_bytes(whole + b"x")
    assert "digest differs" in checked(person, code=1)["model"]["found"]
    file.unlink()
    assert "no longer there" in checked(person, code=1)["model"]["found"]
    monkeypatch.setenv("TAGGER_MODEL", "other")
    assert "no model other" in checked(person, code=1)["model"]["found"]


def test_the_model_of_an_open_job_is_checked_too(person: Typed, tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.jpg", 0)
    tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
    person("enqueue", "photos", "--model", tmp_path / "other.pt")
    (tmp_path / "other.pt").unlink()
    assert "job 1 was made with a model" in checked(person, code=1)["model"]["found"]


def test_a_model_whose_scores_are_no_chances_is_told(person: Typed, tmp_path: Path) -> None:
    manifest = tiny_artifact(tmp_path / "tiny.pt")
    save_artifact(torch.jit.script(_NoNumbers(len(manifest.labels))), manifest, tmp_path / "tiny.pt")
    assert "no chances" in checked(person, code=1)["model"]["found"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_told(person: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGGER_DEVICE", "cuda")
    assert "export TAGGER_DEVICE=" in checked(person, code=1)["device"]["remedy"]
    monkeypatch.setenv("TAGGER_DEVICE", "cpu")
    monkeypatch.setenv("TAGGER_THREADS", "256")
    assert checked(person, code=0)["device"]["state"] == "note"


def test_a_redis_that_is_away_or_stands_still_is_told(person: Typed, redis_server: RedisServer) -> None:
    redis_server.pause()
    assert "does not answer" in checked(person, code=1)["redis"]["found"]
    redis_server.resume()
    assert checked(person, code=0)["redis"]["state"] == "ok"
    redis_server.stop()
    redis = checked(person, code=1)["redis"]
    assert f"redis-cli -u {redis_server.url} ping" in redis["remedy"]


def test_a_redis_that_drops_or_refuses_messages_is_told(person: Typed, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert checked(person, code=0)["redis eviction"]["state"] == "note"
        client.config_set("maxmemory", "100mb")
        eviction = checked(person, code=1)["redis eviction"]
        assert "config set maxmemory-policy noeviction" in eviction["remedy"]
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        assert "refuses messages" in checked(person, code=1)["redis memory"]["found"]
        client.config_set("maxmemory", "0")
        client.config_set("appendonly", "no")
        assert checked(person, code=0)["redis persistence"]["state"] == "note"
        assert not client.exists(ABSENT_LIST)


def test_refused_messages_are_counted_with_how_to_see_and_clear_them(
    person: Typed, redis_server: RedisServer
) -> None:
    keep_refused(Broker(redis_server.url, embedded=False), {"version": 2}, "version: should be 1")
    refused = checked(person, code=0)["refused messages"]
    assert "version: should be 1" in refused["found"]
    assert f"redis-cli -u {redis_server.url} del tagger.refused" in refused["remedy"]


def test_messages_that_redis_lost_or_that_another_database_sent_are_told(
    person: Typed, redis_server: RedisServer, terminal: Terminal, tmp_path: Path
) -> None:
    draw(tmp_path / "photos" / "a.jpg", 0)
    person("enqueue", "photos")
    assert checked(person, code=1)["messages"]["state"] == "ok"  # what is wrong is that there is no worker
    redis_server.flush()
    assert "1 are lost" in checked(person, code=1)["messages"]["found"]
    draw(terminal.folder / "photos" / "b.jpg", 0)
    terminal.run("enqueue", "photos")
    assert "messages of another database" in checked(person, code=1)["messages"]["found"]


def test_no_password_is_ever_printed(person: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, url in (
        ("TAGGER_REDIS_URL", "redis://:geheim@127.0.0.1:1/0"),
        ("TAGGER_REDIS_URL", "redis://127.0.0.1:1/0?password=geheim"),
        ("TAGGER_REDIS_URL", "redis://:ge/heim@127.0.0.1:1"),
        ("TAGGER_REDIS_URL", "redis://:geheim@127.0.0.1:geheim/0"),
        ("TAGGER_DATABASE_URL", "postgresql://127.0.0.1:1/x?password=geheim"),
        ("TAGGER_DATABASE_URL", "postgresql://u:geheim@127.0.0.1:port/x"),
        ("TAGGER_DATABASE_URL", "geheim"),
    ):
        monkeypatch.setenv(name, url)
        said = person("doctor")
        assert said.code == 1
        assert "heim" not in said.text + said.err, url


def test_work_without_a_worker_is_told_and_a_job_that_waits_for_long(
    person: Typed, tmp_path: Path, sqlite_database: Database
) -> None:
    draw(tmp_path / "photos" / "a.jpg", 0)
    person("enqueue", "photos")
    found = checked(person, code=1)
    assert found["workers"]["remedy"] == "tagger worker"
    assert found["jobs"]["state"] == "ok"
    with sqlite_database.write() as connection:
        made_at = connection.scalar(select(jobs.c.created_at))
        connection.execute(update(jobs).values(created_at=made_at.replace(year=made_at.year - 1)))
    assert "no worker is there" in checked(person, code=1)["jobs"]["found"]


def test_a_schedule_that_no_clock_runs_is_told(person: Typed, sqlite_database: Database) -> None:
    person("schedule", "add", "nightly", "--cron", "0 3 * * *", "untagged")
    assert checked(person, code=0)["schedules"]["state"] == "ok"
    with sqlite_database.write() as connection:
        connection.execute(update(schedules).values(next_due=datetime.now(UTC) - timedelta(hours=1)))
    late = checked(person, code=1)["schedules"]
    assert (late["state"], "nightly" in late["found"], "tagger beat" in late["remedy"]) == (
        "wrong",
        True,
        True,
    )


def test_a_killed_worker_with_photos_in_hand_is_told(terminal: Terminal) -> None:
    draw_many(terminal.folder / "photos", 80)
    terminal.environment |= {"TAGGER_BATCH_SIZE": "4", "TAGGER_THREADS": "1"}
    terminal.inject(slow_pass_s="0.1")
    with terminal.database() as database, terminal.workers(1) as (worker,):
        with terminal.frozen([worker]):
            terminal.run("enqueue", "photos")
        terminal.freeze_with_a_lease(worker, database)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        with database.write() as connection:  # half a minute later
            connection.execute(update(workers).values(seen_at=workers.c.seen_at - 60))
        document = terminal.json("doctor", code=1)
    told = [each["found"] for each in document["checks"] if each["name"] == "workers"]
    assert any("in hand, and nobody is there to take them over" in found for found in told), told


def test_a_worker_that_ended_without_a_word_is_told_for_an_hour(
    person: Typed, sqlite_database: Database
) -> None:
    row = {"name": "tagger-1@rack", "device": "cpu", "started_at": datetime.now(UTC)}
    with sqlite_database.write() as connection:
        connection.execute(insert(workers).values(row | {"seen_at": time.time() - 90}))
    said = person("doctor").text
    assert "tagger-1@rack has been silent for 9" in said
    assert "dmesg on rack" in said
    with sqlite_database.write() as connection:
        connection.execute(update(workers).values(seen_at=time.time() - 7200))
    assert checked(person, code=0)["workers"]["state"] == "ok"


def test_photos_that_take_their_workers_down_are_told(
    person: Typed, tmp_path: Path, sqlite_database: Database
) -> None:
    draw(tmp_path / "photos" / "a.jpg", 0)
    person("enqueue", "photos")
    for _ in range(2):
        assert claim(sqlite_database, ChunkName(1, 0), Runner.WORKERS, "w") is not None
        with sqlite_database.write() as connection:
            connection.execute(update(chunks).values(lease_until=0.0))
    attempts = checked(person, code=0)["attempts"]
    assert "photos 1 to 1 of job 1 were begun 2 times" in attempts["found"]


def test_a_root_that_is_away_is_told_with_the_jobs_that_wait_for_it(
    person: Typed, tmp_path: Path, sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "photos" / "a.jpg", 0)
    person("tag", "photos")
    draw(tmp_path / "photos" / "b.jpg", 1)
    person("enqueue", "photos")
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    wait_for_root(sqlite_database, 2, "photos")
    found = checked(person, code=1)
    assert "missing or empty, though 2 photos are known in it" in found["roots"]["found"]
    assert "photos" in found["jobs"]["found"]
    monkeypatch.setenv("TAGGER_ROOTS", f'{{"photos": "{tmp_path}/elsewhere"}}')
    assert checked(person, code=1)["roots"]["state"] == "ok"
    monkeypatch.setenv("TAGGER_ROOTS", '{"photo": "/x"}')
    said = person("doctor").text
    assert "TAGGER_ROOTS names photo, which is no root; they are photos" in said


def test_failing_photos_are_counted_with_how_to_retry_those_that_may_pass(
    person: Typed, tmp_path: Path, sqlite_database: Database
) -> None:
    _with_failures(person, tmp_path)
    assert checked(person, code=0)["failing photos"]["remedy"] == "tagger failures"
    with sqlite_database.write() as connection:  # as a read that hangs leaves it
        connection.execute(update(photos).where(photos.c.path == "a.jpg").values(failure_kind="timed-out"))
    said = person("doctor").text
    assert "1 timed-out; the cause may have passed" in said
    assert "-> tagger retry --kind timed-out\n" in said


def _with_failures(person: Typed, folder: Path, *options: str) -> None:
    """Job 1: one photo that is fine, three that fail, one of them empty."""
    draw(folder / "photos" / "fine.jpg", 0)
    for name in ("a.jpg", "b.jpg"):
        (folder / "photos" / name).write_bytes(BROKEN)
    (folder / "photos" / "empty.jpg").touch()
    assert person("tag", "photos", *options).code == 3


class _NoNumbers(torch.nn.Module):
    """A model whose training went wrong."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.full((count,), float("nan")), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(1, 2, 3)).unsqueeze(1) * self.weights.float().unsqueeze(0)


@contextmanager
def _writing(file: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that has begun to write, and takes its time."""
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('begun', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()
