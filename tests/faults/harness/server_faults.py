"""Servers that are gone, frozen, locked, empty or read-only, and messages that are lost, repeated or invalid."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TypeVar

import psycopg
from redis import Redis

from tagger.database.enums import Priority
from tests.faults.harness.system import Fault, FaultContext
from tests.rig.invalid_messages import invalid_messages
from tests.rig.servers import PostgresServer, RedisServer
from worker.messages import TASK_NAME, RedisKeys
from worker.producer import make_app

OUTAGE_S = 30.0
LOCK_S = 45.0
SURPLUS = 200
READ_ONLY = "default_transaction_read_only"

AnyServer = TypeVar("AnyServer", RedisServer, PostgresServer)


def outage(
    server: Callable[[FaultContext], AnyServer],
    begin: Callable[[AnyServer], None],
    end: Callable[[AnyServer], None],
    seconds: float = 0.0,
) -> Fault:
    """A fault that begins while a worker has chunks, and ends after so many seconds."""

    def fault(context: FaultContext) -> None:
        context.choose_worker()
        begin(server(context))
        context.pause(seconds)
        end(server(context))

    return fault


def _redis(context: FaultContext) -> RedisServer:
    return context.system.redis


def _refusal(kind: str) -> Fault:
    """Redis refuses messages, for a reason in `REFUSALS` of tests.rig.servers."""
    return outage(_redis, lambda server: server.refuse_messages(kind), RedisServer.accept_messages, OUTAGE_S)


def _postgres(context: FaultContext) -> PostgresServer:
    assert context.system.postgres is not None
    return context.system.postgres


def refuse_redis_connections(context: FaultContext) -> None:
    """Close all connections and allow no new ones, as when the limit of clients is reached."""
    with context.system.redis.client() as client:
        limit = str(client.config_get("maxclients")["maxclients"])
        client.config_set("maxclients", 1)
        _close_connections(client)
        context.pause(OUTAGE_S)
        client.config_set("maxclients", limit)


def close_connections_redis(context: FaultContext) -> None:
    with context.system.redis.client() as client:
        _close_connections(client)


def _close_connections(client: Redis) -> None:
    for kind in ("normal", "pubsub"):
        client.client_kill_filter(_type=kind, skipme=True)


def delete_messages(context: FaultContext) -> None:
    with context.system.redis.client() as client:
        client.delete(_keys(context).queues[Priority.BULK])


def repeat_messages(context: FaultContext) -> None:
    """Send far more wake-ups than chunks wait."""
    keys = _keys(context)
    app = make_app(context.system.redis.url, keys)
    for _ in range(SURPLUS):
        app.send_task(TASK_NAME, queue=keys.queues[Priority.BULK])
    app.close()


def send_invalid_messages(context: FaultContext) -> None:
    with context.system.redis.client() as client:
        keys = _keys(context)
        client.lpush(keys.queues[Priority.BULK], *invalid_messages(client, context.system.redis.url, keys))


def _keys(context: FaultContext) -> RedisKeys:
    return RedisKeys(context.system.database.ledger_id)


def lock_sqlite(context: FaultContext) -> None:
    with closing(sqlite3.connect(context.system.folder / "tagger.sqlite", timeout=60)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        context.pause(LOCK_S)
        connection.rollback()


def close_connections_postgres(context: FaultContext) -> None:
    with _session(context) as session:
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )


def lock_tables(context: FaultContext) -> None:
    with _session(context) as session, session.transaction():
        session.execute("LOCK TABLE jobs, chunks, job_items, contents IN ACCESS EXCLUSIVE MODE")
        context.pause(LOCK_S)


def make_read_only_postgres(context: FaultContext) -> None:
    """Refuse writes, as a primary does after a failover or a full disk."""
    with _session(context) as session:
        session.execute(f"ALTER SYSTEM SET {READ_ONLY} = on")
        session.execute("SELECT pg_reload_conf()")
        context.pause(OUTAGE_S)
        session.execute(f"ALTER SYSTEM RESET {READ_ONLY}")
        session.execute("SELECT pg_reload_conf()")


@contextmanager
def _session(context: FaultContext) -> Iterator[psycopg.Connection]:
    with psycopg.connect(_postgres(context).url, autocommit=True, options=f"-c {READ_ONLY}=off") as session:
        yield session


REDIS_FAULTS: Mapping[str, Fault] = {
    "Redis killed": outage(_redis, RedisServer.kill, RedisServer.start),
    "Redis killed and its files deleted": outage(_redis, RedisServer.kill_and_erase, RedisServer.start),
    "Redis flushed": lambda context: context.system.redis.flush(),
    "Redis stopped for 30 s": outage(_redis, RedisServer.stop, RedisServer.start, OUTAGE_S),
    "Redis frozen for 30 s": outage(_redis, RedisServer.pause, RedisServer.resume, OUTAGE_S),
    "Redis refuses connections for 30 s": refuse_redis_connections,
    "Redis closes all connections": close_connections_redis,
    "Redis out of memory for 30 s": _refusal("full"),
    "Redis without replicas for 30 s": _refusal("without its replicas"),
    "Redis read-only for 30 s": _refusal("a read-only replica"),
    "messages deleted": delete_messages,
    "surplus messages": repeat_messages,
    "invalid messages": send_invalid_messages,
}
SQLITE_FAULTS: Mapping[str, Fault] = {"SQLite locked for 45 s": lock_sqlite}
POSTGRES_FAULTS: Mapping[str, Fault] = {
    "PostgreSQL restarted": outage(_postgres, PostgresServer.stop, PostgresServer.start),
    "PostgreSQL killed": outage(_postgres, PostgresServer.kill, PostgresServer.start),
    "PostgreSQL stopped for 30 s": outage(_postgres, PostgresServer.stop, PostgresServer.start, OUTAGE_S),
    "PostgreSQL frozen for 30 s": outage(_postgres, PostgresServer.pause, PostgresServer.resume, OUTAGE_S),
    "PostgreSQL closes all connections": close_connections_postgres,
    "PostgreSQL tables locked for 45 s": lock_tables,
    "PostgreSQL read-only for 30 s": make_read_only_postgres,
}
