"""Commands of `tagger` that run in this process, with a SQLite database and a data folder of their own."""

from collections.abc import Iterator
from functools import partial

import pytest
from rig.servers import RedisServer
from support.artifacts import tiny_artifact
from support.command_line import CommandRunner, run_command
from support.commands import Terminal, draw
from support.databases import empty_database
from support.tls_servers import PAGE as HARDEN

from tagger.cli.main import main
from tagger.database.connection import Database

BROKEN = b"\xff\xd8\xff broken"


@pytest.fixture
def sqlite_url(tmp_path, monkeypatch) -> str:
    url = f"sqlite:///{tmp_path / 'data' / 'tagger.sqlite'}"
    monkeypatch.setenv("TAGGER_DATABASE_URL", url)
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("TAGGER_DEVICE", "cpu")
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return url


@pytest.fixture
def sqlite_database(sqlite_url, tmp_path) -> Iterator[Database]:
    with empty_database(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def tagger(sqlite_url) -> CommandRunner:
    """`tagger("query", "--json")` runs that command in this process."""
    return partial(run_command, main)


@pytest.fixture
def tagger_with_redis(tagger, tmp_path, monkeypatch, redis_server) -> CommandRunner:
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    monkeypatch.setenv("TAGGER_REDIS_URL", redis_server.url)
    return tagger


@pytest.fixture
def failing_photos(sqlite_database, tagger_with_redis, tmp_path) -> None:
    """Job 1 has one photo that is fine and three that fail, one of them empty."""
    draw(tmp_path / "photos" / "fine.jpg", 0)
    for name, content in (("a.jpg", BROKEN), ("b.jpg", BROKEN), ("empty.jpg", b"")):
        (tmp_path / "photos" / name).write_bytes(content)
    assert tagger_with_redis("tag", "photos").code == 3


@pytest.fixture
def terminal(tmp_path) -> Terminal:
    """A folder whose commands have a tiny model and a SQLite database."""
    return Terminal(tmp_path / "terminal")


@pytest.fixture
def bare_terminal(tmp_path) -> Iterator[Terminal]:
    """A terminal without a configured Redis, whose embedded one ends with the test."""
    terminal = Terminal(tmp_path / "terminal")
    yield terminal
    terminal.end_embedded_redis()


@pytest.fixture
def limited_redis(redis_server) -> RedisServer:
    """A Redis server with the user `tagger` of docs/how-to/servers.md."""
    rule = next(line for line in HARDEN.splitlines() if line.startswith("user tagger on"))
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", *rule.removeprefix("user ").split())
    return redis_server
