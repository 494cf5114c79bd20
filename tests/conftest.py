"""What tests of every package share: the folder of real photos, real databases, a real Redis.

A test that takes `database` runs on SQLite and on PostgreSQL.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from servers import RedisServer, postgres_server
from sqlalchemy.engine import make_url

from tagger.database import Database, open_database, upgrade_database
from tagger.devices import quiet_threads

# Where nobody may keep compiled files, as in many containers, each of the hundreds of processes that tests start would
# compile torch and all the rest anew, which takes longer than what it is started for.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Several processes of tests share the cores: torch, which test modules import, must not spin while it waits.
quiet_threads()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real photos, named by TAGGER_TEST_DATA; a test that wants them skips where nobody named any."""
    named = os.environ.get("TAGGER_TEST_DATA")
    if not named:
        pytest.skip("TAGGER_TEST_DATA names no folder with real photos")
    folder = Path(named)
    if not folder.is_dir():
        pytest.fail(f"TAGGER_TEST_DATA names {folder}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def postgres_maintenance_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres_maintenance_url: str) -> str:
    """The name of a database that is set up; copying it is quicker than migrating each test's own."""
    _execute(postgres_maintenance_url, 'CREATE DATABASE "tagger_template"')
    upgrade_database(_in_database(postgres_maintenance_url, "tagger_template"))
    return "tagger_template"


@pytest.fixture
def empty_postgres_url(postgres_maintenance_url: str) -> Iterator[str]:
    """A PostgreSQL database without a table, for this test alone."""
    yield from _new_database(postgres_maintenance_url, template="template1")


@pytest.fixture
def postgres_url(postgres_maintenance_url: str, postgres_template: str) -> Iterator[str]:
    """A PostgreSQL database that is set up, for this test alone."""
    yield from _new_database(postgres_maintenance_url, template=postgres_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that is set up, for this test alone, on each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'database' / 'tagger.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same without a table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'database' / 'tagger.sqlite'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running Redis for this test alone; the test may kill it, pause it and start it again."""
    with RedisServer() as server:
        yield server


def _new_database(maintenance_url: str, *, template: str) -> Iterator[str]:
    name = f"tagger_{uuid4().hex}"
    _execute(maintenance_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    if template != "template1":
        # Each database is a ledger of its own; a copy has to say so too.
        _execute(_plain(maintenance_url, name), f"UPDATE ledgers SET ledger_id = '{name}'")
    try:
        yield _in_database(maintenance_url, name)
    finally:
        _execute(maintenance_url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _in_database(maintenance_url: str, name: str) -> str:
    url = make_url(maintenance_url).set(database=name, drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


def _plain(maintenance_url: str, name: str) -> str:
    return make_url(maintenance_url).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
