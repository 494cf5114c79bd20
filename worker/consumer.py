"""Celery's consumer without its channels between workers. It waits while Redis is away or refuses messages.

Celery's own ends the worker after a number of attempts.
"""

import time
import warnings
from typing import Any

from celery.exceptions import CPendingDeprecationWarning
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from worker.engine import current_engine

RETRY_S = 1.0
"""The pause between two attempts to connect."""


class Consumer(consumer.Consumer):  # type: ignore[misc]  # celery has no types
    """The consumer that the settings name. The engine's monitor logs outages, in place of Celery's messages."""

    def __init__(self, *arguments: Any, worker_options: dict[str, Any] | None = None, **options: Any) -> None:
        # Workers see each other in SQL. Through these channels, any client of Redis could talk to them.
        without = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        super().__init__(*arguments, worker_options={**(worker_options or {}), **without}, **options)

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until Redis accepts messages, then connect: a message taken from a Redis that is full would be lost."""
        while not current_engine().redis.accepts_messages():
            _pause()
        conn.connect()
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Report the error; Celery connects again."""
        _report(exc)
        _pause()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Report the error and close the connection; Celery connects again."""
        _report(exc)
        with warnings.catch_warnings():
            # The warning is about a default that will change; celery_config sets it.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)
        _pause()


def _report(error: Exception) -> None:
    redis = current_engine().redis
    if redis.accepts_messages():  # otherwise it has logged why not
        redis.report(f"The connection to Redis was lost: {error}")


def _pause() -> None:
    maybe_shutdown()
    time.sleep(RETRY_S)
    maybe_shutdown()
