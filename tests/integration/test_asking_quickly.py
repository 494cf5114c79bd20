"""The small question that is asked of every photo: the same answers as any other way of asking, fresh, from any thread."""

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
from threads import in_threads

from tagger import database as database_module
from tagger.database import Database, Question, is_passing_trouble, open_database, patiently
from tagger.tables import contents

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


@pytest.mark.parametrize("digest", ["one", "two", "nobody's", "", "'; DROP TABLE contents; --", "ünïcode ✓"])
def test_the_answer_is_what_reading_gives(database: Database, digest: str) -> None:
    add(database, "one", "two", "'; DROP TABLE contents; --", "ünïcode ✓")
    answer = database.ask(Question(ID), {"digest": digest})
    assert answer == read(database, ID, {"digest": digest})
    assert type(answer) is type(read(database, ID, {"digest": digest}))


def test_values_go_to_their_places_whatever_order_they_come_in(database: Database) -> None:
    add(database, "small", width=10)
    add(database, "large", width=1000)
    question = Question(WIDTH)
    assert database.ask(question, {"over": 100, "digest": "large"}) == 1000
    assert database.ask(question, {"digest": "large", "over": 100}) == 1000
    assert database.ask(question, {"digest": "small", "over": 100}) is None


def test_nothing_and_null_are_both_none(database: Database) -> None:
    add(database, "one")
    width = Question(select(contents.c.width).where(contents.c.digest == bindparam("digest")))
    assert database.ask(width, {"digest": "one"}) is None
    assert database.ask(width, {"digest": "nobody's"}) is None


def test_it_sees_what_another_connection_has_just_committed(database: Database, database_url: str) -> None:
    question = Question(ID)
    other = open_database(database_url)
    try:
        for number in range(20):
            digest = f"digest {number}"
            assert database.ask(question, {"digest": digest}) is None
            add(other, digest)
            assert database.ask(question, {"digest": digest}) is not None
        width = Question(select(contents.c.width).where(contents.c.digest == bindparam("digest")))
        for number in range(20):
            with other.write() as connection:
                connection.execute(
                    update(contents).where(contents.c.digest == "digest 1").values(width=number)
                )
            assert database.ask(width, {"digest": "digest 1"}) == number
    finally:
        other.close()


def test_it_sees_nothing_that_is_not_committed(database: Database) -> None:
    question = Question(ID)
    with database.write() as connection:
        connection.execute(insert(contents).values(digest="one"))
        assert database.ask(question, {"digest": "one"}) is None
    assert database.ask(question, {"digest": "one"}) is not None


def test_many_threads_ask_at_once_while_others_write(database: Database) -> None:
    question = Question(ID)
    add(database, *(f"known {number}" for number in range(50)))
    known = {number: read(database, ID, {"digest": f"known {number}"}) for number in range(50)}

    def ask(first: int) -> None:
        for number in range(first, first + 150):
            assert database.ask(question, {"digest": f"known {number % 50}"}) == known[number % 50]
            assert database.ask(question, {"digest": f"unknown {number}"}) is None

    def write() -> None:
        for number in range(40):
            add(database, f"new {number}")
            assert database.ask(question, {"digest": f"new {number}"}) is not None

    in_threads([*(partial(ask, first) for first in range(8)), write])


def test_a_question_may_be_asked_of_several_databases(tmp_path: Path, postgres_url: str) -> None:
    question = Question(ID)
    urls = [f"sqlite:///{tmp_path / 'one.sqlite'}", postgres_url, f"sqlite:///{tmp_path / 'two.sqlite'}"]
    opened = [open_database(url) for url in urls]
    for number, database in enumerate(opened):
        add(database, *(f"of {number}, {each}" for each in range(number + 1)))
    for number, database in enumerate(opened):
        for other in range(len(opened)):
            asked = database.ask(question, {"digest": f"of {other}, {other}"})
            assert (asked is not None) == (number == other)
        database.close()


# ── SQLite: the connection that is kept ──


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    return tmp_path / "tagger.sqlite"


