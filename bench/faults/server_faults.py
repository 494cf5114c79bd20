"""Servers that are gone, frozen, locked, empty or read-only, and messages that are lost, repeated or invalid."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

import psycopg
from redis import Redis

from bench.faults.system import Fault, FaultContext
from tagger.database.enums import Priority
from tests.rig.invalid_messages import invalid_messages
from worker.messages import TASK_NAME, WakeUp
from worker.producer import make_app
from worker.redis_keys import RedisKeys

OUTAGE_S = 30.0
LOCK_S = 45.0
SURPLUS = 200
READ_ONLY = "default_transaction_read_only"


def kill_redis(context: FaultContext) -> None:
    context.system.redis.kill()
    context.system.redis.start()


def erase_redis(context: FaultContext) -> None:
    context.system.redis.kill_and_erase()
    context.system.redis.start()


def flush_redis(context: FaultContext) -> None:
    context.system.redis.flush()


def stop_redis(context: FaultContext) -> None:
    context.system.redis.stop()
    context.pause(OUTAGE_S)
    context.system.redis.start()


def freeze_redis(context: FaultContext) -> None:
    """Freeze Redis while a worker has chunks: they end, and their messages are acknowledged, during the freeze."""
    context.choose_worker()
    context.system.redis.pause()
    context.pause(OUTAGE_S)
    context.system.redis.resume()


def refuse_redis_connections(context: FaultContext) -> None:
    """Close all connections and allow no new ones, as when the limit of clients is reached."""
    with _client(context) as client:
        limit = str(client.config_get("maxclients")["maxclients"])
        client.config_set("maxclients", 1)
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)
        context.pause(OUTAGE_S)
        client.config_set("maxclients", limit)


def close_connections_redis(context: FaultContext) -> None:
    with _client(context) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)


def refuse_redis_writes(setting: str, context: FaultContext) -> None:
    """Refuse writes because of a setting: OOM with `maxmemory`, NOREPLICAS with `min-replicas-to-write`."""
    with _client(context) as client:
        client.config_set(setting, 1)
        context.pause(OUTAGE_S)
        client.config_set(setting, 0)


def make_read_only_redis(context: FaultContext) -> None:
    """Refuse writes with READONLY, as a primary does after a failover."""
    with _client(context) as client:
        client.replicaof("127.0.0.1", 1)  # no server listens there
        context.pause(OUTAGE_S)
        client.replicaof("NO", "ONE")


def delete_messages(context: FaultContext) -> None:
    with _client(context) as client:
        client.delete(_keys(context).queues[Priority.BULK])


def repeat_messages(context: FaultContext) -> None:
    """Send far more wake-ups than chunks wait."""
    keys = _keys(context)
    app = make_app(context.system.redis.url, keys)
    wake_up = WakeUp(priority=Priority.BULK)
    for _ in range(SURPLUS):
        app.send_task(TASK_NAME, args=[wake_up.body()], queue=keys.queues[Priority.BULK])
    app.close()


def send_invalid_messages(context: FaultContext) -> None:
    with _client(context) as client:
        keys = _keys(context)
        client.lpush(keys.queues[Priority.BULK], *invalid_messages(client, context.system.redis.url, keys))


def _keys(context: FaultContext) -> RedisKeys:
    return RedisKeys(context.system.database.ledger_id)


@contextmanager
def _client(context: FaultContext) -> Iterator[Redis]:
    with context.system.redis.client() as client:
        yield client


def lock_sqlite(context: FaultContext) -> None:
    with closing(sqlite3.connect(context.system.folder / "tagger.sqlite", timeout=60)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        context.pause(LOCK_S)
        connection.rollback()


def restart_postgres(context: FaultContext) -> None:
    context.postgres.stop()
    context.postgres.start()


def kill_postgres(context: FaultContext) -> None:
    context.postgres.kill()
    context.postgres.start()


def stop_postgres(context: FaultContext) -> None:
    context.postgres.stop()
    context.pause(OUTAGE_S)
    context.postgres.start()


def freeze_postgres(context: FaultContext) -> None:
    context.postgres.pause()
    context.pause(OUTAGE_S)
    context.postgres.resume()


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
    with psycopg.connect(context.postgres.url, autocommit=True, options=f"-c {READ_ONLY}=off") as session:
        yield session


REDIS_FAULTS: Mapping[str, Fault] = {
    "Redis killed": kill_redis,
    "Redis killed and its files deleted": erase_redis,
    "Redis flushed": flush_redis,
    "Redis stopped for 30 s": stop_redis,
    "Redis frozen for 30 s": freeze_redis,
    "Redis refuses connections for 30 s": refuse_redis_connections,
    "Redis closes all connections": close_connections_redis,
    "Redis out of memory for 30 s": partial(refuse_redis_writes, "maxmemory"),
    "Redis without replicas for 30 s": partial(refuse_redis_writes, "min-replicas-to-write"),
    "Redis read-only for 30 s": make_read_only_redis,
    "messages deleted": delete_messages,
    "surplus messages": repeat_messages,
    "invalid messages": send_invalid_messages,
}
SQLITE_FAULTS: Mapping[str, Fault] = {"SQLite locked for 45 s": lock_sqlite}
POSTGRES_FAULTS: Mapping[str, Fault] = {
    "PostgreSQL restarted": restart_postgres,
    "PostgreSQL killed": kill_postgres,
    "PostgreSQL stopped for 30 s": stop_postgres,
    "PostgreSQL frozen for 30 s": freeze_postgres,
    "PostgreSQL closes all connections": close_connections_postgres,
    "PostgreSQL tables locked for 45 s": lock_tables,
    "PostgreSQL read-only for 30 s": make_read_only_postgres,
}
