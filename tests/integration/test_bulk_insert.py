"""Pages of rows are inserted in one statement, with values as they are, and errors as SQLAlchemy's."""

from contextlib import nullcontext

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import DataError, IntegrityError
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.statements import among, insert_page
from tagger.database.tables import contents, photos

pytestmark = pytest.mark.postgresql

NAMES = ("root_id", "path", "path_bytes", "size_bytes", "mtime_ns")
PATHS = [
    "a.jpg",
    "with % and %s.jpg",
    'quote\'s "name".jpg',
    "back\\slash {1,2}.jpg",
    "NULL",
    "ümläut/日本.jpg",
    "",
]


def test_values_are_stored_as_they_are(database: Database) -> None:
    root = LedgerBuilder(database).root_id
    rows = [
        (root, path, bytes([number, 0, 255]), 2**40 + number, -(2**62)) for number, path in enumerate(PATHS)
    ]
    with database.write() as connection:
        insert_page(connection, photos, NAMES, rows)
    with database.read() as connection:
        columns = [photos.c[name] for name in NAMES]
        stored = connection.execute(select(*columns).order_by(photos.c.id)).all()
    assert [tuple(row) for row in stored] == rows


def test_a_null_character_is_refused_by_postgresql_and_does_not_divide_a_text(database: Database) -> None:
    with (
        pytest.raises(DataError) if not database.is_sqlite else nullcontext(),
        database.write() as connection,
    ):
        insert_page(connection, contents, ("digest",), [("1-a\0b",), ("1-c",)])
    with database.read() as connection:
        stored = connection.scalars(select(contents.c.digest).order_by(contents.c.id)).all()
    assert stored == (["1-a\0b", "1-c"] if database.is_sqlite else [])


def test_postgresql_returns_the_inserted_rows_without_those_that_exist(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(contents).values(digest="1-b"))
        rows = [("1-a",), ("1-b",)]
        returned = insert_page(
            connection, contents, ("digest",), rows, skip_existing=True, returning="digest"
        )
    assert [row.digest for row in returned] == ([] if database.is_sqlite else ["1-a"])


def test_a_text_is_among_others_as_it_is(database: Database) -> None:
    root = LedgerBuilder(database).root_id
    with database.write() as connection:
        insert_page(connection, photos, NAMES, [(root, path, b"", 1, 1) for path in PATHS])
    with database.read() as connection:
        for path in PATHS:
            chosen = among(photos.c.path, [path, "not stored"])
            assert connection.scalars(select(photos.c.path).where(chosen)).all() == [path]
        assert connection.scalars(select(photos.c.id).where(among(photos.c.path, []))).all() == []


def test_rows_that_exist_are_left_out_on_request(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(contents).values(digest="1-b"))
        insert_page(connection, contents, ("digest",), [("1-a",), ("1-b",), ("1-c",)], skip_existing=True)
        insert_page(connection, contents, ("digest",), [], skip_existing=True)
    with database.read() as connection:
        assert sorted(connection.scalars(select(contents.c.digest))) == ["1-a", "1-b", "1-c"]


def test_a_row_that_exists_is_an_integrity_error(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(contents).values(digest="1-b"))
    with pytest.raises(IntegrityError), database.write() as connection:
        insert_page(connection, contents, ("digest",), [("1-a",), ("1-b",)])
    with database.read() as connection:
        assert connection.scalars(select(contents.c.digest)).all() == ["1-b"]
