"""Prepared queries return the same current rows as other queries, from any thread."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from support.threads import in_threads

from tagger.database import engine as engine_module
from tagger.database.connection import Database, open_database
from tagger.database.retry import is_transient, with_retry
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


def test_no_row_and_null_are_both_none(database: Database) -> None:
    add(database, "one")
    width = PreparedQuery(select(contents.c.width).where(contents.c.digest == bindparam("digest")))
    assert database.fetch_first(width, {"digest": "one"}) is None
    assert database.fetch_first(width, {"digest": "missing"}) is None


def test_commits_of_other_connections_are_visible(database: Database, database_url: str) -> None:
    query = PreparedQuery(ID)
    other = open_database(database_url)
    try:
        for number in range(20):
            digest = f"digest {number}"
            assert database.fetch_first(query, {"digest": digest}) is None
            add(other, digest)
            assert database.fetch_first(query, {"digest": digest}) is not None
        width = PreparedQuery(select(contents.c.width).where(contents.c.digest == bindparam("digest")))
        for number in range(20):
            with other.write() as connection:
                connection.execute(
                    update(contents).where(contents.c.digest == "digest 1").values(width=number)
                )
            assert database.fetch_first(width, {"digest": "digest 1"}) == number
    finally:
        other.close()


@pytest.mark.postgresql
def test_uncommitted_rows_are_not_visible(database: Database) -> None:
    query = PreparedQuery(ID)
    with database.write() as connection:
        connection.execute(insert(contents).values(digest="one"))
        assert database.fetch_first(query, {"digest": "one"}) is None
    assert database.fetch_first(query, {"digest": "one"}) is not None


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


def open_files(file: Path) -> int:
    """How many times this process has the database file open."""
    return sum(descriptor.resolve() == file for descriptor in Path("/proc/self/fd").iterdir())


def test_no_transaction_stays_open(sqlite: Database, sqlite_file: Path) -> None:
    """An open transaction would keep the WAL from being truncated."""
    assert first_id(sqlite) is not None
    add(sqlite, *(f"digest {number}" for number in range(200)))
    with closing(sqlite3.connect(sqlite_file)) as other:
        blocked, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert blocked == 0
    assert sqlite_file.with_name("tagger.sqlite-wal").stat().st_size == 0


def test_a_result_of_several_rows_leaves_no_transaction_open(sqlite: Database, sqlite_file: Path) -> None:
    add(sqlite, *(f"digest {number}" for number in range(20)))
    everything = PreparedQuery(select(contents.c.id).where(contents.c.id > bindparam("over")))
    assert sqlite.fetch_first(everything, {"over": 0}) is not None
    with closing(sqlite3.connect(sqlite_file)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_one_connection_is_reused_and_closed_with_the_database(sqlite: Database, sqlite_file: Path) -> None:
    before = open_files(sqlite_file)
    for _ in range(20):
        first_id(sqlite)
    assert open_files(sqlite_file) <= before + 1
    in_threads([partial(first_id, sqlite)] * 6)
    assert open_files(sqlite_file) <= before + 1
    sqlite.close()
    assert open_files(sqlite_file) == 0


def test_a_database_can_be_closed_twice(sqlite: Database) -> None:
    sqlite.close()
    sqlite.close()


def test_a_lock_is_a_transient_error(sqlite: Database, sqlite_file: Path) -> None:
    sqlite.close()  # an open connection would prevent the exclusive lock
    with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SQLAlchemyError) as error:
            first_id(sqlite)
        assert is_transient(error.value)
        other.execute("ROLLBACK")
    assert first_id(sqlite) is not None


def test_with_retry_waits_for_a_locked_database(sqlite: Database, sqlite_file: Path) -> None:
    sqlite.close()
    other = sqlite3.connect(sqlite_file, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    refused = threading.Event()

    def attempt() -> Any:
        try:
            return first_id(sqlite)
        except SQLAlchemyError:
            refused.set()
            raise

    def unlock() -> None:
        assert refused.wait(20)
        other.close()

    in_threads([unlock, lambda: with_retry(attempt, threading.Event())])


def test_the_next_query_succeeds_after_an_error(sqlite: Database) -> None:
    assert first_id(sqlite) is not None
    connection = sqlite._prepared._connection
    assert connection is not None
    connection.connection.driver_connection.close()  # type: ignore[union-attr]
    with pytest.raises(SQLAlchemyError):
        first_id(sqlite)
    assert first_id(sqlite) is not None


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


def test_a_file_damaged_while_open_is_not_a_transient_error(sqlite: Database, sqlite_file: Path) -> None:
    add(sqlite, *(f"digest {number}" for number in range(2000)))
    assert first_id(sqlite) is not None
    with closing(sqlite3.connect(sqlite_file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = 4096
    whole = sqlite_file.read_bytes()
    with sqlite_file.open("r+b") as file:  # in place: the file is not replaced
        file.seek(page)
        file.write(b"\xff" * (len(whole) - page))
    with pytest.raises(SQLAlchemyError) as prepared:
        first_id(sqlite)
    assert not is_transient(prepared.value)
    sqlite_file.write_bytes(whole)
    assert first_id(sqlite) is not None
