"""PostgreSQL databases for tests, and connections outside transactions."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import LiteralString
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, create_engine, make_url

from tagger.transfer import upgrade_database


@contextmanager
def autocommitted(url: str) -> Iterator[Connection]:
    """A connection to PostgreSQL on which each statement is a transaction, as some commands need."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


class PostgresDatabases:
    """Databases on the server of this maintenance database; each is dropped at the end."""

    def __init__(self, maintenance_url: str) -> None:
        self._maintenance_url = maintenance_url

    @contextmanager
    def empty(self) -> Iterator[str]:
        with self._created("template1") as name:
            yield self._url(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a database with the current schema and no rows, which is a ledger of its own."""
        with self._created(self._template) as name:
            self._execute("UPDATE ledgers SET ledger_id = gen_random_uuid()", database=name)
            yield self._url(name)

    @contextmanager
    def copy(self, url: str) -> Iterator[str]:
        """The URL of a copy of one of these databases, to which nobody is connected."""
        with self._created(str(make_url(url).database)) as name:
            yield self._url(name)

    @cached_property
    def _template(self) -> str:
        """A migrated database: copying it takes a tenth of the time of migrating another."""
        name = "tagger_template"
        self._execute("CREATE DATABASE {}", name)
        upgrade_database(self._url(name))
        return name

    @contextmanager
    def _created(self, template: str) -> Iterator[str]:
        name = f"tagger_{uuid4().hex}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield name
        finally:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: LiteralString, *names: str, database: str | None = None) -> None:
        url = make_url(self._maintenance_url)
        url = url if database is None else url.set(database=database)
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(SQL(statement).format(*map(Identifier, names)))

    def _url(self, name: str) -> str:
        url = make_url(self._maintenance_url).set(database=name, drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)
