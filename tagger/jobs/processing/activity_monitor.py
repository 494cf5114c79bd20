"""The activity of a process: when it last received a message and last made progress, for the watchdog; and its limit of photos per second."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tagger.system.metrics import CHUNKS_HELD


class ActivityMonitor:
    """Thread-safe. One per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._message_at = self._ended_at = time.monotonic()
        self._progress_at: dict[object, float] = {}
        """When each chunk that is being processed last made progress."""

    def record_message(self) -> None:
        self._message_at = time.monotonic()

    @contextmanager
    def chunk(self) -> Iterator[Callable[[], None]]:
        """Track one chunk. Call the yielded function whenever the chunk makes progress."""
        key = object()

        def record_progress() -> None:
            with self._lock:
                if key in self._progress_at:  # a thread may still work for a chunk that has ended
                    self._progress_at[key] = time.monotonic()

        with self._lock:
            self._progress_at[key] = time.monotonic()
            CHUNKS_HELD.set(len(self._progress_at))
        try:
            yield record_progress
        finally:
            with self._lock:
                del self._progress_at[key]
                self._ended_at = time.monotonic()
                CHUNKS_HELD.set(len(self._progress_at))

    @property
    def is_busy(self) -> bool:
        """Whether a chunk is being processed."""
        return bool(self._progress_at)

    @property
    def progress_age_s(self) -> float:
        """Seconds since the chunk that has been stuck longest made progress; 0 if none is being processed."""
        with self._lock:
            return time.monotonic() - min(self._progress_at.values()) if self._progress_at else 0.0

    @property
    def idle_s(self) -> float:
        """Seconds since the last chunk ended, or since the start; 0 while one is being processed."""
        with self._lock:
            return 0.0 if self._progress_at else time.monotonic() - self._ended_at

    @property
    def message_age_s(self) -> float:
        """Seconds since the last message."""
        return time.monotonic() - self._message_at


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
