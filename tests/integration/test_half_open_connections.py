"""Connections to PostgreSQL that are open and silent: statements end with an error that is retried, long ones go on."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import generators
from sqlalchemy import Connection, Engine, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from support.tcp_proxy import TcpProxy

from tagger.database import engine as engine_module
from tagger.database import postgresql_connection
from tagger.database.connection import open_database
from tagger.database.engine import create_database_engine
from tagger.database.retry import is_transient
from tagger.database.tables import ledgers

LONG_S = 1.2
"""Longer than several questions to the server."""


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_connection, "SILENCE_S", 0.3)
    monkeypatch.setattr(postgresql_connection, "CONFIRM_S", 0.2)
    monkeypatch.setattr(postgresql_connection, "LOGIN_S", 2)  # libpq's minimum
    monkeypatch.setattr(engine_module, "IDLE_WRITER_S", 1)


@pytest.fixture
def proxy(postgres_maintenance_url: str) -> Iterator[TcpProxy]:
    folder = Path(str(make_url(postgres_maintenance_url).query["host"]))
    with TcpProxy(folder / ".s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
def engine(proxy: TcpProxy) -> Iterator[Engine]:
    """Connects to the server's maintenance database through the proxy."""
    engine = create_database_engine(f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres")
    yield engine
    engine.dispose()


def one(connection: Connection) -> Any:
    return connection.scalar(text("SELECT 1"))


@pytest.mark.parametrize("fault", ["silence", "vanish"])
def test_a_statement_on_a_half_open_connection_fails_and_the_next_connection_works(
    engine: Engine, proxy: TcpProxy, fault: str
) -> None:
    with engine.connect() as connection:
        assert one(connection) == 1
        getattr(proxy, fault)()
        with pytest.raises(SQLAlchemyError, match="the connection is lost") as failure:
            one(connection)
        assert is_transient(failure.value)
    with engine.connect() as connection:
        assert one(connection) == 1


def test_pooled_connections_that_are_half_open_are_replaced(engine: Engine, proxy: TcpProxy) -> None:
    with engine.connect() as first, engine.connect() as second:
        assert (one(first), one(second)) == (1, 1)
    proxy.silence()
    with engine.connect() as first, engine.connect() as second:
        assert (one(first), one(second)) == (1, 1)


@pytest.mark.slow
def test_a_server_that_accepts_no_connection_counts_as_unavailable(engine: Engine, proxy: TcpProxy) -> None:
    with engine.connect() as connection:
        assert one(connection) == 1
        proxy.freeze()
        with pytest.raises(SQLAlchemyError, match="does not accept connections") as failure:
            one(connection)
        assert is_transient(failure.value)
    proxy.recover()
    with engine.connect() as connection:
        assert one(connection) == 1


def test_a_long_statement_goes_on(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text(f"SELECT 1 FROM pg_sleep({LONG_S})")) == 1


@pytest.mark.slow
def test_a_long_statement_goes_on_if_the_server_cannot_be_asked(engine: Engine, proxy: TcpProxy) -> None:
    with engine.connect() as connection:
        assert one(connection) == 1
        proxy.refuse()
        assert connection.scalar(text(f"SELECT 1 FROM pg_sleep({LONG_S})")) == 1


def test_a_statement_that_waits_for_a_lock_goes_on(engine: Engine) -> None:
    lock = text("SELECT 1 FROM pg_advisory_xact_lock(1)")
    with engine.connect() as holder, engine.connect() as waiting:
        assert holder.scalar(lock) == 1
        threading.Timer(LONG_S, holder.rollback).start()
        assert waiting.scalar(lock) == 1


def test_nothing_is_prepared_since_poolers_change_the_session(engine: Engine) -> None:
    with engine.connect() as connection:
        assert {one(connection) for _ in range(20)} == {1}
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


def test_locks_of_a_writer_that_vanished_are_released(postgres_url: str) -> None:
    vanished, other = open_database(postgres_url), open_database(postgres_url)
    change = update(ledgers).values(ledger_id="new")

    def write_and_stay_silent() -> None:
        with vanished.write() as writer:
            writer.execute(change)
            with other.write() as connection:
                connection.execute(change)  # waits for the lock of the row
            writer.execute(change)

    with pytest.raises(SQLAlchemyError) as failure:
        write_and_stay_silent()
    assert is_transient(failure.value)
    vanished.close()
    other.close()


@pytest.mark.parametrize("is_in_pipeline", [False, True], ids=["a transaction", "a pipeline"])
def test_locks_of_a_half_open_connection_are_released(
    engine: Engine, proxy: TcpProxy, is_in_pipeline: bool
) -> None:
    """In a pipeline the server calls itself active while it waits for the rest."""
    lock = "SELECT 1 FROM pg_advisory_xact_lock(2)"
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    if is_in_pipeline:
        connection.pgconn.enter_pipeline_mode()
    else:
        connection.pgconn.exec_(b"BEGIN")

    def execute() -> None:
        connection.pgconn.send_query_params(lock.encode(), None)
        if is_in_pipeline:
            connection.pgconn.send_flush_request()
        connection.pgconn.flush()
        connection.wait(generators.fetch_many(connection.pgconn))

    execute()
    proxy.silence()
    with pytest.raises(psycopg.OperationalError, match="the connection is lost"):
        execute()
    with engine.connect() as other:
        assert other.scalar(text(lock)) == 1
    pooled.invalidate()
