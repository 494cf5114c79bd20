"""What the chunks of one process share: its activity, the stop, and the lock of isolated chunks.

An isolated chunk holds the lock exclusively, so that if the process dies, the photo that killed it is identified.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tagger.system.metrics import CHUNKS_HELD


class ActivityMonitor:
    """When the process last received a message and last made progress, for the watchdog. Thread-safe. One per process."""

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


TIMEOUT_S = 30.0
"""How long a chunk waits for the lock. The bound resolves deadlocks: a chunk may wait for photos that another chunk has claimed."""
_STOP_CHECK_S = 0.5


class SharedExclusiveLock:
    """Chunks share the process, except isolated ones. Waiting ends early when `stop` is set. Exclusive requests take precedence over later shared ones."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._changed = threading.Condition()
        self._shared_holders = 0
        self._is_exclusive = False
        self._exclusive_waiters = 0

    @contextmanager
    def acquire(self, *, exclusive: bool) -> Iterator[bool]:
        """Hold the lock inside the context; yields False if it was not acquired in time."""
        is_acquired = self._acquire(exclusive=exclusive)
        try:
            yield is_acquired
        finally:
            if is_acquired:
                self._release(exclusive=exclusive)

    def _acquire(self, *, exclusive: bool) -> bool:
        deadline = time.monotonic() + TIMEOUT_S
        with self._changed:
            self._exclusive_waiters += exclusive
            try:
                while self._is_blocked(exclusive=exclusive):
                    if self._stop.is_set() or time.monotonic() > deadline:
                        return False
                    self._changed.wait(_STOP_CHECK_S)
            finally:
                self._exclusive_waiters -= exclusive
            self._is_exclusive = exclusive
            self._shared_holders += not exclusive
            return True

    def _is_blocked(self, *, exclusive: bool) -> bool:
        return self._is_exclusive or bool(self._shared_holders if exclusive else self._exclusive_waiters)

    def _release(self, *, exclusive: bool) -> None:
        with self._changed:
            self._is_exclusive = False
            self._shared_holders -= not exclusive
            self._changed.notify_all()
