"""A thread that ends the process when nothing moves any more, so that its supervisor starts it anew.

A forward pass or a driver that hangs cannot be interrupted, and a lost subscription is not noticed from inside.
The leases end by themselves, and other workers take over.
"""

import logging
import os
import threading
import time
from typing import Protocol

from tagger.tagging import Pulse

log = logging.getLogger(__name__)

CHECK_S = 5.0
STALL_S = 300.0
"""Longer than a photo may take; waiting for a database or a busy neighbour is no standstill."""


class Sweeping(Protocol):
    """What the sweeper says of itself: messages that wait for this worker, and seconds since a sweep began."""

    @property
    def waiting(self) -> int: ...
    @property
    def silent_s(self) -> float: ...


class Watchdog:
    """Looks every CHECK_S whether work in hand and sweeping go on, and whether messages that wait are taken."""

    def __init__(self, pulse: Pulse, sweeper: Sweeping, stall_s: float) -> None:
        self._pulse = pulse
        self._sweeper = sweeper
        self._stall_s = stall_s
        self._idle_since: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:  # a worker may be ended before it was ready
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(CHECK_S):
            trouble = self.trouble()
            if trouble:
                log.critical("%s; this worker ends, to be started again", trouble)
                logging.shutdown()
                os._exit(os.EX_TEMPFAIL)  # threads that hang keep an ordinary end from coming

    def trouble(self) -> str | None:
        """What does not move, if anything."""
        if self._sweeper.silent_s > self._stall_s:
            return f"the sweeper has not moved for {self._stall_s:.0f} s"
        if self._pulse.is_busy:
            self._idle_since = None
            stuck = self._pulse.stuck_s > self._stall_s
            return f"nothing has come of the work in hand for {self._stall_s:.0f} s" if stuck else None
        if not self._sweeper.waiting:
            self._idle_since = None
            return None
        now = time.monotonic()
        self._idle_since = max(self._idle_since or now, now - self._pulse.silent_s)
        stuck = now - self._idle_since > self._stall_s
        return f"messages wait, and none has come for {self._stall_s:.0f} s" if stuck else None
