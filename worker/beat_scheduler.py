"""Beat's scheduler: in memory, since SQL records the runs. Celery's default one writes a file to the current folder."""

from typing import Any

from celery.beat import Scheduler

from worker.celery_config import TICK_QUEUE


class BeatScheduler(Scheduler):  # type: ignore[misc]  # celery has no types
    """Sends a tick unless one is waiting: without workers, thousands would pile up in a day."""

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Send the tick of `entry`. Celery logs what the connection raises, and tries again at the next one."""
        channel = (producer or self.producer).channel
        if channel.queue_declare(TICK_QUEUE).message_count:
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **options)
