"""Fault scenarios on each kind of database, and servers that a test may break."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.servers import FullablePostgresServer, PostgresServer, RedisServer
from support.commands import Terminal
from support.fault_scenario import REAL_DURATIONS, REAL_FAULTS, SHORT_DURATIONS, FaultDurations, FaultScenario

from tagger.transfer import upgrade_database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if REAL_FAULTS and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def durations() -> FaultDurations:
    return REAL_DURATIONS if REAL_FAULTS else SHORT_DURATIONS


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request) -> str:
    """As in the root conftest; on PostgreSQL only in the long form."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path / 'database' / 'tagger.sqlite'}"


@pytest.fixture
def scenario(tmp_path, redis_server, sqlite_url, durations) -> FaultScenario:
    return new_scenario(tmp_path, redis_server, sqlite_url, durations)


@pytest.fixture
def scenario_on_each_database(tmp_path, redis_server, database_url, durations) -> FaultScenario:
    return new_scenario(tmp_path, redis_server, database_url, durations)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        upgrade_database(server.url)
        yield server


@pytest.fixture
def scenario_on_postgres(tmp_path, redis_server, postgres, durations) -> FaultScenario:
    return new_scenario(tmp_path, redis_server, postgres.url, durations)


@pytest.fixture
def fullable_postgres() -> Iterator[FullablePostgresServer]:
    """A PostgreSQL server whose disk this test may fill; skips where this user cannot mount one."""
    try:
        server = FullablePostgresServer()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this user cannot mount a small disk: {error}")
    with server:
        upgrade_database(server.url)
        yield server


@pytest.fixture
def scenario_on_fullable_postgres(tmp_path, redis_server, fullable_postgres, durations) -> FaultScenario:
    """On the PostgreSQL server whose disk may be filled."""
    return new_scenario(tmp_path, redis_server, fullable_postgres.url, durations)


def new_scenario(
    folder: Path, redis_server: RedisServer, database_url: str, durations: FaultDurations
) -> FaultScenario:
    """Workers with the intervals of `durations`, slow until the fault is over, and photos."""
    terminal = Terminal(
        folder / "terminal",
        {
            "TAGGER_REDIS_URL": redis_server.url,
            "TAGGER_DATABASE_URL": database_url,
            "TAGGER_BATCH_SIZE": "4",
            "TAGGER_THREADS": "1",
        },
    )
    slow = folder / "slow"
    slow.touch()
    values = {"values": durations.values} if durations.values else {}
    terminal.inject(slow_pass_s="0.15", slow_while=slow, **values)
    return FaultScenario(terminal, slow)
