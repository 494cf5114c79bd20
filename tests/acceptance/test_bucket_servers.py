"""The servers of buckets, which the database knows, are read before a bucket is asked for, and only then."""

import os

import pytest
from sqlalchemy import Connection, insert

from tagger.cli.session import close_sessions, open_session
from tagger.database.connection import Database
from tagger.database.tables import roots
from tagger.errors import BucketUnavailable
from tagger.photos.object_store import open_store
from tagger.photos.paths import ObjectPath

SERVER = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process would ask AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


def add_bucket(connection: Connection, address: str) -> None:
    values = {"name": "photos", "location": address, "location_bytes": b"", "endpoint": SERVER}
    connection.execute(insert(roots).values(values))


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
