"""Every setting of Celery and its Redis transport, each with its reason. SQL is the truth; these keep messages moving."""

from tagger.tables import Priority
from worker.messages import TICK_NAME

VISIBILITY_TIMEOUT_S = 600
"""Redelivery of messages whose worker died; the sweeper is faster, so this is a second net."""

TICK_S = 20.0
"""How often the clock asks what is due."""

QUEUES = {priority: f"tagger.{priority}" for priority in Priority}
"""A queue per priority; which is asked first is told in queue_order."""

REFUSED = "tagger.refused"
"""The Redis list of messages that were refused; the ledger knows their chunks and sends them again."""

TRANSPORT_OPTIONS: dict[str, object] = {
    "visibility_timeout": VISIBILITY_TIMEOUT_S,
    # Look for messages of dead workers every few seconds rather than once in a while.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # Notice a dead connection within seconds.
    "health_check_interval": 5,
    "socket_keepalive": True,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "retry_on_timeout": True,
    # Interactive before bulk, but for every fourth message: nobody waits for ever.
    "queue_order_strategy": "worker.queue_order:InteractiveFirst",
}

CELERY_SETTINGS: dict[str, object] = {
    # A message is acknowledged when its photos are stored, not when they are begun.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # A worker takes no more messages than it works on; others may have the rest.
    "worker_prefetch_multiplier": 1,
    # Results are in SQL.
    "task_ignore_result": True,
    "broker_connection_retry_on_startup": True,
    # With the threads pool this one stops consuming after a reconnect.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # The default forks after CUDA was initialised; solo hangs after a flush.
    "worker_pool": "threads",
    # Chunks in hand: the next one is read while the last batches of one are stored.
    "worker_concurrency": 2,
    # Only JSON ever crosses the broker: nothing is unpickled.
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_accept_content": ["json"],
    # The sweeper's rows in SQL say which workers are there.
    "worker_send_task_events": False,
    "worker_enable_remote_control": True,
    # The clock of the schedules: a tick that nobody takes in time is no use to anybody.
    "beat_schedule": {
        "tick": {
            "task": TICK_NAME,
            "schedule": TICK_S,
            "options": {"queue": QUEUES[Priority.INTERACTIVE], "expires": TICK_S},
        }
    },
    # In memory: what was run is in SQL. The default writes a file into the folder that the clock is started in.
    "beat_scheduler": "celery.beat:Scheduler",
    "broker_transport_options": TRANSPORT_OPTIONS,
}
