"""`tagger doctor`: what is wrong with an installation, in full or in a line."""

import os
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import insert, make_url, text, update
from support.command_line import CommandOutput, CommandRunner, run_program
from support.commands import draw
from support.databases import execute, read_scalar

from tagger.cli.commands import doctor as findings
from tagger.cli.commands.doctor import CheckGroup, State, check_space, ok
from tagger.database import diagnostics, schema
from tagger.database.connection import open_database
from tagger.database.diagnostics import file_system_of
from tagger.database.statements import db_now
from tagger.database.tables import ledgers, workers
from tagger.errors import SettingsInvalid
from tagger.ledger.workers import record_heartbeat, record_tick
from tagger.settings import load_settings


def checked(tagger_with_redis: CommandRunner, *, code: int) -> dict[str, dict[str, Any]]:
    """What doctor says, by check; of several findings of one check, the gravest."""
    output = tagger_with_redis("doctor", "--json", code=code)
    assert output.json["ok"] == (code == 0)
    gravity = ("ok", "note", "wrong")
    for each in output.json["checks"]:
        assert set(each) == {"name", "state", "found", "remedy"}
        assert each["remedy"] or each["state"] != "wrong"
    return {
        each["name"]: each
        for each in sorted(output.json["checks"], key=lambda each: gravity.index(each["state"]))
    }


def test_a_healthy_installation_has_nothing_wrong(tagger_with_redis, sqlite_url, tmp_path):
    draw(tmp_path / "photos" / "a.jpg", 0)
    tagger_with_redis("tag", "photos")
    with closing(open_database(sqlite_url)) as database:
        record_heartbeat(database, f"tagger-{os.getpid()}@{socket.gethostname()}", "cpu")
    checks = tagger_with_redis("doctor", "--json").json["checks"]
    assert {each["state"] for each in checks} == {"ok"}, checks
    names = [each["name"] for each in checks]
    assert len(names) == len(set(names))
    of_machine = {"settings", "disk space", "permissions", "device"}
    assert of_machine | {"database", "database file", "redis"} == set(names)
    done = tagger_with_redis("doctor")
    assert (done.code, done.err) == (0, "no problems found\n")
    assert all(line.startswith("ok     ") for line in done.text.splitlines())


def test_a_fresh_machine_has_nothing_wrong_and_nothing_is_made(tagger, tmp_path):
    assert "does not exist yet" in tagger("doctor", code=0).text
    assert list(tmp_path.iterdir()) == []


def test_a_locale_in_which_names_are_not_utf_8_is_refused(monkeypatch):
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(SettingsInvalid, match="file names are iso8859-1; run: export PYTHONUTF8=1"):
        load_settings()


def test_little_space_is_a_note_and_a_path_has_the_file_system_of_the_innermost_mount(tmp_path):
    states = [check_space(tmp_path, size).state for size in (3 * 2**30, 2**30, 100 * 2**20)]
    assert states == [State.OK, State.NOTE, State.WRONG]
    mounts = "/dev/sda1 / ext4 rw 0 0\nnas:/a /mnt/my\\040photos nfs4 rw 0 0\nx /mnt tmpfs rw 0 0\n"
    paths = (Path("/mnt/my photos/data/tagger.sqlite"), Path("/mnt/other"), Path("/home/you"))
    assert [file_system_of(path, mounts) for path in paths] == ["nfs4", "tmpfs", "ext4"]
    assert "nfs4" in diagnostics.NETWORK_FILE_SYSTEMS


def test_a_check_that_hangs_or_fails_is_reported_with_its_findings(monkeypatch):
    monkeypatch.setattr(findings, "LIMIT_S", 0.3)
    never = threading.Event()

    def hanging() -> Iterator[findings.Finding]:
        yield ok("a", "fine")
        never.wait()

    def failing() -> Iterator[findings.Finding]:
        yield ok("a", "fine")
        raise ValueError("odd")

    for checks, told in ((hanging, "no answer"), (failing, "odd")):
        first, last = CheckGroup("b", checks).findings()
        assert (first.state, last.state, last.name) == (State.OK, State.WRONG, "b")
        assert told in last.found
    never.set()


