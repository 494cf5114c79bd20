"""The open database and its two kinds of transaction: `read` and `write`."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from tagger.database.engine import create_database_engine, redact, unavailable_on_error
from tagger.database.schema import require_current_schema
from tagger.database.statements import PreparedQuery
from tagger.database.tables import ledgers


def open_database(url: str) -> "Database":
    """Open the database at `url`. An SQLite file is created, and upgraded, automatically.

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        SchemaOutdated: the schema of a server is older; the operator runs `tagger db upgrade`.
        SchemaNewer: a newer version of this program created it.
    """
    engine = create_database_engine(url)
    with unavailable_on_error(engine):
        require_current_schema(engine)
        with engine.connect() as connection:
            ledger_id = connection.scalar(select(ledgers.c.ledger_id))
    return Database(engine, str(ledger_id))


class Database:
    """An open database with the schema of this version. Threads may share it."""

    def __init__(self, engine: Engine, ledger_id: str) -> None:
        self._engine = engine
        self.ledger_id = ledger_id
        # SQLite's own wait for the lock sleeps and is unfair: one of four busy threads waited 5 s for 20 ms of work.
        self._write_lock = threading.RLock()
        self._query_lock = threading.Lock()
        self._query_connection: Connection | None = None

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @property
    def redacted_url(self) -> str:
        """The address without its password."""
        return redact(self._engine.url)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one consistent snapshot that no writer blocks."""
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that locks for writing at its start. It commits at the end and rolls back on an exception."""
        with (
            self._write_lock if self.is_sqlite else nullcontext(),
            self._engine.connect().execution_options(tagger_begin="IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield connection

    def fetch_first(self, query: PreparedQuery, values: Mapping[str, Any]) -> Any:
        """The first column of the first row, None without rows. Runs outside any transaction."""
        if not self.is_sqlite:
            with self.read() as connection:
                return connection.scalar(query.query, values)
        text, names = query.compiled(self._engine)
        with self._query_lock:
            if self._query_connection is None:
                self._query_connection = self._engine.connect().execution_options(tagger_begin=None)
            driver: Any = self._query_connection.connection.driver_connection
            try:
                row = driver.execute(text, [values[name] for name in names]).fetchone()
            except sqlite3.Error as error:
                self._drop_query_connection()
                raise DBAPIError.instance(text, None, error, sqlite3.Error) from error
        return row[0] if row else None

    def _drop_query_connection(self) -> None:
        if self._query_connection is not None:
            self._query_connection.invalidate()  # a broken connection must not return to the pool
            self._query_connection.close()
            self._query_connection = None

    def close(self) -> None:
        with self._query_lock:
            self._drop_query_connection()
        self._engine.dispose()
