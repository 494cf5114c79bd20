"""The thread for a worker that makes no progress.

A forward pass or a driver that hangs cannot be interrupted, and a lost subscription goes unnoticed. The watchdog then ends the process, so
that its supervisor restarts it; the leases expire, and other workers take over.
"""

import logging
import os
import threading
import time

from tagger.jobs.processing.executor import ActivityMonitor
from worker.sweeper import Sweeper

log = logging.getLogger(__name__)
CHECK_S = 5.0
STALL_S = 300.0
"""Longer than any photo may take. Waiting for the database or for another worker counts as activity."""


class Watchdog:
    """Checks every CHECK_S that work and sweeps make progress, and that waiting messages are received."""

    def __init__(self, activity: ActivityMonitor, sweeper: Sweeper, stall_s: float) -> None:
        self._activity = activity
        self._sweeper = sweeper
        self._stall_s = stall_s
        self._idle_since: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # the worker may stop before it started
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(CHECK_S):
            problem = self.problem()
            if problem:
                log.critical("%s; this worker exits, to be restarted", problem)
                logging.shutdown()
                os._exit(os.EX_TEMPFAIL)  # hanging threads would block a normal exit

    def problem(self) -> str | None:
        """What makes no progress, if anything."""
        if self._sweeper.silent_s > self._stall_s:
            return f"jobs and workers were not checked for {self._stall_s:.0f} s"
        if self._activity.is_busy:
            self._idle_since = None
            stuck = self._activity.progress_age_s > self._stall_s
            return f"the current work has made no progress for {self._stall_s:.0f} s" if stuck else None
        if not self._sweeper.waiting:
            self._idle_since = None
            return None
        now = time.monotonic()
        self._idle_since = max(self._idle_since or now, now - self._activity.message_age_s)
        stuck = now - self._idle_since > self._stall_s
        return f"messages are waiting, but none was received for {self._stall_s:.0f} s" if stuck else None