@pytest.mark.usefixtures("failing_photos")
def test_a_damaged_database_is_reported(tagger_with_redis, sqlite_url):
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(file)) as connection:  # what is still in its log would hide the damage
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + os.urandom(40960) + whole[49152:])
    assert checked(tagger_with_redis, code=1)["database file"]["state"] == "wrong"
    file.write_text("no database")
    assert checked(tagger_with_redis, code=1)["database"]["state"] == "wrong"
    assert file.read_text() == "no database"


def test_an_older_or_newer_schema_is_reported_and_not_changed(
    tagger_with_redis, sqlite_database, monkeypatch
):
    with monkeypatch.context() as upgraded:
        upgraded.setattr(schema, "SCHEMA_REVISION", "9999")  # as a later version of this program has it
        database = checked(tagger_with_redis, code=1)["database"]
    assert (database["state"], database["remedy"]) == ("wrong", "Run `tagger db upgrade`.")
    execute(sqlite_database, text("UPDATE alembic_version SET version_num = 'later'"))
    assert "newer version" in checked(tagger_with_redis, code=1)["database"]["found"]
    assert read_scalar(sqlite_database, text("SELECT version_num FROM alembic_version")) == "later"


def test_a_server_without_database_or_schema_is_reported(tagger_with_redis, empty_postgres_url, monkeypatch):
    missing = make_url(empty_postgres_url).set(database="my photos").render_as_string(hide_password=False)
    monkeypatch.setenv("TAGGER_DATABASE_URL", missing)
    assert "Create it on the server" in checked(tagger_with_redis, code=1)["database"]["remedy"]
    monkeypatch.setenv("TAGGER_DATABASE_URL", empty_postgres_url)
    assert "tagger db upgrade" in checked(tagger_with_redis, code=1)["database"]["remedy"]
    tagger_with_redis("db", "upgrade")
    assert checked(tagger_with_redis, code=0)["database"]["state"] == "ok"


def test_a_server_that_is_away_ends_no_check_but_its_own(tagger_with_redis, monkeypatch):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        for port in (1, mute.getsockname()[1]):
            monkeypatch.setenv("TAGGER_DATABASE_URL", f"postgresql://u:geheim@127.0.0.1:{port}/x")
            output = tagger_with_redis("doctor", code=1)
            assert "wrong  database" in output.text
            assert "ok     device" in output.text
            assert "ok     redis" in output.text
            assert "geheim" not in output.text + output.err
    monkeypatch.setenv("TAGGER_REDIS_URL", "redis://127.0.0.1:1/0")
    checks = tagger_with_redis("doctor", "--json").json["checks"]
    redis = next(each for each in checks if each["name"] == "redis")
    assert "refused" in redis["found"]
    assert redis["remedy"].startswith("Check TAGGER_REDIS_URL")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_device_and_a_location_of_no_root_are_reported(tagger_with_redis, tmp_path, monkeypatch):
    draw(tmp_path / "photos" / "a.jpg", 0)
    tagger_with_redis("tag", "photos")
    monkeypatch.setenv("TAGGER_ROOTS", '{"photo": "/x"}')
    found = checked(tagger_with_redis, code=0)["roots"]["found"]
    assert found == "TAGGER_ROOTS names photo, which is not a root; the roots are photos"
    monkeypatch.setenv("TAGGER_DEVICE", "cuda")
    assert "this machine has no cuda" in checked(tagger_with_redis, code=1)["device"]["found"]


