"""Real servers for tests: those of the benchmarks, which can be broken (see bench/servers.py)."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.servers import PostgresServer, RedisServer

__all__ = ["PostgresServer", "RedisServer", "postgres_server"]

NO_SAFETY = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""Tests make and drop hundreds of databases; waiting for the disk each time would be most of their time."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server that many tests share and none may break; yields the address of its maintenance database."""
    with PostgresServer(NO_SAFETY) as server:
        yield server.url
