"""Prepared queries return the same current rows as other queries, from any thread."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import SQLAlchemyError
from support.threads import in_threads

from tagger.database import engine as engine_module
from tagger.database.connection import Database, open_database
from tagger.database.retry import is_transient
from tagger.database.statements import PreparedQuery
from tagger.database.tables import contents

ID = select(contents.c.id).where(contents.c.digest == bindparam("digest"))
WIDTH = select(contents.c.width).where(
    contents.c.width > bindparam("over"), contents.c.digest == bindparam("digest")
)


def add(database: Database, *digests: str, width: int | None = None) -> None:
    with database.write() as connection:
        connection.execute(insert(contents), [{"digest": digest, "width": width} for digest in digests])


def read(database: Database, query: Any, values: dict[str, Any]) -> Any:
    with database.read() as connection:
        return connection.scalar(query, values)


@pytest.mark.postgresql
def test_the_result_is_that_of_an_ordinary_query(database: Database) -> None:
    stored = ("one", "'; DROP TABLE contents; --", "ünïcode ✓")
    add(database, *stored)
    for digest in (*stored, "missing", ""):
        result = database.fetch_first(PreparedQuery(ID), {"digest": digest})
        assert result == read(database, ID, {"digest": digest})
        assert (result is not None) == (digest in stored)


def test_parameters_are_passed_by_name(database: Database) -> None:
    add(database, "small", width=10)
    add(database, "large", width=1000)
    query = PreparedQuery(WIDTH)
    assert database.fetch_first(query, {"over": 100, "digest": "large"}) == 1000
    assert database.fetch_first(query, {"digest": "large", "over": 100}) == 1000
    assert database.fetch_first(query, {"digest": "small", "over": 100}) is None


def test_commits_of_other_connections_are_visible(database: Database, database_url: str) -> None:
    query = PreparedQuery(ID)
    other = open_database(database_url)
    for number in range(5):
        digest = f"digest {number}"
        assert database.fetch_first(query, {"digest": digest}) is None
        add(other, digest)
        assert database.fetch_first(query, {"digest": digest}) is not None
    other.close()


@pytest.mark.postgresql
def test_many_threads_query_while_others_write(database: Database) -> None:
    query = PreparedQuery(ID)
    add(database, *(f"expected {number}" for number in range(50)))
    expected = {number: read(database, ID, {"digest": f"expected {number}"}) for number in range(50)}

    def query_repeatedly(first: int) -> None:
        for number in range(first, first + 150):
            assert database.fetch_first(query, {"digest": f"expected {number % 50}"}) == expected[number % 50]
            assert database.fetch_first(query, {"digest": f"unknown {number}"}) is None

    def write() -> None:
        for number in range(40):
            add(database, f"new {number}")
            assert database.fetch_first(query, {"digest": f"new {number}"}) is not None

    in_threads([*(partial(query_repeatedly, first) for first in range(8)), write])


def test_a_query_can_run_on_several_databases(tmp_path: Path, postgres_url: str) -> None:
    query = PreparedQuery(ID)
    urls = [f"sqlite:///{tmp_path / 'one.sqlite'}", postgres_url, f"sqlite:///{tmp_path / 'two.sqlite'}"]
    opened = [open_database(url) for url in urls]
    for number, database in enumerate(opened):
        add(database, *(f"of {number}, {each}" for each in range(number + 1)))
    for number, database in enumerate(opened):
        for other in range(len(opened)):
            first_id = database.fetch_first(query, {"digest": f"of {other}, {other}"})
            assert (first_id is not None) == (number == other)
        database.close()


# ── SQLite: the connection for prepared queries ──


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "tagger.sqlite"


@pytest.fixture
def sqlite(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with a short busy timeout."""
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_S", 0.05)
    opened = open_database(f"sqlite:///{sqlite_file}")
    add(opened, "one")
    yield opened
    opened.close()


def first_id(database: Database) -> Any:
    return database.fetch_first(PreparedQuery(ID), {"digest": "one"})


def test_no_transaction_stays_open(sqlite: Database, sqlite_file: Path) -> None:
    """An open transaction would keep the WAL from being truncated."""
    assert first_id(sqlite) is not None
    add(sqlite, *(f"digest {number}" for number in range(200)))
    with closing(sqlite3.connect(sqlite_file)) as other:
        blocked, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert blocked == 0
    assert sqlite_file.with_name("tagger.sqlite-wal").stat().st_size == 0


def test_a_file_that_is_no_database_is_not_a_transient_error(sqlite: Database, sqlite_file: Path) -> None:
    """A broken file must not be retried for ten minutes."""
    sqlite.close()
    for file in sqlite_file.parent.iterdir():
        file.write_bytes(b"this is no database " * 500)
    for _ in range(2):
        with pytest.raises(SQLAlchemyError) as prepared:
            first_id(sqlite)
        with pytest.raises(SQLAlchemyError) as ordinary:
            read(sqlite, ID, {"digest": "one"})
        assert type(prepared.value) is type(ordinary.value)
        assert not is_transient(prepared.value)
