"""Databases that are gone, frozen, locked or read-only."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

import psycopg

from bench.faults.context import Fault, FaultContext

LOCK_S = 45.0
OUTAGE_S = 30.0
READ_ONLY = "default_transaction_read_only"


def lock_sqlite(context: FaultContext) -> None:
    with closing(sqlite3.connect(context.system.folder / "tagger.sqlite", timeout=60)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        context.pause(LOCK_S)
        connection.rollback()


def restart(context: FaultContext) -> None:
    context.postgres.stop()
    context.postgres.start()


def kill(context: FaultContext) -> None:
    context.postgres.kill()
    context.postgres.start()


def stop_for_a_while(context: FaultContext) -> None:
    context.postgres.stop()
    context.pause(OUTAGE_S)
    context.postgres.start()


def freeze(context: FaultContext) -> None:
    context.postgres.pause()
    context.pause(OUTAGE_S)
    context.postgres.resume()


def close_connections(context: FaultContext) -> None:
    with _session(context) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )


def lock_tables(context: FaultContext) -> None:
    with _session(context) as session, session.transaction():
        session.execute("LOCK TABLE jobs, chunks, job_items, contents IN ACCESS EXCLUSIVE MODE")
        context.pause(LOCK_S)


def make_read_only(context: FaultContext) -> None:
    """Refuse writes, as a primary does after a failover or a full disk."""
    with _session(context) as session:
        session.execute(f"ALTER SYSTEM SET {READ_ONLY} = on")
        session.execute("SELECT pg_reload_conf()")
        context.pause(OUTAGE_S)
        session.execute(f"ALTER SYSTEM RESET {READ_ONLY}")
        session.execute("SELECT pg_reload_conf()")


@contextmanager
def _session(context: FaultContext) -> Iterator[psycopg.Connection]:
    with psycopg.connect(context.postgres.url, autocommit=True, options=f"-c {READ_ONLY}=off") as session:
        yield session


SQLITE_FAULTS: Mapping[str, Fault] = {"SQLite locked for 45 s": lock_sqlite}
POSTGRES_FAULTS: Mapping[str, Fault] = {
    "PostgreSQL restarted": restart,
    "PostgreSQL killed": kill,
    "PostgreSQL stopped for 30 s": stop_for_a_while,
    "PostgreSQL frozen for 30 s": freeze,
    "PostgreSQL closes all connections": close_connections,
    "PostgreSQL tables locked for 45 s": lock_tables,
    "PostgreSQL read-only for 30 s": make_read_only,
}
