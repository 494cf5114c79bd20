"""Redis that is gone, frozen, empty or read-only, and messages that are lost, repeated or invalid."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from redis import Redis
from sqlalchemy import select

from bench.faults.context import Fault, FaultContext
from tagger.database.enums import JobState
from tagger.database.tables import chunks, jobs
from tests.rig.invalid_messages import invalid_messages
from worker.celery_app import make_app
from worker.messages import TASK_NAME, ChunkMessage

FREEZE_S = 30.0
OUTAGE_S = 30.0
REFUSAL_S = 30.0
QUEUE = "tagger.bulk"


def kill(context: FaultContext) -> None:
    context.system.redis.kill()
    context.system.redis.start()


def kill_and_erase(context: FaultContext) -> None:
    context.system.redis.kill_and_erase()
    context.system.redis.start()


def flush(context: FaultContext) -> None:
    context.system.redis.flush()


def stop_for_a_while(context: FaultContext) -> None:
    context.system.redis.stop()
    context.pause(OUTAGE_S)
    context.system.redis.start()


def freeze(context: FaultContext) -> None:
    """Freeze Redis while a worker has chunks: they end, and their messages are acknowledged, during the freeze."""
    context.choose_worker()
    context.system.redis.pause()
    context.pause(FREEZE_S)
    context.system.redis.resume()


def refuse_connections(context: FaultContext) -> None:
    """Close all connections and allow no new ones, as when the limit of clients is reached."""
    with _client(context) as client:
        limit = str(client.config_get("maxclients")["maxclients"])
        client.config_set("maxclients", 1)
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)
        context.pause(REFUSAL_S)
        client.config_set("maxclients", limit)


def close_connections(context: FaultContext) -> None:
    with _client(context) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)


def fill_memory(context: FaultContext) -> None:
    """Refuse writes with OOM."""
    with _client(context) as client:
        client.config_set("maxmemory", 1)
        context.pause(REFUSAL_S)
        client.config_set("maxmemory", 0)


def require_replicas(context: FaultContext) -> None:
    """Refuse writes with NOREPLICAS."""
    with _client(context) as client:
        client.config_set("min-replicas-to-write", 1)
        context.pause(REFUSAL_S)
        client.config_set("min-replicas-to-write", 0)


def make_read_only(context: FaultContext) -> None:
    """Refuse writes with READONLY, as a primary does after a failover."""
    with _client(context) as client:
        client.replicaof("127.0.0.1", 1)  # no server listens there
        context.pause(REFUSAL_S)
        client.replicaof("NO", "ONE")


def delete_messages(context: FaultContext) -> None:
    with _client(context) as client:
        client.delete(QUEUE)


def repeat_messages(context: FaultContext) -> None:
    """Send the messages of all running jobs again, also those of claimed and finished chunks."""
    system = context.system
    query = select(chunks.c.job_id, chunks.c.chunk).join(jobs, jobs.c.id == chunks.c.job_id)
    with system.database.read() as connection:
        rows = connection.execute(query.where(jobs.c.state == JobState.RUNNING)).all()
    app = make_app(system.redis.url)
    for row in rows:
        message = ChunkMessage(ledger=system.database.ledger_id, job=row.job_id, chunk=row.chunk)
        app.send_task(TASK_NAME, args=[message.body()], queue=QUEUE)
    app.close()


def send_invalid_messages(context: FaultContext) -> None:
    with _client(context) as client:
        client.lpush(QUEUE, *invalid_messages(client, context.system.redis.url))


@contextmanager
def _client(context: FaultContext) -> Iterator[Redis]:
    with context.system.redis.client() as client:
        yield client


REDIS_FAULTS: Mapping[str, Fault] = {
    "Redis killed": kill,
    "Redis killed and its files deleted": kill_and_erase,
    "Redis flushed": flush,
    "Redis stopped for 30 s": stop_for_a_while,
    "Redis frozen for 30 s": freeze,
    "Redis refuses connections for 30 s": refuse_connections,
    "Redis closes all connections": close_connections,
    "Redis out of memory for 30 s": fill_memory,
    "Redis without replicas for 30 s": require_replicas,
    "Redis read-only for 30 s": make_read_only,
    "messages deleted": delete_messages,
    "messages sent twice": repeat_messages,
    "invalid messages": send_invalid_messages,
}
