"""The settings of Celery and its Redis transport, each with its reason."""

from tagger.ledger.dispatch import FEWEST_AT_ONCE
from worker.messages import TICK_NAME
from worker.redis_keys import RedisKeys

VISIBILITY_TIMEOUT_S = 600
"""When Redis redelivers the messages of a dead worker. The sweeper is faster; this is a fallback."""

TICK_S = 20.0
"""How often beat sends a tick."""

TRANSPORT_OPTIONS: dict[str, object] = {
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    # Check for messages of dead workers every few seconds.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 1000,
    # Notice a dead connection within seconds.
    "health_check_interval": 5,
    "socket_keepalive": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "retry_on_timeout": True,
    # Queues express priority. kombu would read three more lists for each.
    "priority_steps": [0],
    # Interactive before bulk, except for every fourth message.
    "queue_order_strategy": "worker.celery_patches:InteractiveFirst",
}

CELERY_SETTINGS: dict[str, object] = {
    # A message is acknowledged after its photos are stored.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # A worker takes only the messages that it processes, and leaves the rest to others.
    "worker_prefetch_multiplier": 1,
    # Results are in SQL.
    "task_ignore_result": True,
    # A connection is tried without limit. Celery's default ends a worker after 47 minutes without Redis, and beat too.
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "worker_consumer": "worker.celery_patches:Consumer",
    # With the threads pool, this option stops consuming after a reconnect.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # The default pool forks after CUDA was initialised; solo hangs after a flush of Redis.
    "worker_pool": "threads",
    # A worker on a GPU has more (see worker.lifecycle).
    "worker_concurrency": FEWEST_AT_ONCE,
    # Messages are JSON only: nothing is unpickled.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_accept_content": ["json"],
    # The workers are listed in SQL. Workers and beat take no commands through Redis, which cannot tell who may send them.
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,
    "beat_enable_remote_control": False,
    # Results are in SQL. Otherwise beat sends a task of Celery's own every night, to a queue that nobody reads.
    "result_expires": None,
    "beat_scheduler": "worker.celery_patches:BeatScheduler",
}


def ledger_settings(keys: RedisKeys) -> dict[str, object]:
    """The settings of Celery that name the keys of a ledger."""
    return {
        "broker_transport_options": {
            **TRANSPORT_OPTIONS,
            **keys.transport_options,
            "ledger_keys": keys,
        },
        # Without an expiry: Celery compares the clocks of two machines, and would drop every tick if they differ.
        "beat_schedule": {"tick": {"task": TICK_NAME, "schedule": TICK_S, "options": {"queue": keys.ticks}}},
    }
