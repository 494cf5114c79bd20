"""Records when a process last received a message and last made progress; the watchdog reads it."""

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
