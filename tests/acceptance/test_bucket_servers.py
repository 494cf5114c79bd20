"""The servers of buckets, which the database knows, are read before a bucket is asked for, and only then."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert

from tagger.cli.session import close_sessions, open_session
from tagger.database.connection import Database
from tagger.database.tables import roots
from tagger.errors import BucketUnavailable
from tagger.photos.object_store import open_store
from tagger.photos.paths import ObjectPath

SERVER = "http://127.0.0.1:1"


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that run inside the context, on any database."""
    found: list[str] = []

    def note(*arguments: Any) -> None:
        found.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process would ask AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def add_bucket(connection: Connection, address: str) -> None:
    values = {"name": "photos", "location": address, "location_bytes": b"", "endpoint": SERVER}
    connection.execute(insert(roots).values(values))


def test_the_servers_of_buckets_are_read_when_one_is_asked_for(sqlite_database: Database) -> None:
    address = "s3://only-in-test-bucket-servers/photos"
    with sqlite_database.write() as connection:
        add_bucket(connection, address)
    with statements() as at_start:
        open_session()
    with statements() as when_asked, pytest.raises(BucketUnavailable, match=SERVER):
        open_store(ObjectPath(f"{address}/tower.jpg"))
    close_sessions()
    assert not [statement for statement in at_start if "roots" in statement]
    assert [statement for statement in when_asked if "roots" in statement]


def test_a_bucket_is_not_asked_for_while_the_servers_cannot_be_read(sqlite_database: Database) -> None:
    address = "s3://only-in-test-bucket-servers-away/photos"
    with sqlite_database.write() as connection:
        add_bucket(connection, address)
        connection.exec_driver_sql("ALTER TABLE roots RENAME TO roots_away")
    open_session()
    with pytest.raises(Exception, match="no such table"):
        open_store(ObjectPath(f"{address}/tower.jpg"))
    with sqlite_database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE roots_away RENAME TO roots")
    with pytest.raises(BucketUnavailable, match=SERVER):
        open_store(ObjectPath(f"{address}/tower.jpg"))
    close_sessions()
