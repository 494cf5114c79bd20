"""A shared/exclusive lock for chunks: chunks share the process, except those that are processed in isolation.

An isolated chunk holds the lock exclusively, so that if the process dies, the photo that killed it is identified.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT_S = 30.0
"""How long a chunk waits for the lock. The bound resolves deadlocks: a chunk may wait for photos that another chunk has claimed."""
_STOP_CHECK_S = 0.5


class SharedExclusiveLock:
    """Waiting ends early when `stop` is set. Exclusive requests take precedence over later shared ones."""

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
