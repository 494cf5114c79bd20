"""What Celery's own classes get wrong for this program. Each says the fault without it, with Celery 5.7."""

import time
import warnings
from typing import Any

from celery.beat import Scheduler
from celery.exceptions import CPendingDeprecationWarning
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from tagger.processes.stall import watch
from tagger.settings import load_settings
from worker.broker import refusal, shared_monitor, unavailable_error
from worker.producer import app_broker

# The pause between two attempts to connect.
RETRY_S = 1.0


class Consumer(consumer.Consumer):  # type: ignore[misc]  # celery has no types
    """Waits while Redis is away or refuses messages; RedisMonitor logs that.

    Fault: a message taken from a full Redis is lost; a worker that starts while Redis is frozen ends, or
    hangs.
    """

    def __init__(
        self,
        *arguments: Any,
        worker_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        # Workers see each other in SQL. Through these channels, any client of Redis could talk to them.
        worker_options = {
            **(worker_options or {}),
            "without_gossip": True,
            "without_mingle": True,
            "without_heartbeat": True,
        }
        super().__init__(*arguments, worker_options=worker_options, **options)
        self.redis = shared_monitor(app_broker(self.app, load_settings()))

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until Redis accepts messages, then connect: a full one would lose what is taken."""
        while not self.redis.accepts_messages():
            _pause()
        conn.connect()
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._report(exc)
        _pause()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        self._report(exc)
        with warnings.catch_warnings():
            # The warning is about a default that will change; worker.producer sets it.
            warnings.simplefilter("ignore", CPendingDeprecationWarning)
            super().on_connection_error_after_connected(exc)
        _pause()

    def _report(self, error: Exception) -> None:
        if self.redis.accepts_messages():  # otherwise it has logged why not
            answered = refusal(error) is not None
            text = f"The connection to Redis was lost: {error}"
            self.redis.report(
                str(unavailable_error(self.redis.broker, error)) if answered else text
            )


def _pause() -> None:
    maybe_shutdown()
    time.sleep(RETRY_S)
    maybe_shutdown()


class BeatScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Sends a tick unless one waits. It is in memory, since SQL records the runs.

    Fault: without workers, ticks pile up; each attempt to reach Redis is logged; a file is written here; none
    is sent after the clock was set back, until it is as late again.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        settings = load_settings()
        watch("beat", settings.data_folder, settings.stall_timeout_s)
        self._redis = shared_monitor(app_broker(app, settings))

    def tick(self, *arguments: Any, **options: Any) -> float:
        wait_s = float(super().tick(*arguments, **options))
        longest_s: float = max(
            entry.schedule.seconds for entry in self.schedule.values()
        )
        if wait_s > longest_s:  # the clock was set back since the last one
            for entry in self.schedule.values():
                entry.last_run_at = entry.default_now()
            self._heap = None
        return min(wait_s, longest_s)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send the tick of `entry`, unless Redis is away or refuses it. The next one follows soon."""
        if self._redis.accepts_messages():
            super().apply_entry(entry, producer)

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **options: Any
    ) -> Any:
        """Send the tick of `entry`. Celery logs errors, and tries again at the next one."""
        channel = (producer or self.producer).channel
        if channel.queue_declare(self._redis.broker.keys.ticks).message_count:
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **options)

    def _ensure_connected(self) -> Any:
        # The connection, made for the first tick that Redis accepts. Celery would log each attempt.
        return self.connection
