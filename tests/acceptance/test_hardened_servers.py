"""The limited users of docs/how-to/servers.md: what workers need is allowed, and nothing else."""

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import psycopg
import pytest
import trustme
import yaml
from redis import Redis
from redis.exceptions import NoPermissionError, RedisError
from rig.servers import KEYS, PostgresServer, RedisServer
from support.colour_folders import TaggedFolder
from support.local_servers import running

from tagger.cli.program import run
from tagger.database.connection import open_database
from tagger.transfer.upgrade import upgrade_database
from worker.producer import make_app

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parents[2]
PAGE = (SOURCES / "docs" / "how-to" / "servers.md").read_text()
ROLES = SOURCES / "deploy" / "postgres-roles.sql"
HIDE = yaml.safe_load((SOURCES / "deploy" / "compose.yaml").read_text())["services"]["hide"]["command"]
"""What the Compose file does after each upgrade."""


def owner_of(server: PostgresServer) -> str:
    return server.url.replace("//postgres@/postgres", "//tagger_owner@/tagger")


@pytest.fixture(scope="module", params=["page", "compose"])
def postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server with the roles and the database of the page, or of Compose, and the schema of its owner."""
    with PostgresServer() as server:
        if request.param == "page":
            as_superuser, as_owner, after_upgrade = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
            for url, script in ((server.url, as_superuser), (owner_of(server), as_owner)):
                with closing(psycopg.connect(url, autocommit=True)) as connection:
                    for statement in script.split(";\n"):
                        connection.execute(statement.encode())
        else:
            create_roles_of_compose(server)
            after_upgrade = HIDE[-1].removeprefix("--command=")
        upgrade_database(owner_of(server))
        with closing(psycopg.connect(owner_of(server), autocommit=True)) as connection:
            connection.execute(after_upgrade.encode())
        yield server


def create_roles_of_compose(server: PostgresServer) -> None:
    """Run the script as the image of PostgreSQL does with a new volume."""
    passwords = {f"DB_{name}PASSWORD": f"{name}it's" for name in ("OWNER_", "", "READER_")}
    psql = (server.programs / "psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", server.url, "-f", ROLES)
    subprocess.run(psql, check=True, capture_output=True, env=os.environ | passwords)


def test_the_script_of_compose_gives_the_roles_of_the_page_passwords_and_the_superuser_none() -> None:
    statements = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    script = re.sub(r":'(\w+)'", lambda found: f"'{found[1].upper()}'", ROLES.read_text())
    for statement in "".join(statements[:2]).splitlines():
        assert statement in script
    assert HIDE[-1] == f"--command={statements[2].strip().removesuffix(';')}"
    with PostgresServer() as server:
        create_roles_of_compose(server)
        with closing(psycopg.connect(server.url)) as connection:
            rows = connection.execute(
                "SELECT rolname, rolsuper, rolpassword LIKE 'SCRAM%' FROM pg_authid WHERE rolcanlogin"
            ).fetchall()
    assert sorted(rows) == [
        ("postgres", True, None),
        ("tagger", False, True),
        ("tagger_owner", False, True),
        ("tagger_reader", False, True),
    ]


def test_the_user_of_redis_may_do_nothing_else(limited_redis: RedisServer) -> None:
    with Redis(port=limited_redis.port, username="tagger", password="PASSWORD") as client:
        for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "PUBLISH any thing"):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())


def test_the_roles_of_postgresql_may_do_nothing_else(postgres: PostgresServer) -> None:
    for role, statement in (
        ("tagger", "CREATE TABLE public.mine (id int)"),
        ("tagger", "DROP TABLE photos"),
        ("tagger", "COPY (SELECT 1) TO PROGRAM 'true'"),
        ("tagger_reader", "UPDATE photos SET path = ''"),
        ("tagger_reader", "SELECT details FROM audit_log"),
    ):
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


def test_only_the_owner_upgrades_and_gets_a_copy(
    postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "data"))
    laptop_url = f"sqlite:///{tmp_path}/laptop.sqlite"
    with closing(open_database(laptop_url)) as laptop:
        TaggedFolder(laptop, tmp_path)  # its model has landmarks, whose ids a sequence continues
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
    for refused, done in (
        ((tagger_url, "db", "upgrade"), (owner_url, "db", "upgrade")),
        ((laptop_url, "db", "copy", tagger_url), (laptop_url, "db", "copy", owner_url)),
    ):
        code, text = run_as(*refused)
        assert code == 1
        assert re.search("permission denied|must be owner", text)
        assert "as the role that owns the schema" in text
        assert run_as(*done)[0] == 0


def test_a_certificate_of_an_unknown_authority_is_refused_by_default() -> None:
    """The server ends each connection at the handshake, before a client could send a command."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = ThreadingTCPServer(("127.0.0.1", 0), BaseRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with (
        running(server),
        closing(make_app(f"rediss://localhost:{server.server_address[1]}/0", KEYS)) as app,
        app.connection_for_write() as connection,
        pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        connection.channel().client.ping()