def test_schedules_that_do_not_run_and_workers_that_disappeared_are_reported(
    tagger_with_redis, sqlite_database
):
    assert tagger_with_redis("status", "--json").json["last_tick"] is None
    tagger_with_redis("schedule", "add", "nightly", "--cron", "0 3 * * *", "untagged")
    assert "schedules" not in checked(tagger_with_redis, code=0)
    record_tick(sqlite_database)
    assert "schedules: last tick" in tagger_with_redis("status").text
    execute(sqlite_database, update(ledgers).values(last_tick_at=db_now() - 3600))
    late = checked(tagger_with_redis, code=1)["schedules"]
    assert ("last tick 1 h" in late["found"], "tagger beat" in late["remedy"]) == (True, True)
    status = tagger_with_redis("status", "--json")
    assert status.json["last_tick"]["is_late"] is True
    assert "schedules do not run (last tick 1 h" in status.err
    assert "start tagger beat" in status.err
    record_tick(sqlite_database)
    row = {"name": "tagger-1@rack", "device": "cpu", "started_at": datetime.now(UTC)}
    execute(sqlite_database, insert(workers).values(row | {"heartbeat_at": time.time() - 90}))
    output = tagger_with_redis("doctor").text
    assert "tagger-1@rack has been silent for 1 min 3" in output
    assert "dmesg" in output
    execute(sqlite_database, update(workers).values(heartbeat_at=time.time() - 7200))
    assert "workers" not in checked(tagger_with_redis, code=0)


HEALTHY = "healthy: disk space, database, redis\n"


@pytest.fixture
def quick(tagger_with_redis) -> CommandRunner:
    """Runs the command with these options; whatever it finds, it prints one line on stdout alone."""

    def run(*options: str, code: int = 0) -> CommandOutput:
        output = tagger_with_redis("doctor", "--quick", *options, code=code)
        assert output.text.count("\n") == 1, output.text
        assert output.err == ""
        return output

    return run


def test_one_line_says_that_an_installation_and_its_worker_are_healthy(
    quick, tagger_with_redis, sqlite_database
):
    assert quick().text == HEALTHY
    checks = tagger_with_redis("doctor", "--quick", "--json").json["checks"]
    assert f"healthy: {', '.join(check['name'] for check in checks)}\n" == HEALTHY
    record_heartbeat(sqlite_database, "tagger-1@elsewhere", "cpu")
    output = quick("--worker", code=1)
    assert f"no worker on {socket.gethostname()} is alive" in output.text
    record_heartbeat(sqlite_database, f"tagger-{os.getpid()}@{socket.gethostname()}", "cpu")
    quick("--worker")
    assert "--quick" in tagger_with_redis("doctor", "--worker", code=2).err


@pytest.mark.slow
def test_what_is_slow_to_import_is_not_imported(tagger_with_redis):
    program = (
        "import sys\nfrom tagger.cli.main import main\nsys.argv = ['tagger', 'doctor', '--quick']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "slow = {'torch', 'celery', 'kombu', 'alembic', 'numpy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'{code} {slow}' if code or slow else 0)"
    )
    assert run_program(sys.executable, "-c", program).stdout == HEALTHY


def test_all_problems_are_in_the_line_without_passwords(quick, tagger_with_redis, monkeypatch):
    monkeypatch.setenv("TAGGER_DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/x")
    monkeypatch.setenv("TAGGER_REDIS_URL", "redis://:geheim@127.0.0.1:1/0")
    output = quick(code=1)
    assert output.text.startswith("database: ")
    assert "; redis: " in output.text
    assert "geheim" not in output.text
    monkeypatch.setenv("TAGGER_TOP_K", "many")
    assert "TAGGER_TOP_K" in tagger_with_redis("doctor", "--quick", code=1).err


def test_a_redis_that_is_frozen_or_full_is_reported(quick, redis_server):
    redis_server.pause()
    assert "does not answer" in quick(code=1).text
    redis_server.resume()
    redis_server.refuse_messages("full")
    output = quick(code=1)
    assert output.text.startswith("redis: ")
    redis_server.accept_messages()
    quick()
