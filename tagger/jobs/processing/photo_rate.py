"""Limits how many photos a process starts on per second."""

import threading
import time
from collections.abc import Callable

BURST_S = 0.5
"""Turns that were not taken for this long may be taken at once: sleeping is inexact."""
CHECK_S = 0.2
"""How often a waiting thread checks whether it has to give up."""


class PhotoRate:
    """Hands out turns, `per_second` of them. Thread-safe: those that wait share the rate."""

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1 / per_second
        self._lock = threading.Lock()
        self._next_at = time.monotonic()

    def wait(self, count: int, give_up: Callable[[], bool]) -> bool:
        """Wait for the turn of the next photo, and take `count` turns. False, without a turn, if `give_up` became true first."""
        while (left_s := self._take(count)) > 0:
            if give_up():
                return False
            time.sleep(min(left_s, CHECK_S))
        return True

    def _take(self, count: int) -> float:
        """Take turns if one is due; otherwise return the seconds until then."""
        with self._lock:
            now = time.monotonic()
            if self._next_at > now:
                return self._next_at - now
            self._next_at = max(self._next_at, now - BURST_S) + count * self._interval_s
            return 0.0
