"""The beat program, which `tagger beat` runs, and its scheduler. It is the same as `celery -A worker.app beat`.

Beat only sends ticks. SQL decides which schedules are due, so two beats do no harm, and missed runs are made up for. The scheduler is in
memory, since SQL records the runs; Celery's default one writes a file to the current folder.
"""

import sys
import time
from datetime import UTC, datetime
from typing import Any

from celery.beat import Scheduler

from tagger.settings import load_settings
from worker.broker import RedisMonitor, check_broker
from worker.producer import app_broker


def run_beat(log_level: str, *, wait: bool) -> None:
    """Run until stopped. With `wait`, the scheduler waits for Redis.

    Raises:
        RedisUnavailable: Redis does not answer, without `wait`.
    """
    from worker.app import app, broker  # reads the settings, which importing the scheduler must not do

    if not wait:
        check_broker(broker)
    sys.stderr.write("beat is running; press Ctrl-C to stop it\n")
    program = app.Beat(loglevel=log_level, quiet=True)
    program.init_loader = app.finalize  # without the tasks, which import torch: beat sends them by name
    program.run()


class BeatScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Sends a tick unless one is waiting: without workers, thousands would pile up in a day."""

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(app, **options)
        self._redis = RedisMonitor(app_broker(app, load_settings()))

    def setup_schedule(self) -> None:
        """Compute when ticks are due from a monotonic clock: if the system's clock were set back by an hour, beat would stop for an hour."""
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.schedule.nowfun = _monotonic_time
            entry.last_run_at = _monotonic_time()

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send the tick of `entry`, unless Redis is away or refuses it. The next one follows soon."""
        if self._redis.accepts_messages():
            super().apply_entry(entry, producer)

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Send the tick of `entry`. Celery logs what the connection raises, and tries again at the next one."""
        channel = (producer or self.producer).channel
        if channel.queue_declare(self._redis.broker.keys.ticks).message_count:
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **options)

    def _ensure_connected(self) -> Any:
        """The connection, which is made for the first tick that Redis accepts. Celery would wait here, and log each attempt."""
        return self.connection


def _monotonic_time() -> datetime:
    return datetime.fromtimestamp(time.monotonic(), UTC)
