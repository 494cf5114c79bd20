"""What a worker's stall watch asks besides the progress of chunks: whether it sweeps, and receives the messages that wait for it."""

from tagger.jobs.processing.executor import ActivityMonitor
from tagger.system.stall import awake_s
from worker.sweeper import Sweeper


class Watchdog:
    """Checks that sweeps go on, and that waiting messages are received within `timeout_s`."""

    def __init__(self, activity: ActivityMonitor, sweeper: Sweeper, timeout_s: float) -> None:
        self._activity = activity
        self._sweeper = sweeper
        self._timeout_s = timeout_s
        self._idle_since: float | None = None

    def problem(self) -> str | None:
        """What makes no progress, if anything."""
        if self._sweeper.silent_s > self._timeout_s:
            return f"jobs and workers were not checked for {self._timeout_s:.0f} s"
        if self._activity.is_busy or not self._sweeper.waiting:
            self._idle_since = None
            return None
        now = awake_s()
        self._idle_since = max(self._idle_since or now, now - self._activity.message_age_s)
        stuck = now - self._idle_since > self._timeout_s
        return f"messages are waiting, but none was received for {self._timeout_s:.0f} s" if stuck else None
