"""Workers with the limited users and encrypted connections of docs/how-to/harden.md."""

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import NoPermissionError
from rig.servers import PostgresServer, RedisServer
from support.colour_folders import TaggedFolder
from support.commands import Terminal, draw_many
from support.tls_proxy import TlsProxy

from tagger.cli.program import run
from tagger.database.connection import open_database
from tagger.database.schema import upgrade_database
from tagger.transfer.exporter import export_database
from worker.celery_app import make_app

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "harden.md").read_text()
PHOTOS = 10


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server with the roles and the database of the page, and the schema of its owner."""
    with PostgresServer() as server:
        as_superuser, as_owner, after_upgrade = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
        owner_url = server.url.replace("//postgres@/postgres", "//tagger_owner@/tagger")
        for url, script in ((server.url, as_superuser), (owner_url, as_owner)):
            with closing(psycopg.connect(url, autocommit=True)) as connection:
                for statement in script.split(";\n"):
                    connection.execute(statement.encode())
        upgrade_database(owner_url)
        with closing(psycopg.connect(owner_url, autocommit=True)) as connection:
            connection.execute(after_upgrade.encode())
        yield server


@pytest.fixture
def limited_redis(redis_server: RedisServer) -> RedisServer:
    """A Redis server with the user of the page."""
    rule = next(line for line in PAGE.splitlines() if line.startswith("user tagger on"))
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", *rule.removeprefix("user ").split())
    return redis_server


def test_a_job_runs_with_limited_users_over_checked_connections(
    postgres: PostgresServer, limited_redis: RedisServer, tmp_path: Path
) -> None:
    with (
        TlsProxy(limited_redis.port, tmp_path / "redis.pem") as redis_proxy,
        TlsProxy(postgres.socket, tmp_path / "postgres.pem") as postgres_proxy,
    ):
        address = f"localhost:{postgres_proxy.port}/tagger?sslmode=verify-full&sslrootcert={postgres_proxy.authority}"
        redis_url = (
            f"rediss://tagger:PASSWORD@localhost:{redis_proxy.port}/0?ssl_ca_certs={redis_proxy.authority}"
        )
        settings = {
            "TAGGER_DATABASE_URL": f"postgresql://tagger@{address}",
            "TAGGER_REDIS_URL": redis_url,
        }
        terminal = Terminal(tmp_path / "home", settings)
        draw_many(terminal.folder / "photos", PHOTOS)
        with terminal.workers(1):
            done = terminal.json("enqueue", "--wait", "photos")
            assert (done["tagged"], done["unknown"], done["failed"]) == (8, 2, 0)
            doctor = terminal.json("doctor")
        terminal.run("db", "check")
    assert {check["name"]: check for check in doctor["checks"] if check["state"] != "ok"} == {}
    with limited_redis.client() as client:
        refused = {entry[b"object"] for entry in map(_fields, client.execute_command("ACL", "LOG"))}
    assert refused <= {b"client"}  # redis-py tells the server its version, and does without


def _fields(entry: Any) -> dict[bytes, object]:
    """One entry of a Redis log: the client returns a dictionary, or names and values in turn."""
    return entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "PUBLISH any thing"])
def test_the_user_of_redis_may_do_nothing_else(limited_redis: RedisServer, command: str) -> None:
    with (
        Redis(port=limited_redis.port, username="tagger", password="PASSWORD") as client,
        pytest.raises(NoPermissionError),
    ):
        client.execute_command(*command.split())


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("tagger", "CREATE TABLE public.mine (id int)"),
        ("tagger", "DROP TABLE photos"),
        ("tagger", "COPY (SELECT 1) TO PROGRAM 'true'"),
        ("tagger_reader", "UPDATE photos SET path = ''"),
        ("tagger_reader", "SELECT password_hash FROM users"),
        ("tagger_reader", "SELECT digest FROM page_sessions"),
        ("tagger_reader", "SELECT digest FROM access_tokens"),
        ("tagger_reader", "SELECT details FROM audit_log"),
    ],
)
def test_the_roles_of_postgresql_may_do_nothing_else(
    postgres: PostgresServer, role: str, statement: str
) -> None:
    url = postgres.url.replace("//postgres@/postgres", f"//{role}@/tagger")
    with (
        closing(psycopg.connect(url)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_other_programs_read_the_tags(postgres: PostgresServer) -> None:
    url = postgres.url.replace("//postgres@/postgres", "//tagger_reader@/tagger")
    with closing(psycopg.connect(url)) as connection:
        assert connection.execute("SELECT count(*) FROM effective_tags").fetchone() is not None


def test_only_the_owner_upgrades_and_imports(
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "data"))
    exported = tmp_path / "library.ndjson"
    with closing(open_database(f"sqlite:///{tmp_path}/laptop.sqlite")) as laptop, exported.open("wb") as file:
        TaggedFolder(laptop, tmp_path)  # its model has landmarks, whose ids a sequence continues
        export_database(laptop, file, "1.2.3")
    with closing(psycopg.connect(postgres.url, autocommit=True)) as connection:
        connection.execute("CREATE DATABASE moved OWNER tagger_owner")
    _, as_owner, _ = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    owner_url = postgres.url.replace("//postgres@/postgres", "//tagger_owner@/moved")
    with closing(psycopg.connect(owner_url, autocommit=True)) as connection:
        connection.execute(as_owner.encode())

    def run_as(url: str, *command: str) -> tuple[int, str]:
        monkeypatch.setenv("TAGGER_DATABASE_URL", url)
        monkeypatch.setattr(sys, "argv", ["tagger", *command])
        with pytest.raises(SystemExit) as exited:
            run()
        return int(exited.value.code or 0), capsys.readouterr().err

    tagger_url = owner_url.replace("//tagger_owner@", "//tagger@")
    for command in (("db", "upgrade"), ("import", str(exported))):
        code, text = run_as(tagger_url, *command)
        assert code == 1
        assert "permission denied" in text
        assert "as the role that owns the schema" in text
        assert run_as(owner_url, *command)[0] == 0


def test_a_certificate_of_an_unknown_authority_is_refused_by_default(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    with (
        TlsProxy(redis_server.port, tmp_path / "redis.pem") as proxy,
        closing(make_app(f"rediss://localhost:{proxy.port}/0")) as app,
        app.connection_for_write() as connection,
        pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connection.default_channel.client.ping()
