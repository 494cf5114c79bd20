"""Ordeals on each kind of database, and servers that a test may break."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Terminal
from ordeal import Ordeal
from pace import IN_EARNEST, SHORT, WHOLE, Pace
from servers import PostgresServer, RedisServer

from tagger.database import upgrade_database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if WHOLE and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def pace() -> Pace:
    return IN_EARNEST if WHOLE else SHORT


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'database' / 'tagger.sqlite'}"


@pytest.fixture
def ordeal(tmp_path: Path, redis_server: RedisServer, sqlite_url: str, pace: Pace) -> Ordeal:
    """On SQLite."""
    return new_ordeal(tmp_path, redis_server, sqlite_url, pace)


@pytest.fixture
def ordeal_on_each(tmp_path: Path, redis_server: RedisServer, database_url: str, pace: Pace) -> Ordeal:
    """On SQLite and on PostgreSQL in turn."""
    return new_ordeal(tmp_path, redis_server, database_url, pace)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own, that it may break."""
    with PostgresServer() as server:
        upgrade_database(server.url)
        yield server


@pytest.fixture
def ordeal_on_postgres(
    tmp_path: Path, redis_server: RedisServer, postgres: PostgresServer, pace: Pace
) -> Ordeal:
    """On the PostgreSQL that may be broken."""
    return new_ordeal(tmp_path, redis_server, postgres.url, pace)


def new_ordeal(folder: Path, redis_server: RedisServer, database_url: str, pace: Pace) -> Ordeal:
    """Slow workers whose clock is the pace's, and photos for them."""
    terminal = Terminal(
        folder / "terminal",
        {
            "TAGGER_REDIS_URL": redis_server.url,
            "TAGGER_DATABASE_URL": database_url,
            "TAGGER_BATCH_SIZE": "4",
            "TAGGER_THREADS": "1",
        },
    )
    terminal.inject(slow_pass_s="0.15", **({"values": pace.values} if pace.values else {}))
    return Ordeal(terminal)