@pytest.fixture
def sqlite(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database whose lock is not waited for as long as usual."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    opened = open_database(f"sqlite:///{sqlite_file}")
    add(opened, "one")
    yield opened
    opened.close()


def asked(database: Database) -> Any:
    return database.ask(Question(ID), {"digest": "one"})


def open_files(file: Path) -> int:
    """How often this process has the database file open."""
    return sum(descriptor.resolve() == file for descriptor in Path("/proc/self/fd").iterdir())


def test_between_questions_no_transaction_is_open(sqlite: Database, sqlite_file: Path) -> None:
    """One that stayed open would keep the log of changes growing for ever."""
    assert asked(sqlite) is not None
    add(sqlite, *(f"digest {number}" for number in range(200)))
    with closing(sqlite3.connect(sqlite_file)) as other:
        blocked, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert blocked == 0
    assert sqlite_file.with_name("tagger.sqlite-wal").stat().st_size == 0


def test_an_answer_of_several_rows_leaves_no_transaction_open(sqlite: Database, sqlite_file: Path) -> None:
    add(sqlite, *(f"digest {number}" for number in range(20)))
    everything = Question(select(contents.c.id).where(contents.c.id > bindparam("over")))
    assert sqlite.ask(everything, {"over": 0}) is not None
    with closing(sqlite3.connect(sqlite_file)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def test_one_connection_is_kept_and_closed_with_the_database(sqlite: Database, sqlite_file: Path) -> None:
    before = open_files(sqlite_file)
    for _ in range(20):
        asked(sqlite)
    assert open_files(sqlite_file) <= before + 1
    in_threads([partial(asked, sqlite)] * 6)
    assert open_files(sqlite_file) <= before + 1
    sqlite.close()
    assert open_files(sqlite_file) == 0


def test_closing_waits_for_nobody_and_may_be_done_twice(sqlite: Database) -> None:
    sqlite.close()
    sqlite.close()


def test_a_locked_database_is_passing_trouble_and_answers_again_afterwards(
    sqlite: Database, sqlite_file: Path
) -> None:
    sqlite.close()  # who has it open could not be locked out
    with closing(sqlite3.connect(sqlite_file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SQLAlchemyError) as trouble:
            asked(sqlite)
        assert is_passing_trouble(trouble.value)
        other.execute("ROLLBACK")
    assert asked(sqlite) is not None


def test_it_is_waited_for_as_for_any_work_with_the_database(sqlite: Database, sqlite_file: Path) -> None:
    sqlite.close()
    other = sqlite3.connect(sqlite_file, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    refused = threading.Event()

    def attempt() -> Any:
        try:
            return asked(sqlite)
        except SQLAlchemyError:
            refused.set()
            raise

    def let_go() -> None:
        assert refused.wait(20)
        other.close()

    in_threads([let_go, lambda: patiently(attempt, threading.Event())])


def test_after_an_error_the_next_question_is_answered(sqlite: Database) -> None:
    assert asked(sqlite) is not None
    assert sqlite._asked is not None
    sqlite._asked.connection.driver_connection.close()  # type: ignore[union-attr]
    with pytest.raises(SQLAlchemyError):
        asked(sqlite)
    assert asked(sqlite) is not None


def test_a_file_of_something_else_is_no_passing_trouble(sqlite: Database, sqlite_file: Path) -> None:
    """Nobody would wait ten minutes for a file that is broken, nor look at every photo twice."""
    sqlite.close()
    for file in sqlite_file.parent.iterdir():
        file.write_bytes(b"this is no database " * 500)
    for _ in range(2):
        with pytest.raises(SQLAlchemyError) as by_asking:
            asked(sqlite)
        with pytest.raises(SQLAlchemyError) as by_reading:
            read(sqlite, ID, {"digest": "one"})
        assert type(by_asking.value) is type(by_reading.value)
        assert not is_passing_trouble(by_asking.value)


def test_a_file_that_breaks_while_it_is_open_is_no_passing_trouble(
    sqlite: Database, sqlite_file: Path
) -> None:
    add(sqlite, *(f"digest {number}" for number in range(2000)))
    assert asked(sqlite) is not None
    with closing(sqlite3.connect(sqlite_file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    page = 4096
    whole = sqlite_file.read_bytes()
    with sqlite_file.open("r+b") as file:  # the same file, which is not made anew
        file.seek(page)
        file.write(b"\xff" * (len(whole) - page))
    with pytest.raises(SQLAlchemyError) as by_asking:
        asked(sqlite)
    assert not is_passing_trouble(by_asking.value)
    sqlite_file.write_bytes(whole)
    assert asked(sqlite) is not None
