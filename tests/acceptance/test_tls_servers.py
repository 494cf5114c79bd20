"""A job over TLS to a real Redis and PostgreSQL, with passwords and limited rights, as in servers.md."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError
from support.commands import Terminal, draw_many
from support.tls_servers import (
    TlsPostgresServer,
    TlsRedisServer,
    postgres_programs,
    redis_program,
)

from tagger.transfer.upgrade import upgrade_database

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
